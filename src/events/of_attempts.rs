//! The events of running attempts: who hears them, and their order among the events of commits.
//!
//! An attempt can start as soon as the commit that made its job ready is in the file, and that is before the events of the
//! commit are published. So the writer holds the events of attempts from before a commit until its events are published.

use std::sync::Arc;

use super::{Event, EventBus};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Where the events of attempts are, until they are published.
#[derive(Default)]
pub(super) struct OfAttempts {
    /// False only if no listener asks for these events: read at each start. It can be true for a while after the last of
    /// these listeners is gone.
    are_heard: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// A commit is being made, or its events are being published.
    is_holding: bool,
    events: Vec<Event>,
}

impl OfAttempts {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes whether a listener asks for them. The caller holds the lock of the audience, so that no later answer is
    /// overtaken by an earlier one.
    pub fn set_heard(&self, are_heard: bool) {
        self.are_heard.store(are_heard, Ordering::SeqCst);
    }
}

/// While this exists, the events of attempts are held. They are published when it is dropped.
pub(crate) struct HeldEvents(Arc<EventBus>);

impl Drop for HeldEvents {
    fn drop(&mut self) {
        // In a forked process the lock may be held for ever.
        while self.0.process.is_this() {
            let events = {
                let mut held = self.0.of_attempts.lock();
                if held.events.is_empty() {
                    held.is_holding = false;
                    return;
                }
                std::mem::take(&mut held.events)
            };
            // Outside of the lock: filters are code of the application. What comes meanwhile is published behind these.
            self.0.publish(events);
        }
    }
}

impl EventBus {
    /// Whether a listener may ask for the events of attempts. Costs nothing.
    #[inline]
    pub fn hears_attempts(&self) -> bool {
        self.of_attempts.are_heard.load(Ordering::Relaxed)
    }

    /// Publishes an event of a running attempt. Call it only if [`Self::hears_attempts`].
    pub fn publish_of_attempt(&self, event: Event) {
        if !self.process.is_this() || !self.still_hears_attempts() {
            return;
        }
        {
            let mut held = self.of_attempts.lock();
            if held.is_holding {
                // Starts are limited by the slots. Of progress a later event tells more.
                if held.events.len() < self.buffer || !matches!(event, Event::Progress { .. }) {
                    held.events.push(event);
                }
                return;
            }
        }
        self.publish([event]);
    }

    /// Holds the events of attempts until the result is dropped: while a commit is made and its events are published. Only
    /// the thread that has the commit turn calls this, and once at a time.
    pub fn hold_attempts(self: &Arc<Self>) -> HeldEvents {
        if self.process.is_this() {
            self.of_attempts.lock().is_holding = true;
        }
        HeldEvents(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobId, Progress};

    fn started(id: u64) -> Event {
        Event::Started { id: JobId::new(id), queue: "q".into(), kind: "k".into(), attempt: 1 }
    }

    fn progress(id: u64) -> Event {
        let progress = Progress::default();
        Event::Progress { id: JobId::new(id), queue: "q".into(), kind: "k".into(), attempt: 1, progress }
    }

    #[test]
    fn held_events_come_behind_those_of_the_commit() {
        let bus = Arc::new(EventBus::new(16, None));
        let mut events = bus.listen_where(Box::new(|_| true), true);
        let held = bus.hold_attempts();
        bus.publish_of_attempt(started(1));
        assert_eq!(events.try_next(), None);
        bus.publish([Event::Healed]);
        drop(held);
        bus.publish_of_attempt(started(2));
        let told: Vec<_> = std::iter::from_fn(|| events.try_next()).map(Result::unwrap).collect();
        assert_eq!(told, [Event::Healed, started(1), started(2)]);
    }

    #[test]
    fn held_progress_is_limited_and_held_starts_are_not_lost() {
        let bus = Arc::new(EventBus::new(4, None));
        let mut events = bus.listen_where(Box::new(|event| matches!(event, Event::Started { .. })), true);
        let held = bus.hold_attempts();
        (0..1_000).for_each(|id| bus.publish_of_attempt(progress(id)));
        assert_eq!(bus.of_attempts.lock().events.len(), 4);
        bus.publish_of_attempt(started(7));
        drop(held);
        assert_eq!(events.try_next(), Some(Ok(started(7))));
    }

    #[test]
    fn nobody_hears_attempts_once_the_last_listener_that_asked_is_gone() {
        let bus = Arc::new(EventBus::new(4, None));
        let _other = bus.listen_where(Box::new(|_| true), false);
        assert!(!bus.hears_attempts());
        let events = bus.listen_where(Box::new(|_| true), true);
        let _later = bus.listen_where(Box::new(|_| true), false);
        assert!(bus.hears_attempts());
        drop(events);
        bus.publish_of_attempt(started(1));
        assert!(!bus.hears_attempts());
    }
}
