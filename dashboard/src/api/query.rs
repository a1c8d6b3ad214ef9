//! Which jobs a request asks for.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Time;

/// Which jobs are meant: those that have everything that is given here. Without anything, all.
///
/// As part of an address, it is a query: `?queue=mail&state=dead&tag=tenant:7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobQuery {
    /// The queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The state, in lower case: `pending`, `scheduled`, `running`, `retrying`, `completed`, `dead`, `cancelled`, `blocked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The unique key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A tag that the job has. It is found by an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// A text that the payload contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// A place in a JSON payload (RFC 6901) that has the value `equals`: `/user/id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The value at `pointer`: JSON, or a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// A text that the latest error, or the reason of the end, contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The job was enqueued, or if it has ended, it ended, at this time or later.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "time_or_nothing")]
    pub since: Option<Time>,
    /// The job was enqueued, or if it has ended, it ended, before this time.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "time_or_nothing")]
    pub until: Option<Time>,
}

/// A form sends the fields of times that nothing was written into as empty texts.
fn time_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

/// A query in an action: a name that is not known is an error, because the action would change more jobs than was meant.
pub(super) fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobQuery, D::Error> {
    let fields = serde_json::Map::deserialize(deserializer)?;
    if let Some(unknown) = fields.keys().find(|name| !JobQuery::FIELDS.contains(&name.as_str())) {
        return Err(serde::de::Error::unknown_field(unknown, &JobQuery::FIELDS));
    }
    serde_json::from_value(fields.into()).map_err(serde::de::Error::custom)
}

impl JobQuery {
    const FIELDS: [&'static str; 12] =
        ["queue", "state", "kind", "group", "key", "tag", "payload", "pointer", "equals", "error", "since", "until"];

    /// The jobs of a queue.
    pub fn of_queue(queue: impl Into<String>) -> Self {
        Self { queue: Some(queue.into()), ..Self::default() }
    }

    /// Whether only the queue and the state are given.
    pub fn is_plain(&self) -> bool {
        *self == Self { queue: self.queue.clone(), state: self.state.clone(), ..Self::default() }
    }

    /// Without the texts that are empty, as a form sends the fields that nothing was written into.
    pub fn without_empty(mut self) -> Self {
        let Self { queue, state, kind, group, key, tag, payload, pointer, equals, error, since: _, until: _ } =
            &mut self;
        for text in [queue, state, kind, group, key, tag, payload, pointer, equals, error] {
            if text.as_deref() == Some("") {
                *text = None;
            }
        }
        self
    }
}

/// The order in which jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By queue and state; in a state, the job that starts, is due, or has ended first.
    Oldest,
    /// Of one queue the reverse of it. Of all queues, the newest of all first: in one state by the same times, without a state, or with
    /// a tag, the job that was enqueued last.
    Newest,
}

impl Order {
    /// The order of a list for which none is given: of jobs that have ended, the newest come first.
    pub fn of_state(state: Option<&str>) -> Self {
        match state {
            Some("completed" | "dead" | "cancelled") => Self::Newest,
            _ => Self::Oldest,
        }
    }

    /// The other order.
    pub fn reversed(self) -> Self {
        match self {
            Self::Oldest => Self::Newest,
            Self::Newest => Self::Oldest,
        }
    }
}

/// In which order a request asks for jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct Ordering {
    /// Default: `newest` if the state is `completed`, `dead` or `cancelled`, else `oldest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

impl Ordering {
    /// The order in which jobs of this state, or of all states, are listed.
    pub fn of_state(self, state: Option<&str>) -> Order {
        self.order.unwrap_or_else(|| Order::of_state(state))
    }
}

/// Which part of a list a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many entries, at most: 1 to 1,000, as a number. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Paging {
    /// Entries of a page, by default.
    pub const LIMIT_DEFAULT: usize = 50;
    /// Entries of a page, at most.
    pub const LIMIT_MAX: usize = 1_000;

    /// How many entries, within the limits.
    pub fn entries(&self) -> usize {
        self.limit.unwrap_or(Self::LIMIT_DEFAULT).clamp(1, Self::LIMIT_MAX)
    }

    /// Where the page begins; an empty text is the beginning.
    pub fn start(&self) -> Option<&str> {
        self.after.as_deref().filter(|after| !after.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_known_to_actions() {
        let text = || Some("7".to_owned());
        let query = JobQuery {
            queue: text(),
            state: text(),
            kind: text(),
            group: text(),
            key: text(),
            tag: text(),
            payload: text(),
            pointer: text(),
            equals: text(),
            error: text(),
            since: Some(Time(1)),
            until: Some(Time(2)),
        };
        let value = serde_json::to_value(&query).unwrap();
        assert_eq!(value.as_object().unwrap().len(), JobQuery::FIELDS.len());
        assert_eq!(exact(value).unwrap(), query);
    }

    #[test]
    fn a_form_whose_fields_are_empty_asks_for_everything() {
        let sent = "queue=&state=&kind=&group=&key=&tag=&payload=&pointer=&equals=&error=&since=&until=";
        let query: JobQuery = serde_urlencoded::from_str(sent).unwrap();
        assert_eq!(query.without_empty(), JobQuery::default());
    }
}
