//! What has to be done now and then, a file per chore. Called by the dispatcher at each turn.

mod bucket_sweeper;
mod clock_watch;
mod compactor;
mod every;
mod file_watch;
mod key_sweeper;
#[cfg(feature = "wasm")]
mod plugin_watch;
mod pruner;
mod unserved_watch;
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::time::Now;

pub(super) use bucket_sweeper::BucketSweeper;
pub(super) use clock_watch::ClockWatch;
pub(super) use compactor::{Compactor, compact_before_close};
pub(super) use file_watch::FileWatch;
pub(super) use key_sweeper::KeySweeper;
#[cfg(feature = "wasm")]
pub(super) use plugin_watch::PluginWatch;
pub(super) use pruner::Pruner;
pub(super) use unserved_watch::UnservedWatch;
pub(super) use watchdog::Watchdog;

/// When each chore is next due. Owned by the dispatcher.
#[derive(Default)]
pub(super) struct Upkeep {
    pruner: Pruner,
    key_sweeper: KeySweeper,
    bucket_sweeper: BucketSweeper,
    watchdog: Watchdog,
    file_watch: FileWatch,
    compactor: Compactor,
    clock_watch: ClockWatch,
    unserved_watch: UnservedWatch,
    #[cfg(feature = "wasm")]
    pub(super) plugin_watch: PluginWatch,
}

impl Upkeep {
    /// What is due by the clock and can be written is done, but for chores that look only now and then.
    pub(super) fn is_quiet(&self, engine: &Engine) -> bool {
        let is_done = || self.clock_watch.is_done(engine) && !engine.expiries.is_due(engine.now());
        engine.unwritable().is_some() || engine.is_stopping() || is_done()
    }
}

/// Does what is due. Returns how long until the next chore.
pub(super) fn run_once(engine: &Arc<Engine>, now: Now) -> Duration {
    let mut upkeep = engine.upkeep();
    let pruner = upkeep.pruner.run_once(engine, now);
    let key_sweeper = upkeep.key_sweeper.run_once(engine, now);
    let bucket_sweeper = upkeep.bucket_sweeper.run_once(engine, now);
    let watchdog = upkeep.watchdog.run_once(engine, now);
    let file_watch = upkeep.file_watch.run_once(engine, now);
    let compactor = upkeep.compactor.run_once(engine, now);
    let clock_watch = upkeep.clock_watch.run_once(engine);
    let unserved_watch = upkeep.unserved_watch.run_once(engine, now);
    let expiry = engine.expire_due(now);
    #[cfg(feature = "wasm")]
    let pruner = pruner.min(upkeep.plugin_watch.run_once(now));
    [key_sweeper, bucket_sweeper, watchdog, file_watch, compactor, clock_watch, unserved_watch, expiry]
        .into_iter()
        .fold(pruner, Duration::min)
}
