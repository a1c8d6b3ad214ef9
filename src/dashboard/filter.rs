//! The filter that a query of the API asks for.

use serde_json::Value;

use crate::{JobFilter, State, Timestamp};

use super::api::{JobQuery, Problem};

/// The filter that finds the jobs of a query of the API.
///
/// ```
/// use millpond::JobFilter;
/// use millpond::dashboard::api::JobQuery;
///
/// let dead = JobQuery { state: Some("dead".into()), ..JobQuery::of_queue("mail") };
/// assert!(JobFilter::try_from(&dead).is_ok());
/// let unknown = JobQuery { state: Some("lost".into()), ..JobQuery::default() };
/// assert!(JobFilter::try_from(&unknown).unwrap_err().detail.contains("the states are pending"));
/// ```
impl TryFrom<&JobQuery> for JobFilter {
    type Error = Problem;

    fn try_from(query: &JobQuery) -> Result<Self, Problem> {
        let JobQuery { queue, state, kind, group, key, tag, payload, pointer, equals, error, since, until } = query;
        let mut filter = JobFilter::new();
        if let Some(queue) = queue {
            filter = filter.queue(queue);
        }
        if let Some(state) = state {
            filter = filter.state(state_of(state)?);
        }
        if let Some(kind) = kind {
            filter = filter.kind(kind);
        }
        if let Some(group) = group {
            filter = filter.group(group);
        }
        if let Some(key) = key {
            filter = filter.unique_key(key);
        }
        if let Some(tag) = tag {
            filter = filter.tag(tag);
        }
        if let Some(text) = payload {
            filter = filter.payload_contains(text);
        }
        match (pointer, equals) {
            (Some(pointer), Some(value)) => filter = filter.json_equals(pointer, json_or_text(value)),
            (None, None) => {}
            _ => return Err(Problem::invalid("`pointer` and `equals` belong together: give both or none")),
        }
        if let Some(text) = error {
            filter = filter.error_contains(text);
        }
        if let Some(since) = since {
            filter = filter.since(Timestamp::from_millis(since.0));
        }
        if let Some(until) = until {
            filter = filter.until(Timestamp::from_millis(until.0));
        }
        Ok(filter)
    }
}

const STATES: [State; 8] = [
    State::Pending,
    State::Scheduled,
    State::Running,
    State::Retrying,
    State::Completed,
    State::Dead,
    State::Cancelled,
    State::Blocked,
];

fn state_of(text: &str) -> Result<State, Problem> {
    let found = STATES.into_iter().find(|state| state.to_string() == text);
    found.ok_or_else(|| {
        let names = STATES.map(|state| state.to_string()).join(", ");
        Problem::invalid(format!("there is no state {text:?}: the states are {names}"))
    })
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_found_by_its_name() {
        for state in STATES {
            assert_eq!(state_of(&state.to_string()), Ok(state));
        }
    }
}
