//! Watches the files of plugins while their workers run.

use std::sync::Weak;
use std::time::Duration;

use super::every::Every;
use crate::executor::{Binding, PluginHandle};
use crate::sync::thread;
use crate::time::Now;

/// Looks at the files of plugins that are to be watched, for as long as their workers run.
#[derive(Default)]
pub(in crate::runtime) struct PluginWatch {
    watches: Vec<Watch>,
}

struct Watch {
    worker: Weak<Binding>,
    plugin: PluginHandle,
    every: Duration,
    next: Every,
}

impl PluginWatch {
    /// Those of a worker that has started.
    pub fn add(&mut self, worker: &Weak<Binding>) {
        let Some(binding) = worker.upgrade() else { return };
        let plugins = binding.handlers.values().filter_map(|handling| handling.plugin.clone());
        let watches = plugins.filter_map(|plugin| {
            let every = plugin.watched_every()?;
            Some(Watch { worker: worker.clone(), plugin, every, next: Every::default() })
        });
        self.watches.extend(watches);
    }

    pub fn run_once(&mut self, now: Now) -> Duration {
        self.watches.retain(|watch| watch.worker.strong_count() > 0);
        let (mut due, mut wait) = (Vec::new(), Duration::MAX);
        for watch in &mut self.watches {
            let left = watch.next.wait(watch.every, now);
            if left.is_none() {
                due.push(watch.plugin.clone());
            }
            wait = wait.min(left.unwrap_or(watch.every));
        }
        if !due.is_empty() {
            look(due);
        }
        wait
    }
}

/// On a thread of its own: a disk may keep one waiting, and what has changed is compiled.
fn look(plugins: Vec<PluginHandle>) {
    let look = move || plugins.iter().for_each(PluginHandle::look_at_file);
    if let Err(error) = thread::Builder::new().name("millpond-plugins".into()).spawn(look) {
        tracing::warn!(%error, "plugins' files could not be looked at: no thread could be started");
    }
}
