//! Gives an engine its plugin host.

use std::sync::Arc;

use super::engine::Engine;
use crate::executor::{Host, Turn};

impl Engine {
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
