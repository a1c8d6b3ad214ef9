//! Watches the files that hold the code of foreign handlers while their workers run.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::every::Every;
use crate::executor::{Binding, ForeignHandler};
use crate::sync::thread;
use crate::time::Now;

/// Checks the files of foreign handlers that are to be watched, for as long as their workers run.
#[derive(Default)]
pub(in crate::runtime) struct PluginWatch {
    watches: Vec<Watch>,
}

struct Watch {
    worker: Weak<Binding>,
    handler: Arc<dyn ForeignHandler>,
    every: Duration,
    next: Every,
}

impl PluginWatch {
    /// Watches the files of a worker that has started.
    pub fn add(&mut self, worker: &Weak<Binding>) {
        let Some(binding) = worker.upgrade() else { return };
        let handlers = binding.handlers.values().filter_map(|handling| handling.foreign.clone());
        let watches = handlers.filter_map(|handler| {
            let every = handler.watched_every()?;
            Some(Watch { worker: worker.clone(), handler, every, next: Every::default() })
        });
        self.watches.extend(watches);
    }

    pub fn run_once(&mut self, now: Now) -> Duration {
        self.watches.retain(|watch| watch.worker.strong_count() > 0);
        let (mut due, mut wait) = (Vec::new(), Duration::MAX);
        for watch in &mut self.watches {
            let left = watch.next.wait(watch.every, now);
            if left.is_none() {
                due.push(watch.handler.clone());
            }
            wait = wait.min(left.unwrap_or(watch.every));
        }
        if !due.is_empty() {
            check(due);
        }
        wait
    }
}

/// Checks the files on a thread of its own, because a disk can be slow and code that has changed is compiled.
fn check(handlers: Vec<Arc<dyn ForeignHandler>>) {
    let check = move || handlers.iter().for_each(|handler| handler.check_file());
    if let Err(error) = thread::Builder::new().name("millpond-plugins".into()).spawn(check) {
        tracing::warn!(%error, "plugins' files could not be looked at: no thread could be started");
    }
}
