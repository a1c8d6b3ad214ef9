//! Topics: bind queues and streams to them, publish messages to them, and look at their bindings.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::job::{
    Binding, BindingRow, Destination, Matched, NewJob, Published, QueueId, Recipient, RoutingKey, TopicInfo, TopicRow,
    TopicSettings, check_name,
};
use crate::runtime::{Commit, Engine};

/// A topic: what is published to it goes to the queues and streams that are bound to it, by its routing key and its headers. It is
/// cheap to clone.
///
/// A message becomes an ordinary job in each queue that a [`Binding`] leads to, and an entry in each stream, in one commit: all of
/// them or none. Each job has an id, attempts and an end of its own. No queue and no stream gets a message twice, however many of
/// its bindings match.
///
/// A topic exists in the file from its first [`bind`](Self::bind) or [`configure`](Self::configure) until it is
/// [removed](Self::remove). A name that was only looked up is no topic, and publishing to it is an error.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.topic("orders")?;
/// orders.bind(Binding::to("mail").key("order.created.*")).await?;
/// orders.bind(Binding::to("warehouse").key("order.*.eu")).await?;
/// orders.bind(Binding::to_stream("analytics")).await?;
///
/// orders.publish("order.created.eu", Charge { order: 7 }).await?;
/// orders.publish("order.paid.us", Charge { order: 7 }).await?;
/// let pending = |queue: &str| pond.queue(queue).unwrap().counts().pending;
/// assert_eq!((pending("mail"), pending("warehouse")), (1, 1));
/// assert_eq!(pond.stream("analytics")?.info()?.entries, 2);
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Topic {
    engine: Arc<Engine>,
    name: Arc<str>,
}

/// All topics, in the order of their names.
pub(crate) fn list(engine: &Engine) -> Result<Vec<TopicInfo>, Error> {
    let info = |(name, routes): (&Arc<str>, &Arc<crate::job::TopicRoutes>)| TopicInfo {
        name: name.to_string(),
        bindings: routes.len(),
        settings: shown_settings(engine, &routes.row),
        created_at: routes.row.created_at,
    };
    Ok(engine.topics()?.iter().map(info).collect())
}

fn queue_name(engine: &Engine, queue: QueueId) -> String {
    engine.queue_name(queue).to_string()
}

fn shown_settings(engine: &Engine, row: &TopicRow) -> TopicSettings {
    let mut settings = TopicSettings::default().mandatory(row.mandatory);
    settings.alternate = row.alternate.as_ref().and_then(Destination::queue).map(|queue| queue_name(engine, queue));
    settings
}

fn shown(engine: &Engine, row: &BindingRow) -> Binding {
    let mut binding = Binding::leading(match &row.to {
        Destination::Queue(queue) => Recipient::Queue(queue_name(engine, *queue)),
        Destination::Stream(stream) => Recipient::Stream(stream.to_string()),
    });
    binding.key.clone_from(&row.key);
    binding.headers_all.clone_from(&row.headers_all);
    binding.headers_any.clone_from(&row.headers_any);
    binding
}

impl Topic {
    pub(crate) fn new(engine: Arc<Engine>, name: &str) -> Result<Self, Error> {
        check_name("topic", name)?;
        Ok(Self { engine, name: name.into() })
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Binds a queue or a stream: from now on it gets the messages that match. The binding is durable when this returns, and publishes that
    /// begin afterwards see it. Returns false if there is an equal binding. An application usually makes its bindings at each
    /// start; many of them cost least in one [transaction](crate::Transaction::bind).
    ///
    /// If the topic, the queue or the stream does not exist, it is made. A binding follows its queue when that gets another name. A
    /// queue that has bindings is not [removed](crate::Queue::remove); [`obliterate`](crate::Queue::obliterate) removes its bindings
    /// too. A stream that has bindings is not [removed](crate::Stream::remove).
    ///
    /// # Errors
    /// [`Error::InvalidName`] for the queue or the stream, [`Error::InvalidRoutingKey`], [`Error::InvalidBinding`], [`Error::InvalidHeader`],
    /// [`Error::HeadersTooLarge`] for the binding; [`Error::TooManyTopics`] for more than 1,024 topics,
    /// [`Error::TooManyBindings`] for more than 50,000 bindings of the topic; [`Error::InvalidConfig`] for more queues than a
    /// file can have; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// assert!(orders.bind(Binding::to("mail").key("order.created.*")).await?);
    /// assert!(!orders.bind(Binding::to("mail").key("order.created.*")).await?);
    /// # Ok(()) });
    /// ```
    pub fn bind(&self, binding: Binding) -> Commit<bool> {
        let (engine, topic) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            let binding = binding.check()?;
            engine.change(move |batch| batch.bind(&topic, &binding)).await
        })
    }

    /// Removes a binding: the one that equals this. What it has brought already stays. Returns false if there is none.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`]; those of [`bind`](Self::bind) for the binding.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail").key("order.created.*")).await?;
    /// assert!(orders.unbind(Binding::to("mail").key("order.created.*")).await?);
    /// assert!(orders.publish("order.created.eu", Charge { order: 7 }).await?.is_unrouted());
    /// # Ok(()) });
    /// ```
    pub fn unbind(&self, binding: Binding) -> Commit<bool> {
        let (engine, topic) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            let binding = binding.check()?;
            engine.change(move |batch| batch.unbind(&topic, &binding)).await
        })
    }

    /// The bindings of the topic as of the last commit, those to queues first, in the order of their names.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail").key("order.created.*")).await?;
    /// assert_eq!(orders.bindings()?, [Binding::to("mail").key("order.created.*")]);
    /// # Ok(()) });
    /// ```
    pub fn bindings(&self) -> Result<Vec<Binding>, Error> {
        let routes = self.engine.topic(&self.name)?;
        let mut bindings: Vec<_> = routes.bindings().map(|(_, row)| shown(&self.engine, row)).collect();
        bindings.sort();
        Ok(bindings)
    }

    /// Replaces the settings of the topic: what becomes of messages that no binding matches. If the topic or its alternate queue
    /// does not exist, it is made.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for the alternate queue; [`Error::TooManyTopics`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.configure(TopicSettings::default().alternate("unrouted")).await?;
    /// assert_eq!(orders.settings()?.alternate.as_deref(), Some("unrouted"));
    /// # Ok(()) });
    /// ```
    pub fn configure(&self, settings: TopicSettings) -> Commit<()> {
        let (engine, topic) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            settings.alternate.as_deref().map_or(Ok(()), |queue| check_name("queue", queue))?;
            engine.change(move |batch| batch.configure_topic(&topic, &settings)).await
        })
    }

    /// The settings of the topic.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`].
    pub fn settings(&self) -> Result<TopicSettings, Error> {
        Ok(shown_settings(&self.engine, &self.engine.topic(&self.name)?.row))
    }

    /// Removes the topic with its bindings. The queues and streams stay as they are. Returns false if there is no such topic.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail")).await?;
    /// assert!(orders.remove().await?);
    /// let refused = orders.publish("order.created", Charge { order: 7 }).await;
    /// assert!(matches!(refused, Err(Error::NoSuchTopic { .. })));
    /// # Ok(()) });
    /// ```
    pub fn remove(&self) -> Commit<bool> {
        let (engine, topic) = (self.engine.clone(), self.name.clone());
        Commit::new(async move { engine.change(move |batch| Ok(batch.remove_topic(&topic)?)).await })
    }

    /// Publishes a job: each queue that a matching binding leads to gets one, and each stream an entry, in one commit. The answer
    /// says which they are. It is no error that there is none, unless the topic is [mandatory](TopicSettings::mandatory).
    ///
    /// The job is what [`Millpond::enqueue`](crate::Millpond::enqueue) takes, with all options; they hold in each of the queues. An
    /// entry has only the group, the tags and the headers of it.
    /// A [unique key](crate::NewJob::unique_key) is one key for each queue. The routing key is text of at most 255 bytes and 64
    /// words between dots, and can be empty. It is not stored: what a handler needs of it goes into a
    /// [header](crate::NewJob::header) or into the payload.
    ///
    /// A publish is all or none: if one of the queues is full, no queue and no stream gets anything, and the call fails or waits for room as
    /// [`enqueue_all`](crate::Millpond::enqueue_all) does.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Unroutable`], [`Error::InvalidRoutingKey`]; [`Error::BatchTooLarge`] if more than 10,000
    /// queues and streams match, or if what they get has more than 32 MiB; those of [`Millpond::enqueue`](crate::Millpond::enqueue).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail").key("order.created.*")).await?;
    /// orders.bind(Binding::to("billing").key("order.*.eu")).await?;
    ///
    /// let message = NewJob::new(Charge { order: 7 }).unique_key("order-7").header("country", "de");
    /// let published = orders.publish("order.created.eu", message).await?;
    /// let queues: Vec<_> = published.jobs.iter().map(|delivery| &*delivery.queue).collect();
    /// assert_eq!(queues, ["billing", "mail"]);
    /// # Ok(()) });
    /// ```
    pub fn publish(&self, key: &str, job: impl Into<NewJob>) -> Commit<Published> {
        self.engine.publish(&self.name, key, job.into())
    }

    /// Which queues and streams a message with this routing key and these headers would reach now. Nothing is published.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::InvalidRoutingKey`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("warehouse").key("order.#").headers_all([("country", "de")])).await?;
    /// assert_eq!(orders.matches("order.created", &[("country", "de")])?.queues, ["warehouse"]);
    /// assert!(orders.matches("order.created", &[])?.queues.is_empty());
    /// # Ok(()) });
    /// ```
    pub fn matches(&self, key: &str, headers: &[(&str, &str)]) -> Result<Matched, Error> {
        let (key, routes) = (RoutingKey::new(key)?, self.engine.topic(&self.name)?);
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let routed = routes.route(&key, &headers.collect::<BTreeMap<_, _>>());
        let mut queues: Vec<_> = routed.queues().map(|queue| queue_name(&self.engine, queue)).collect();
        queues.sort();
        let streams = routed.streams().map(ToString::to_string).collect();
        Ok(Matched { queues, streams, used_alternate: routed.is_alternate })
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("name", &self.name).finish_non_exhaustive()
    }
}
