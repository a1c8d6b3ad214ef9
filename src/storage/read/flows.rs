//! Reads flows and their nodes.

use crate::job::{Dependent, FlowRow, Node};
use crate::storage::life::flows::dependent_of;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;

impl Reader {
    /// The flow of this name, with its number.
    pub fn flow(&self, name: &str) -> Result<Option<(u64, FlowRow)>, Fault> {
        let Some(id) = self.tables().flow_names()?.get((0, name))?.map(|id| id.value()) else { return Ok(None) };
        Ok(self.flow_numbered(id)?.map(|row| (id, row)))
    }

    pub fn flow_numbered(&self, id: u64) -> Result<Option<FlowRow>, Fault> {
        let row = self.tables().flows()?.get_row(id)?;
        row.map(|row| codec::decode(TableName::Flows, id, &row)).transpose()
    }

    /// How many flows there are.
    pub fn flows_len(&self) -> Result<u64, Fault> {
        use redb::ReadableTableMetadata;
        Ok(self.tables().flows()?.len()?)
    }

    /// The latest flows made before the one of this number, the latest first. One that cannot be read is left out.
    pub fn flows_before(&self, before: u64, limit: usize) -> Result<Vec<(u64, FlowRow)>, Fault> {
        let mut flows = Vec::new();
        for row in self.tables().flows()?.range(..before)?.rev().take(limit) {
            let (id, row) = row?;
            flows.extend(codec::decode(TableName::Flows, id.value(), row.value()).ok().map(|row| (id.value(), row)));
        }
        Ok(flows)
    }

    /// The dependents of a node that have rows of their own.
    pub fn flow_edges(&self, flow: u64, node: u64) -> Result<Vec<Dependent>, Fault> {
        let rows = self.tables().flow_edges()?.range((flow, node, 0)..=(flow, node, u64::MAX))?;
        rows.map(|row| {
            let (key, stored) = row?;
            Ok(dependent_of(key.value().2, stored.value()))
        })
        .collect()
    }

    pub fn flow_node(&self, flow: u64, node: u64) -> Result<Option<Node>, Fault> {
        let row = self.tables().flow_nodes()?.get_row((flow, node))?;
        row.map(|row| codec::decode(TableName::FlowNodes, node, &row)).transpose()
    }

    /// The node of this name in a flow, with its number.
    pub fn flow_node_named(&self, flow: u64, name: &str) -> Result<Option<(u64, Node)>, Fault> {
        let Some(id) = self.tables().flow_names()?.get((flow, name))?.map(|id| id.value()) else { return Ok(None) };
        Ok(self.flow_node(flow, id)?.map(|node| (id, node)))
    }

    /// The nodes of a flow behind this number, until there are `limit` or `bytes_max` were read. One that cannot be read is left
    /// out.
    pub fn flow_nodes(&self, flow: u64, after: u64, limit: usize, bytes_max: usize) -> Result<Vec<(u64, Node)>, Fault> {
        let (mut nodes, mut bytes) = (Vec::new(), 0);
        let Some(from) = after.checked_add(1) else { return Ok(nodes) };
        for row in self.tables().flow_nodes()?.range((flow, from)..=(flow, u64::MAX))? {
            let (key, row) = row?;
            let id = key.value().1;
            bytes += row.value().len();
            nodes.extend(codec::decode(TableName::FlowNodes, id, row.value()).ok().map(|node| (id, node)));
            if nodes.len() >= limit || bytes >= bytes_max {
                break;
            }
        }
        Ok(nodes)
    }
}
