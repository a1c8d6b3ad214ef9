//! Topics and their bindings.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Time;

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many bindings it has.
    pub bindings: u64,
    /// The queue that gets the messages that no binding matches.
    pub alternate: Option<String>,
    /// Whether a message that no queue and no stream gets is an error.
    pub is_mandatory: bool,
    /// When it was made.
    pub created_at: Time,
}

/// Some topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicPage {
    /// How many topics there are.
    pub total: u64,
    /// The topics, by name.
    pub topics: Vec<Topic>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}

/// One topic with some of its bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicDetail {
    /// The topic.
    pub topic: Topic,
    /// The bindings: those to queues by name, then those to streams.
    pub bindings: Vec<Binding>,
    /// Pass this as `after` to get the next page of bindings; `null` at the end.
    pub next: Option<String>,
}

/// Which messages of a topic go to a queue or to a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Binding {
    /// The queue, if it leads to one.
    pub queue: Option<String>,
    /// The stream, if it leads to one.
    pub stream: Option<String>,
    /// The pattern of the routing key: words between dots, `*` for one word, `#` for any number of words. `null` matches every
    /// key.
    pub key: Option<String>,
    /// Headers that a message must all have, each as `name=value`.
    pub headers_all: Vec<String>,
    /// Headers of which a message must have one, each as `name=value`. Empty if there is no such condition.
    pub headers_any: Vec<String>,
}

impl Binding {
    /// Where it leads to, as it is named in sentences. `None` unless it is one queue or one stream.
    pub fn recipient(&self) -> Option<String> {
        match (&self.queue, &self.stream) {
            (Some(queue), None) => Some(format!("queue {queue}")),
            (None, Some(stream)) => Some(format!("stream {stream}")),
            _ => None,
        }
    }
}

/// A message of which is asked where it would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TopicMessage {
    /// The routing key. Default: the empty key.
    pub key: String,
    /// The headers, each as `name=value` in a line of its own.
    pub headers: String,
}

/// Where a message would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Matched {
    /// The queues that would get a job, by name.
    pub queues: Vec<String>,
    /// The streams that would get an entry, by name.
    pub streams: Vec<String>,
    /// No binding matches, and the queue is the topic's alternate.
    pub used_alternate: bool,
}
