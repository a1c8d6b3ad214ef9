//! Hears what a plugin logs.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Where the queue passes on what plugins say.
const TARGET: &str = "millpond::plugin";

/// Lines kept of one job: its limit is in the plugin's settings.
const LINES_MAX: usize = 10_000;

/// The lines that were logged and not yet taken.
#[derive(Clone, Default)]
pub struct Listener {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
}

impl Listener {
    /// Hears everybody from now on.
    pub fn start() -> Self {
        let listener = Self::default();
        // Only one can listen; there is no other in this program.
        let _ = tracing::subscriber::set_global_default(listener.clone());
        listener
    }

    pub fn take(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == TARGET
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let mut lines = self.lines.lock().unwrap_or_else(|e| e.into_inner());
        if lines.len() < LINES_MAX {
            lines.push((*event.metadata().level(), message.0));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.0.push_str(text);
        }
    }

    fn record_debug(&mut self, field: &Field, text: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{text:?}");
        }
    }
}
