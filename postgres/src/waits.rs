//! Waits for jobs: who waits polls, and a hint of a sender makes it look sooner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond_links::Destination;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a call waits for jobs.
pub(crate) const WAIT: Duration = Duration::from_millis(500);

/// Who waits, by what the hints say.
#[derive(Default)]
pub(crate) struct Waits(Mutex<HashMap<String, Arc<Notify>>>);

impl Waits {
    /// Notified when there is a hint about this destination.
    pub fn about(&self, destination: &str) -> Arc<Notify> {
        let mut waits = self.0.lock().unwrap_or_else(|e| e.into_inner());
        waits.entry(destination.to_owned()).or_default().clone()
    }

    pub fn wake(&self, destination: &str) {
        let waits = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(wait) = waits.get(destination) {
            wait.notify_waiters();
        }
    }
}

/// What a hint says.
pub(crate) fn hint(about: &Destination) -> String {
    about.to_string()
}

/// When hints were sent, so that they are not too many.
#[derive(Default)]
pub(crate) struct Sent(Mutex<HashMap<String, Hint>>);

struct Hint {
    at: Instant,
    is_due: bool,
}

impl Sent {
    /// In what time a hint shall be sent. `None`: another one will be sent that says the same.
    pub fn next(&self, about: &str, now: Instant, at_least_apart: Duration) -> Option<Duration> {
        let mut sent = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let Some(hint) = sent.get_mut(about) else {
            sent.insert(about.to_owned(), Hint { at: now, is_due: true });
            return Some(Duration::ZERO);
        };
        if hint.is_due {
            return None;
        }
        hint.is_due = true;
        hint.at = now.max(hint.at + at_least_apart);
        Some(hint.at - now)
    }

    /// A hint is about to be sent: jobs that come from now on need another one.
    pub fn goes(&self, about: &str) {
        if let Some(hint) = self.0.lock().unwrap_or_else(|e| e.into_inner()).get_mut(about) {
            hint.is_due = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_about_one_destination_are_apart_and_the_last_one_is_sent() {
        let (sent, apart, now) = (Sent::default(), Duration::from_millis(20), Instant::now());
        assert_eq!(sent.next("a", now, apart), Some(Duration::ZERO));
        assert_eq!(sent.next("a", now, apart), None, "it has not gone yet");
        sent.goes("a");
        assert_eq!(sent.next("a", now, apart), Some(apart));
        assert_eq!(sent.next("a", now, apart), None, "it will go");
        assert_eq!(sent.next("b", now, apart), Some(Duration::ZERO), "another destination");
        sent.goes("a");
        assert_eq!(sent.next("a", now + apart * 3, apart), Some(Duration::ZERO));
    }
}
