//! The events of the queue as they happen.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use serde_json::Value;

use crate::{Event, EventStream, Millpond, Missed};

use super::api::{LiveEvent, Time};

/// What happens from now on. It does not keep the queue open, and ends when the queue is closed.
pub(super) struct LiveEvents(EventStream);

impl LiveEvents {
    pub fn of(pond: &Millpond) -> Self {
        Self(pond.events().into_stream())
    }
}

impl Stream for LiveEvents {
    type Item = LiveEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LiveEvent>> {
        let event = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(event.map(shown))
    }
}

fn shown(event: Result<Event, Missed>) -> LiveEvent {
    let at = Time::now();
    match event {
        Ok(event) => of_value(at, serde_json::to_value(event).unwrap_or_default()),
        Err(Missed { count, .. }) => {
            let detail = format!("{count} events were not received in time");
            LiveEvent { at, kind: "missed".to_owned(), detail, ..LiveEvent::default() }
        }
    }
}

/// An event in its serialized form. Fields that every reader knows are taken out; all others become text.
fn of_value(at: Time, event: Value) -> LiveEvent {
    let mut live = LiveEvent { at, ..LiveEvent::default() };
    let Value::Object(fields) = event else { return live };
    let mut rest = Vec::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("type", Value::String(kind)) => live.kind = snake_case(&kind),
            ("queue", Value::String(queue)) => live.queue = Some(queue),
            ("id", id) => live.job = Some(id.to_string()),
            (_, value) => rest.push(format!("{name} {}", text(&value))),
        }
    }
    live.detail = rest.join(", ");
    live
}

fn text(value: &Value) -> String {
    let duration = value.get("secs").and_then(Value::as_u64).zip(value.get("nanos").and_then(Value::as_u64));
    match (value, duration) {
        (Value::String(text), _) => text.clone(),
        (_, Some((seconds, nanos))) => {
            let duration = std::time::Duration::new(seconds, u32::try_from(nanos).unwrap_or(0));
            format!("{duration:.1?}")
        }
        (other, _) => other.to_string(),
    }
}

/// `OnDeadFailed` as `on_dead_failed`.
fn snake_case(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_event_is_shown_with_its_queue_and_job_and_the_rest_as_text() {
        let event = Event::Completed {
            id: crate::JobId::new(7),
            queue: "mail".into(),
            kind: "send".into(),
            attempt: 2,
            took: Duration::from_millis(31),
        };
        let live = shown(Ok(event));
        assert_eq!(
            (live.kind.as_str(), live.queue.as_deref(), live.job.as_deref()),
            ("completed", Some("mail"), Some("7"))
        );
        assert_eq!(live.detail, "attempt 2, kind send, took 31.0ms");
        let live = shown(Ok(Event::OnDeadFailed { id: crate::JobId::new(7), error: "no".into() }));
        assert_eq!((live.kind.as_str(), live.detail.as_str()), ("on_dead_failed", "error no"));
        let live = shown(Ok(Event::Paused { queue: "mail".into(), group: None }));
        assert_eq!((live.kind.as_str(), live.detail.as_str()), ("paused", ""));
        let lost = Event::EntriesLost { stream: "orders".into(), consumer: "crm".into(), from: 0, to: 6, entries: 5 };
        let live = shown(Ok(lost));
        assert_eq!((live.kind.as_str(), live.queue.as_deref()), ("entries_lost", None));
        assert_eq!(live.detail, "consumer crm, entries 5, from 0, stream orders, to 6");
        assert_eq!(shown(Ok(Event::Healed)).kind, "healed");
    }

    #[test]
    fn events_that_were_missed_are_told() {
        let live = shown(Err(Missed { count: 12 }));
        assert!(live.kind == "missed" && live.detail.starts_with("12 events"), "{live:?}");
    }
}
