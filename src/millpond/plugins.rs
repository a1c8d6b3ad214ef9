//! The plugins that run in an open file.

use super::Millpond;
use crate::executor::PluginHandle;
use crate::inspect::{PluginStatus, plugin, plugins};

impl Millpond {
    /// The plugins of all running workers, sorted by queue and kind: one for each kind that is handled by a plugin. Empty in
    /// a process that was forked from the one that opened the file. Feature `wasm`.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// for plugin in pond.plugins() {
    ///     let PluginStatus { queue, name, broken_total, attempts_total, .. } = &plugin;
    ///     println!("{queue}: {name}, {broken_total} of {attempts_total} attempts broke");
    /// }
    /// # Ok(()) });
    /// ```
    pub fn plugins(&self) -> Vec<PluginStatus> {
        if self.engine().is_forked() {
            return Vec::new();
        }
        plugins(self.engine())
    }

    /// The plugin that handles jobs of this kind in this queue, if a running worker has one: it can be
    /// [resumed](PluginHandle::resume) after a suspension, or reloaded. Feature `wasm`.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// for suspended in pond.plugins().iter().filter(|plugin| plugin.suspended) {
    ///     if let Some(plugin) = pond.plugin(&suspended.queue, &suspended.kind) {
    ///         plugin.resume();
    ///     }
    /// }
    /// # Ok(()) });
    /// ```
    pub fn plugin(&self, queue: &str, kind: &str) -> Option<PluginHandle> {
        if self.engine().is_forked() {
            return None;
        }
        plugin(self.engine(), queue, kind)
    }
}
