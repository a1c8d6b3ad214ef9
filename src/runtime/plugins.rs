use std::sync::Arc;

use super::engine::Engine;
use crate::executor::Host;
use crate::sync::atomic::Ordering;

impl Engine {
    /// What this queue's plugins need of it. It does not hold the queue open.
    pub fn plugin_host(self: &Arc<Self>) -> Arc<Host> {
        let engine = Arc::downgrade(self);
        let tell = move |event| {
            if let Some(engine) = engine.upgrade() {
                engine.bus.publish([event]);
            }
        };
        let make = || Arc::new(Host::new(self.store.clone(), self.prepare.clone(), self.random(), tell));
        self.plugin_host.get_or_init(make).clone()
    }

    fn random(&self) -> u64 {
        fastrand::Rng::with_seed(self.luck.fetch_add(1, Ordering::Relaxed)).u64(..)
    }
}
