//! What is derived from jobs' records, and cannot be read, is made anew from them.
//!
//! It looks through whole tables for that, on the writer's thread: damage is rare, and an index that
//! stays wrong is worse.

use std::sync::Arc;

use redb::ReadableTable;

use crate::job::{BucketState, Change, Order, QueueId};
use crate::storage::life::groups::{GroupRow, Head, HeadAt};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Member;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::untrusted::HeadValue;

impl Batch<'_> {
    // --- heads --------------------------------------------------------------------------------

    /// A head's row that leads nowhere is made anew, at the tail of its priority.
    pub(in crate::storage) fn renew_head(&mut self, queue: QueueId, order: Order) -> Result<(), Fault> {
        let key = (queue, order.priority, order.position);
        let damaged = self.tables.heads()?.get(key)?.map(|row| row.value().to_vec());
        let Some(damaged) = damaged else { return Ok(()) };
        if let Some((id, seq, group)) = HeadValue::decode(&damaged)
            && self.tables.members()?.has((queue, group, 0, seq, id))?
        {
            return Ok(());
        }
        self.tables.heads()?.remove(key)?;
        self.set_row_aside(TableName::Heads, &key, &damaged, (Some(queue), None))?;
        let Some((group, row, head)) = self.headed_at(queue, order)? else { return Ok(()) };
        // Dispatch may know it from elsewhere, at the old place: a suspect after a crash.
        self.changes.push(Change::Gone { queue, grouped: true, order, id: head.id });
        let member = Member { group: group.clone(), parked: false, seq: head.seq };
        match self.tables.members()?.get_row(member.key(queue, head.id))? {
            None => self.advance(queue, &group, row)?,
            Some(bytes) if decode_record(TableName::Members, head.id.get(), &bytes).is_ok() => {
                self.set_head(queue, row, &member, head.id, bytes)?;
            }
            Some(_) => {
                self.quarantine_job(head.id)?;
            }
        }
        self.put_unreadable_aside()
    }

    /// The group whose head stands at this place in the dispatch order.
    fn headed_at(&mut self, queue: QueueId, order: Order) -> Result<Option<(Arc<str>, GroupRow, Head)>, Fault> {
        let stands_at = HeadAt::Ready { priority: order.priority, position: order.position };
        for row in self.tables.groups()?.range((queue, "")..)? {
            let (key, value) = row?;
            let (of, group) = key.value();
            if of != queue {
                break;
            }
            let Ok(row) = codec::decode::<GroupRow>(TableName::Groups, u64::from(queue), value.value()) else {
                continue;
            };
            if let Some(head) = row.head.filter(|head| head.at == stands_at) {
                return Ok(Some((group.into(), row, head)));
            }
        }
        Ok(None)
    }

    // --- rates --------------------------------------------------------------------------------

    /// A bucket that cannot be read is empty, and fills from now on: it may slow a queue down, it never
    /// lets more start. One of a queue that has no row goes: the number will be another queue's.
    pub fn tidy_buckets(&mut self) -> Result<(), Fault> {
        let catalog = self.catalog();
        let (mut damaged, mut stray) = (Vec::new(), Vec::new());
        for row in self.tables.rates()?.iter()? {
            let (key, row) = row?;
            let (queue, group) = key.value();
            if !catalog.is_stored(queue) {
                stray.push((queue, group.to_owned()));
            } else if codec::decode::<BucketState>(TableName::Rates, u64::from(queue), row.value()).is_err() {
                damaged.push((queue, group.to_owned(), row.value().to_vec()));
            }
        }
        for (queue, group) in stray {
            self.touch();
            self.tables.rates()?.remove((queue, &*group))?;
        }
        for (queue, group, row) in damaged {
            self.set_row_aside(TableName::Rates, &(queue, &*group), &row, (Some(queue), None))?;
            let empty = BucketState { tokens: 0.0, at: self.now.age, held_until: None };
            self.tables.rates()?.insert((queue, &*group), codec::encode(&empty).as_slice())?;
        }
        Ok(())
    }
}
