//! Verbs: an attempt has started; or it has ended, and its job waits again or is back at its place.

use std::sync::Arc;

use bytes::Bytes;

use super::moved::{Moved, Side, WithHandler};
use super::ready::ready_key;
use crate::job::{Change, JobId, Order, QueueId, ReadyJob, Record, State, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::encode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;
use crate::storage::rows::start_mark::StartMark;
use crate::time::Due;

impl Batch<'_> {
    /// Notes that a job was handed out, with the start mark of its attempt. Most attempts end before their mark is
    /// written, so nothing may depend on it but what a crash leaves. The job's row stays where it is.
    pub fn hand_out(&mut self, id: JobId, mark: &StartMark) -> Result<(), Fault> {
        self.touch();
        self.tell_facets(&Moved {
            id,
            queue: mark.queue,
            transition: Transition::HandOut,
            from: None,
            to: None,
            was_indexed: false,
            indexed: None,
            ended: None,
            handler: WithHandler::Is(mark),
        })
    }

    /// Makes durable that a running job, which was handed out from `order`, is to be cancelled. If that was requested before, the
    /// first reason counts. The handler is told after the commit.
    pub(super) fn request_cancel(
        &mut self,
        queue: QueueId,
        id: JobId,
        order: Order,
        reason: &str,
    ) -> Result<(), Fault> {
        if self.cancel_reason(id)?.is_some() {
            return Ok(());
        }
        let mark = match self.start_mark(id)? {
            Some(mark) => mark,
            // The mark of the attempt, if it comes, replaces this one and keeps the reason.
            None => StartMark {
                queue,
                priority: order.priority,
                position: order.position,
                attempt: 1,
                max_attempts: 1,
                started_at: self.now.wall,
                alone: false,
            },
        };
        self.hand_out(id, &mark)?;
        self.mark_cancelled(id, &mark, reason)
    }

    /// Puts off a job that was handed out until `due`. `failed` says whether its attempt is used up.
    pub fn put_off(
        &mut self,
        queue: QueueId,
        taken: &ReadyJob,
        record: &Record,
        due: Due,
        failed: bool,
    ) -> Result<(), Fault> {
        self.touch();
        let id = taken.id;
        // This comes before any change that makes it ready again, because dispatch ignores a job that is handed out.
        self.changes.push(Change::Settled { id });
        let bytes = encode_record(record);
        let member = if taken.is_grouped() { self.member(id)? } else { None };
        let place = match &member {
            Some(member) => Some(Place::Member(self.place_put_off(queue, member.clone()))),
            None if taken.is_grouped() => None,
            None => {
                let was_there = self.tables.ready()?.remove(ready_key(queue, taken))?.is_some();
                was_there.then_some(Place::Delayed { due })
            }
        };
        let was = Side { state: State::Pending, bytes: u64::from(taken.bytes), record: Some(&taken.record) };
        let is = Side { state: record.state, bytes: bytes.len() as u64, record: Some(record) };
        self.tell_facets(&Moved {
            id,
            queue,
            transition: Transition::PutOff { due, failed },
            from: place.is_some().then_some(was),
            to: place.is_some().then_some(is),
            was_indexed: member.is_some(),
            indexed: place.as_ref(),
            ended: None,
            handler: WithHandler::Was,
        })?;
        match (&member, &place) {
            (Some(from), Some(Place::Member(to))) => self.put_off_head(queue, taken, (from, to), bytes, due)?,
            (_, Some(_)) => self.put_delayed(queue, id, due, &bytes)?,
            _ => {}
        }
        self.put_unreadable_aside()
    }

    /// Gives a job that was handed out back to its place, rewritten if it has `changed`. `failed` says whether the process died in its
    /// attempt. Returns `None` if its group is paused, which holds it there.
    pub fn give_back(
        &mut self,
        queue: QueueId,
        taken: Arc<ReadyJob>,
        changed: Option<Record>,
        failed: bool,
    ) -> Result<Option<Arc<ReadyJob>>, Fault> {
        self.touch();
        let id = taken.id;
        let (entry, was) = match changed {
            None => (taken.clone(), u64::from(taken.bytes)),
            Some(record) => {
                let bytes = encode_record(&record);
                // If an earlier commit of this has an unknown outcome, the row may be changed already.
                let was = self.rewrite(queue, &taken, &bytes)?.unwrap_or(u64::from(taken.bytes));
                (Arc::new(ReadyJob::new(id, taken.order.position, record, bytes.len())), was)
            }
        };
        let (state, is) = (State::Pending, u64::from(entry.bytes));
        self.tell_facets(&Moved {
            id,
            queue,
            transition: Transition::GiveBack { failed },
            from: Some(Side { state, bytes: was, record: Some(&taken.record) }),
            to: Some(Side { state, bytes: is, record: Some(&entry.record) }),
            was_indexed: false,
            indexed: None,
            ended: None,
            handler: WithHandler::Was,
        })?;
        if entry.is_grouped() && !self.return_head(queue, &entry)? {
            self.changes.push(Change::Settled { id });
            return Ok(None);
        }
        self.changes.push(Change::Returned { job: entry.clone() });
        Ok(Some(entry))
    }

    /// Replaces the record of a job that was handed out, at its place. Returns how many bytes were there.
    fn rewrite(&mut self, queue: QueueId, taken: &ReadyJob, bytes: &Bytes) -> Result<Option<u64>, Fault> {
        self.moved(bytes.len());
        if taken.is_grouped() {
            let Some(member) = self.member(taken.id)? else { return Ok(None) };
            let before = self.tables.members()?.insert(member.key(queue, taken.id), &**bytes)?;
            return Ok(before.map(|before| before.value().len() as u64));
        }
        let before = self.tables.ready()?.insert(ready_key(queue, taken), &**bytes)?;
        Ok(before.map(|before| before.value().len() as u64))
    }
}
