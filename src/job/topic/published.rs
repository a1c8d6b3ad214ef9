//! The settings of a topic, and the answers of a publish.

use std::sync::Arc;

use serde::Serialize;

use crate::job::{Enqueued, EntryOf};
use crate::time::Timestamp;

/// What a publish has done: which queues got a job, and which streams an entry.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.topic("orders")?;
/// orders.bind(Binding::to("mail").key("order.created")).await?;
///
/// let published = orders.publish("order.created", NewJob::json("order", &7)).await?;
/// let job = published.job_in("mail").unwrap();
/// assert_eq!(pond.job(job)?.kind, "order");
/// assert!(orders.publish("order.lost", NewJob::json("order", &7)).await?.is_unrouted());
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// A job in each queue that has a matching binding, in the order of the queues' names. Empty if no binding to a queue matches,
    /// unless the topic's alternate queue got the job.
    pub jobs: Vec<Delivery>,
    /// An entry in each stream that has a matching binding, in the order of the streams' names.
    pub entries: Vec<EntryOf>,
    /// No binding matches, and the topic's [alternate queue](TopicSettings::alternate) got the job.
    pub used_alternate: bool,
}

impl Published {
    /// Whether nobody got the message: no stream, and no queue, not even the alternate one.
    pub fn is_unrouted(&self) -> bool {
        self.jobs.is_empty() && self.entries.is_empty()
    }

    /// The answer of a queue, if it got the message.
    pub fn job_in(&self, queue: &str) -> Option<Enqueued> {
        self.jobs.iter().find(|delivery| &*delivery.queue == queue).map(|delivery| delivery.job)
    }

    /// The offset of the entry in a stream, if the stream got the message.
    pub fn entry_in(&self, stream: &str) -> Option<u64> {
        self.entries.iter().find(|entry| &*entry.stream == stream).map(|entry| entry.offset)
    }
}

/// A queue that a publish has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The queue.
    pub queue: Arc<str>,
    /// What the enqueue there has done: a job with a [unique key](crate::NewJob::unique_key) can be there already.
    pub job: Enqueued,
}

/// Where a message would go: see [`Topic::matches`](crate::Topic::matches).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Matched {
    /// The queues that would get a job, in the order of their names.
    pub queues: Vec<String>,
    /// The streams that would get an entry, in the order of their names.
    pub streams: Vec<String>,
    /// No binding matches, and the queue is the topic's [alternate](TopicSettings::alternate).
    pub used_alternate: bool,
}

/// What becomes of the messages of a topic that no binding matches.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.topic("orders")?;
/// orders.configure(TopicSettings::default().alternate("lost")).await?;
/// let published = orders.publish("order.created", NewJob::json("order", &7)).await?;
/// assert!(published.used_alternate && published.job_in("lost").is_some());
///
/// orders.configure(TopicSettings::default().mandatory(true)).await?;
/// let refused = orders.publish("order.created", NewJob::json("order", &7)).await;
/// assert!(matches!(refused, Err(Error::Unroutable { .. })));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TopicSettings {
    /// The queue that gets the messages that no binding matches. By default none does.
    pub alternate: Option<String>,
    /// Whether a message that no queue and no stream gets is an error: [`Error::Unroutable`](crate::Error::Unroutable). By default
    /// the answer of the publish says that nobody got it.
    pub mandatory: bool,
}

impl TopicSettings {
    /// Sets the queue that gets the messages that no binding matches. If there is no queue of this name, it is made.
    pub fn alternate(mut self, queue: impl Into<String>) -> Self {
        self.alternate = Some(queue.into());
        self
    }

    /// Sets whether a message that no queue and no stream gets is an error.
    pub fn mandatory(mut self, mandatory: bool) -> Self {
        self.mandatory = mandatory;
        self
    }
}

/// A topic, as [`Millpond::topics`](crate::Millpond::topics) lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How many bindings it has.
    pub bindings: usize,
    /// What becomes of messages that no binding matches.
    pub settings: TopicSettings,
    /// When it was made.
    pub created_at: Timestamp,
}
