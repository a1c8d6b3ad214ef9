//! Keeps the events of each commit in a stream, in the commit itself.

use std::sync::Arc;

use crate::error::Error;
use crate::events::Event;
use crate::job::NewJob;
use crate::storage::Batch;
use crate::writer::state::Writer;

/// The kind of the entries.
const KIND: &str = "event";

/// How many entries are prepared together.
const EVENTS_AT_ONCE: usize = 1_000;

impl Writer {
    /// Keeps the events of all commits from now on in this stream.
    pub fn keep_events_in(mut self, stream: Option<Arc<str>>) -> Self {
        self.events_to = stream;
        self
    }

    /// Appends the events of a batch to the stream that keeps them. Only an error of the storage is one of the batch: a job must not
    /// fail because its event cannot be kept.
    pub(in crate::writer) fn keep_events(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let Some(stream) = &self.events_to else { return Ok(()) };
        batch.follow_up()?;
        let mut entries = batch.events.iter().filter_map(|event| entry(stream, event)).collect::<Vec<_>>().into_iter();
        while entries.len() > 0 {
            let some = self.prepare.prepare_entries(&mut entries.by_ref().take(EVENTS_AT_ONCE));
            match some.and_then(|mut entries| batch.append(stream, &mut entries)) {
                Err(error) if error.is_of_storage() => return Err(error),
                Err(error) => tracing::error!(%error, stream = &**stream, "events could not be kept in their stream"),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

/// The entry of an event. `None` for an event of the stream's own consumers, each of which would be followed by another.
fn entry(stream: &str, event: &Event) -> Option<NewJob> {
    let value = serde_json::to_value(event).ok()?;
    let queue = value.get("queue").and_then(|queue| queue.as_str());
    if queue.and_then(|queue| queue.strip_prefix(stream)).is_some_and(|rest| rest.starts_with(':')) {
        return None;
    }
    let entry = NewJob::json(KIND, &value);
    Some(match queue {
        Some(queue) => entry.group(queue),
        None => entry,
    })
}
