//! Collects the log lines of plugins.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The `tracing` target of the log lines of plugins.
const TARGET: &str = "millpond::plugin";

/// The most lines that are kept between two calls of `take`. The plugin's own limit is `PluginLimits::log_lines`.
const LINES_MAX: usize = 10_000;

/// The lines that were logged since the last call of `take`.
#[derive(Clone, Default)]
pub struct Listener {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
}

impl Listener {
    /// Collects the lines of all plugins from now on.
    pub fn start() -> Self {
        let listener = Self::default();
        // This cannot fail: a process can have one global subscriber, and this program sets no other.
        let _ = tracing::subscriber::set_global_default(listener.clone());
        listener
    }

    /// Removes and returns the collected lines.
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
