//! Stores the jobs and entries of a message that was published to a topic, or finds that the call must wait for room in a full queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::enqueue::{insert_all, make_room};
use crate::error::Error;
use crate::job::{CallSize, Published, QueueId, Routed, TopicRoutes};
use crate::storage::{Batch, Prepared};
use crate::transaction::{Deliveries, Prepare, Publication, published};
use crate::writer::step::{Refusal, Reply, Step, WaitingHandler};

/// Stores a job in each queue that the bindings of a topic lead to, and an entry in each stream, all or none.
///
/// The caller has matched the message and prepared what it becomes. If the bindings have changed since, the message is matched again
/// here, so it goes where the bindings of its commit lead to.
pub(crate) struct Publish {
    message: Box<Publication>,
    /// The topic as the caller has seen it.
    seen: Option<(Arc<TopicRoutes>, Routed)>,
    /// Where `deliveries` go.
    routed: Routed,
    deliveries: Deliveries,
    answer: Option<Published>,
    reply: Reply<PublishAnswer>,
    handler: Option<WaitingHandler>,
}

/// The answer of the writer.
pub(crate) enum PublishAnswer {
    Published(Published),
    /// Others than before get the message, and the application's hooks must see its jobs first: on the caller's thread.
    PrepareAgain(Box<Publication>),
}

impl Publish {
    pub fn new(
        message: Box<Publication>,
        seen: Option<(Arc<TopicRoutes>, Routed)>,
        deliveries: Deliveries,
        reply: Reply<PublishAnswer>,
        handler: Option<WaitingHandler>,
    ) -> Box<Self> {
        let routed = seen.as_ref().map(|(_, routed)| routed.clone()).unwrap_or_default();
        Box::new(Self { message, seen, routed, deliveries, answer: None, reply, handler })
    }
}

impl Step for Publish {
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        self.answer = None;
        let routes = batch.topic(&self.message.topic)?;
        let routed = match &self.seen {
            Some((seen, routed)) if Arc::ptr_eq(seen, &routes) => routed.clone(),
            _ => self.message.routed(&routes),
        };
        self.message.check_routed(&routes, &routed)?;
        drop(routes);
        if routed != self.routed {
            if self.message.has_hooks() {
                return Ok(());
            }
            self.deliveries = self.message.deliveries(prepare, &routed, &mut CallSize::default())?;
            self.routed = routed;
        }
        let Deliveries { jobs, entry } = &mut self.deliveries;
        jobs.iter_mut().try_for_each(|job| batch.resolve(job))?;
        entry.iter_mut().try_for_each(|entry| batch.resolve_entry(entry))?;
        let needed = batch.shares(jobs, |batch, n| batch.claim(&jobs[n], prepare))?;
        make_room(batch, &needed, prepare)?;
        let answers = insert_all(batch, jobs, prepare)?.list(jobs.len() as u64);
        let entries = batch.append_to_each(self.routed.streams(), entry.as_mut())?;
        batch.published(&self.message.topic, self.message.key.as_str(), !self.routed.to.is_empty());
        self.answer = Some(published(prepare, &self.routed, answers, entries));
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { message, answer, reply, .. } = *self;
        let answer = answer.map_or_else(|| PublishAnswer::PrepareAgain(message), PublishAnswer::Published);
        let _ = reply.send(result.map(|()| answer));
    }

    fn fills(&self, full: &BTreeSet<QueueId>) -> Option<QueueId> {
        if full.is_empty() {
            return None;
        }
        self.deliveries.jobs.iter().filter_map(Prepared::known_queue).find(|queue| full.contains(queue))
    }

    fn needs_room(&self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> bool {
        let jobs = &self.deliveries.jobs;
        let shares = batch.shares(jobs, |batch, n| batch.claim(&jobs[n], prepare));
        shares.is_ok_and(|needed| !needed.shares.is_empty())
    }

    fn bytes(&self) -> usize {
        self.message.bytes()
    }

    fn handler(&self) -> Option<WaitingHandler> {
        self.handler
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}
