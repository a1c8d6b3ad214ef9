//! Publishing and binding within a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Prepare, Transaction, WriteGuard};
use crate::error::Error;
use crate::job::{
    Binding, CallSize, Delivery, Enqueued, EntryOf, NewJob, Published, QueueId, Routed, RoutingKey, TopicRoutes,
    check_name,
};
use crate::storage::{Prepared, PreparedEntry};

/// A message that was published, before it is known who gets it.
pub(crate) struct Publication {
    pub topic: Arc<str>,
    pub key: RoutingKey,
    /// The job without a queue, encoded once for all of them.
    message: Prepared,
    /// The job as its caller wrote it, if hooks of the application want to see it with each queue.
    for_hooks: Option<NewJob>,
}

impl Publication {
    /// # Errors
    /// The topic's name, the key or the job is not accepted.
    pub fn new(prepare: &dyn Prepare, topic: &str, key: &str, job: NewJob) -> Result<Self, Error> {
        check_name("topic", topic)?;
        let key = RoutingKey::new(key)?;
        let for_hooks = prepare.has_enqueue_hooks().then(|| job.clone());
        Ok(Self { topic: topic.into(), key, message: prepare.prepare_message(job)?, for_hooks })
    }

    /// Whether the hooks of the application see its jobs: then they are prepared where hooks may run.
    pub fn has_hooks(&self) -> bool {
        self.for_hooks.is_some()
    }

    /// How many bytes of jobs it has for so many queues.
    pub fn bytes(&self) -> usize {
        self.message.bytes.len()
    }

    /// Where it goes by these bindings.
    pub fn routed(&self, routes: &TopicRoutes) -> Routed {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let labels = self.message.record().extra.as_deref().and_then(|extra| extra.labels.as_deref());
        routes.route(&self.key, labels.map_or(&NONE, |labels| &labels.headers))
    }

    /// Checks that a message that nobody gets may be published.
    ///
    /// # Errors
    /// [`Error::Unroutable`].
    pub fn check_routed(&self, routes: &TopicRoutes, routed: &Routed) -> Result<(), Error> {
        if routed.to.is_empty() && routes.row.mandatory {
            return Err(Error::Unroutable { topic: self.topic.to_string(), key: self.key.as_str().to_owned() });
        }
        Ok(())
    }

    /// What it becomes at its destinations. Each of them counts for the size of the call.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`]; the error of a hook.
    pub fn deliveries(&self, prepare: &dyn Prepare, routed: &Routed, size: &mut CallSize) -> Result<Deliveries, Error> {
        let (mut jobs, removals) = (Vec::with_capacity(routed.to.len()), prepare.queue_removals());
        for queue in routed.queues() {
            let job = match &self.for_hooks {
                None => self.message.in_queue(queue, removals),
                Some(job) => prepare.prepare(&prepare.queue_name(queue), job.clone())?,
            };
            size.add(job.bytes.len())?;
            jobs.push(job);
        }
        let mut entry = None;
        for _ in routed.streams() {
            size.add(entry.get_or_insert_with(|| prepare.prepare_entry_of(&self.message)).bytes.len())?;
        }
        Ok(Deliveries { jobs, entry })
    }
}

/// What a message becomes.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    /// A job for each queue, in the order of [`Routed::queues`].
    pub jobs: Vec<Prepared>,
    /// The entry, the same in each stream. `None` if no stream gets the message.
    pub entry: Option<PreparedEntry>,
}

/// The answer of a publish, made of the answers of its jobs and its entries.
pub(crate) fn published(
    prepare: &dyn Prepare,
    routed: &Routed,
    answers: impl IntoIterator<Item = Enqueued>,
    entries: Vec<EntryOf>,
) -> Published {
    let delivery = |(queue, job): (QueueId, Enqueued)| Delivery { queue: prepare.queue_name(queue), job };
    let mut jobs: Vec<_> = routed.queues().zip(answers).map(delivery).collect();
    jobs.sort_by(|one, other| one.queue.cmp(&other.queue));
    Published { jobs, entries, used_alternate: routed.is_alternate }
}

impl Transaction<'_> {
    /// Publishes a job to a topic, as [`Topic::publish`](crate::Topic::publish) does, if and only if this transaction is
    /// committed. Its jobs and entries count for the limits of the transaction, 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`Topic::publish`](crate::Topic::publish); [`Error::QueueFull`] even if the queue's setting is to wait. Nothing
    /// is published then, and the transaction can continue.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
    ///
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail").key("order.created.*")).await?;
    /// orders.bind(Binding::to("warehouse").key("order.#")).await?;
    /// let published = pond
    ///     .transaction(|tx| {
    ///         tx.open_table(ORDERS)?.insert(7, "a kettle")?;
    ///         Ok(tx.publish("orders", "order.created.eu", NewJob::json("order", &7))?)
    ///     })
    ///     .await?;
    /// assert_eq!(published.jobs.len(), 2);
    /// # Ok(()) });
    /// ```
    pub fn publish(&self, topic: &str, key: &str, job: impl Into<NewJob>) -> Result<Published, Error> {
        self.publish_message(&Publication::new(self.prepare, topic, key, job.into())?)
    }

    fn publish_message(&self, message: &Publication) -> Result<Published, Error> {
        let routes = self.batch.borrow().topic(&message.topic)?;
        let routed = message.routed(&routes);
        message.check_routed(&routes, &routed)?;
        // A later change of the topic in this transaction would copy it otherwise.
        drop(routes);
        let mut size = self.size.get();
        let deliveries = message.deliveries(self.prepare, &routed, &mut size)?;
        let (answers, entries) = self.batch.borrow_mut().deliver(deliveries, &routed, self.prepare)?;
        self.size.set(size);
        self.batch.borrow_mut().published(&message.topic, message.key.as_str(), !routed.to.is_empty());
        Ok(published(self.prepare, &routed, answers, entries))
    }

    /// Binds a queue or a stream to a topic, as [`Topic::bind`](crate::Topic::bind) does, if and only if this transaction is committed.
    /// What this transaction publishes afterwards goes there. Many bindings cost least in one transaction.
    ///
    /// # Errors
    /// Those of [`Topic::bind`](crate::Topic::bind).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.transaction(|tx| {
    ///     for country in ["de", "at", "ch"] {
    ///         tx.bind("orders", Binding::to(format!("warehouse-{country}")).key(format!("order.*.{country}")))?;
    ///     }
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(pond.topic("orders")?.matches("order.created.at", &[])?.queues, ["warehouse-at"]);
    /// # Ok(()) });
    /// ```
    pub fn bind(&self, topic: &str, binding: Binding) -> Result<bool, Error> {
        check_name("topic", topic)?;
        self.batch.borrow_mut().bind(topic, &binding.check()?)
    }

    /// Removes a binding of a topic, as [`Topic::unbind`](crate::Topic::unbind) does, if and only if this transaction is
    /// committed.
    ///
    /// # Errors
    /// Those of [`Topic::unbind`](crate::Topic::unbind).
    pub fn unbind(&self, topic: &str, binding: Binding) -> Result<bool, Error> {
        check_name("topic", topic)?;
        self.batch.borrow_mut().unbind(topic, &binding.check()?)
    }
}

impl WriteGuard {
    /// Publishes a job to a topic when this transaction is committed, by the bindings of then. Who gets it is known only
    /// then: [`Transaction::publish`] answers it.
    ///
    /// # Errors
    /// Those of [`Topic::publish`](crate::Topic::publish) for the key and the job. [`commit`](Self::commit) returns
    /// [`Error::NoSuchTopic`], [`Error::Unroutable`] and [`Error::QueueFull`].
    ///
    /// ```
    /// # use doc_prelude::*;
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.topic("orders")?.bind(Binding::to("mail").key("order.#")).wait()?;
    /// let mut tx = pond.begin_write()?;
    /// tx.publish("orders", "order.created", NewJob::json("order", &7))?;
    /// tx.commit()?;
    /// assert_eq!(pond.queue("mail")?.counts().pending, 1);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn publish(&mut self, topic: &str, key: &str, job: impl Into<NewJob>) -> Result<(), Error> {
        let message = Publication::new(&*self.prepare, topic, key, job.into())?;
        self.staged.changes.push(Box::new(move |tx| tx.publish_message(&message).map(drop)));
        Ok(())
    }
}
