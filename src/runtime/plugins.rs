//! Gives an engine its plugin host, and finds the plugins of its workers.

use std::any::Any;
use std::sync::Arc;

use super::engine::Engine;
use crate::executor::{Host, PluginHandle, Turn};

/// A plugin that a running worker has.
pub(crate) struct ServedPlugin {
    pub queue: Arc<str>,
    pub kind: Arc<str>,
    pub handle: PluginHandle,
}

impl Engine {
    /// The plugins of all workers, sorted by queue and kind.
    pub fn served_plugins(&self) -> Vec<ServedPlugin> {
        let mut served = Vec::new();
        for (_, binding) in self.workers() {
            for handling in binding.handlers.values() {
                let Some(foreign) = &handling.foreign else { continue };
                let foreign: &dyn Any = &**foreign;
                let Some(handle) = foreign.downcast_ref::<PluginHandle>() else { continue };
                let (queue, kind) = (binding.queue.clone(), handling.kind.clone());
                served.push(ServedPlugin { queue, kind, handle: handle.clone() });
            }
        }
        served.sort_unstable_by(|one, other| (&one.queue, &one.kind).cmp(&(&other.queue, &other.kind)));
        served
    }

    /// What this queue's plugins need of it. It does not hold the queue open.
    pub fn plugin_host(self: &Arc<Self>) -> Arc<Host> {
        let engine = Arc::downgrade(self);
        let tell = move |event| {
            if let Some(engine) = engine.upgrade() {
                engine.bus.publish([event]);
            }
        };
        let turn = if self.config.stepped { Turn::EveryStep } else { Turn::Tick };
        let make = || {
            let seed = self.seeds.derived();
            Arc::new(Host::new(self.store.clone(), self.prepare.clone(), seed, turn, tell))
        };
        self.plugin_host.get_or_init(make).clone()
    }
}
