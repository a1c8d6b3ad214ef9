//! The rows of flows in one batch: each is read once, changed in memory, and written before the commit. A hundred children of
//! one parent change its row once.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::{FlowRow, Node};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::{Cached, FlowRows, changed_rows};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;

impl Batch<'_> {
    /// A flow, to be read.
    pub(in crate::storage) fn flow(&mut self, id: u64) -> Result<Option<&FlowRow>, Fault> {
        self.load_flow(id)?;
        Ok(self.flow_rows.flows[&id].row.as_ref())
    }

    /// A flow, to be changed.
    pub(in crate::storage) fn flow_mut(&mut self, id: u64) -> Result<Option<&mut FlowRow>, Fault> {
        self.touch();
        self.load_flow(id)?;
        let cached = self.flow_rows.flows.get_mut(&id).expect("it was loaded");
        cached.is_changed = true;
        Ok(cached.row.as_mut())
    }

    /// Stores a flow, or removes it.
    pub(in crate::storage) fn put_flow(&mut self, id: u64, row: Option<FlowRow>) {
        self.touch();
        self.flow_rows.flows.insert(id, Cached { row, is_changed: true });
    }

    fn load_flow(&mut self, id: u64) -> Result<(), Fault> {
        if self.flow_rows.flows.contains_key(&id) {
            return Ok(());
        }
        let stored = self.tables.flows()?.get_row(id)?;
        let cached = self.read_or_set_aside(TableName::Flows, id, &id, stored)?;
        self.flow_rows.flows.insert(id, cached);
        Ok(())
    }

    /// A node, to be read.
    pub(in crate::storage) fn flow_node(&mut self, flow: u64, node: u64) -> Result<Option<&Node>, Fault> {
        self.load_node(flow, node)?;
        Ok(self.flow_rows.nodes[&(flow, node)].row.as_ref())
    }

    /// A node, to be changed.
    pub(in crate::storage) fn flow_node_mut(&mut self, flow: u64, node: u64) -> Result<Option<&mut Node>, Fault> {
        self.touch();
        self.load_node(flow, node)?;
        let cached = self.flow_rows.nodes.get_mut(&(flow, node)).expect("it was loaded");
        cached.is_changed = true;
        Ok(cached.row.as_mut())
    }

    /// Stores a node, or removes it.
    pub(in crate::storage) fn put_flow_node(&mut self, flow: u64, node: u64, row: Option<Node>) {
        self.touch();
        self.flow_rows.nodes.insert((flow, node), Cached { row, is_changed: true });
    }

    fn load_node(&mut self, flow: u64, node: u64) -> Result<(), Fault> {
        if self.flow_rows.nodes.contains_key(&(flow, node)) {
            return Ok(());
        }
        let stored = self.tables.flow_nodes()?.get_row((flow, node))?;
        let cached = self.read_or_set_aside(TableName::FlowNodes, node, &(flow, node), stored)?;
        self.flow_rows.nodes.insert((flow, node), cached);
        Ok(())
    }

    /// Reads a row that is stored under `key`. If it cannot be read, it is copied to the quarantine, and the answer is that there
    /// is none, which is a change.
    pub(in crate::storage) fn read_or_set_aside<R: DeserializeOwned>(
        &mut self,
        table: TableName,
        number: u64,
        key: &impl Serialize,
        stored: Option<Bytes>,
    ) -> Result<Cached<R>, Fault> {
        let Some(stored) = stored else { return Ok(Cached { row: None, is_changed: false }) };
        match codec::decode(table, number, &stored) {
            Ok(row) => Ok(Cached { row: Some(row), is_changed: false }),
            Err(_) => {
                self.quarantine_row_of(table, key, &stored, (None, None))?;
                Ok(Cached { row: None, is_changed: true })
            }
        }
    }

    /// Writes what was changed.
    pub(in crate::storage) fn write_flow_rows(&mut self) -> Result<(), Fault> {
        let FlowRows { flows, nodes, news } = std::mem::take(&mut self.flow_rows);
        debug_assert!(news.is_empty(), "what has happened to nodes was followed up");
        for ((flow, node), row) in changed_rows(nodes) {
            match row {
                Some(row) => {
                    let bytes = codec::encode(&row);
                    self.moved(bytes.len());
                    self.tables.flow_nodes()?.insert((flow, node), bytes.as_slice())?;
                }
                None => drop(self.tables.flow_nodes()?.remove((flow, node))?),
            }
        }
        for (id, row) in changed_rows(flows) {
            match row {
                Some(row) => drop(self.tables.flows()?.insert(id, codec::encode(&row).as_slice())?),
                None => drop(self.tables.flows()?.remove(id)?),
            }
        }
        Ok(())
    }
}
