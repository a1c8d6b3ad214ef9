//! Plugins as the handlers of a worker.

use std::any::Any;
use std::sync::Arc;

use super::{Worker, WorkerBuilder};
use crate::executor::{self, Plugin, PluginHandle};
use crate::runtime::Engine;

impl WorkerBuilder {
    /// Handles jobs of the kind named `kind` with a plugin, which gets the payload as unchanged bytes.
    /// [`start`](Self::start) compiles it, which takes milliseconds for most plugins and seconds for an interpreter.
    ///
    /// ```no_run
    /// # use millpond::{Millpond, Plugin};
    /// # fn example(pond: Millpond) -> Result<(), millpond::Error> {
    /// let filter = Plugin::from_file("plugins/webhook_filter.wasm")?;
    /// pond.worker("webhooks").handle_wasm("webhook", filter).start()?;
    /// # Ok(()) }
    /// ```
    pub fn handle_wasm(mut self, kind: &str, plugin: Plugin) -> Self {
        let load = move |engine: &Arc<Engine>, kind| executor::load(kind, plugin, engine.plugin_host());
        self.foreign.push((kind.to_owned(), Box::new(load)));
        self
    }
}

impl Worker {
    /// The plugin that handles jobs of this kind, if there is one and the worker was not stopped.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let worker = pond.worker("q").handle_raw("png", |_: Job<bytes::Bytes>| async { Ok(()) }).start()?;
    /// assert!(worker.plugin("png").is_none());
    /// # Ok(()) });
    /// ```
    pub fn plugin(&self, kind: &str) -> Option<PluginHandle> {
        if self.engine.is_forked() {
            return None;
        }
        let binding = self.binding.upgrade()?;
        let handling = binding.handlers.values().find(|handling| *handling.kind == *kind)?;
        let foreign: &dyn Any = &**handling.foreign.as_ref()?;
        foreign.downcast_ref().cloned()
    }
}
