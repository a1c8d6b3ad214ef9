//! The queue that an event is about.

use millpond::Event;

/// The queue of the job that an event is about, if it is one about a job.
pub fn queue_of(event: &Event) -> Option<&str> {
    match event {
        Event::Enqueued { queue, .. }
        | Event::Started { queue, .. }
        | Event::Progress { queue, .. }
        | Event::Completed { queue, .. }
        | Event::Retrying { queue, .. }
        | Event::Snoozed { queue, .. }
        | Event::Dead { queue, .. }
        | Event::Cancelled { queue, .. }
        | Event::Redriven { queue, .. }
        | Event::Deduplicated { queue, .. }
        | Event::Replaced { queue, .. } => Some(queue),
        _ => None,
    }
}
