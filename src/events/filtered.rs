//! Listeners with a filter: events that the filter refuses take no place in their buffers.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::Event;
use crate::error::panics::{Quiet, catch};
use crate::sync::MustNotWait;

/// Whether a listener receives an event.
pub(crate) type EventFilter = dyn Fn(&Event) -> bool + Send + Sync;

/// One listener with its filter.
#[derive(Clone)]
pub(super) struct Filtered {
    filter: Arc<Quiet<Box<EventFilter>>>,
    listener: broadcast::Sender<Event>,
    /// Whether it asks for the events of attempts.
    pub with_attempts: bool,
}

impl Filtered {
    pub fn new(filter: Box<EventFilter>, with_attempts: bool, buffer: usize) -> (Self, broadcast::Receiver<Event>) {
        let (listener, receiver) = broadcast::channel(buffer);
        (Self { filter: Arc::new(Quiet::new(filter)), listener, with_attempts }, receiver)
    }

    pub fn is_heard(&self) -> bool {
        self.listener.receiver_count() > 0
    }

    /// Sends the event if the filter returns true or panics.
    pub fn publish(&self, event: &Event) {
        let is_asked_for = self.with_attempts || !event.is_of_attempt();
        if is_asked_for && self.is_heard() && self.wants(event) {
            // That the listener is gone is not an error.
            let _ = self.listener.send(event.clone());
        }
    }

    /// The filter is code of the application, and all other calls wait for it: it must not wait for the queue, and its
    /// panic must not end the thread.
    fn wants(&self, event: &Event) -> bool {
        let _must_not_wait = MustNotWait::begin();
        catch(|| (*self.filter)(event)).unwrap_or_else(|panic| {
            tracing::error!(panic = panic.text(), "a filter of events panicked");
            true
        })
    }
}
