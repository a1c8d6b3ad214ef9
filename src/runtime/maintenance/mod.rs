//! What has to be done now and then, a file per chore. The dispatcher calls this each time it runs.

mod alarm_watch;
mod bucket_sweeper;
mod circuit_sweeper;
mod clock_watch;
mod compactor;
mod every;
mod file_watch;
#[cfg(feature = "metrics")]
mod gauges;
#[cfg(not(feature = "metrics"))]
#[path = "no_gauges.rs"]
mod gauges;
mod key_sweeper;
mod own_thread;
mod plugin_watch;
mod pruner;
mod stream_sweeper;
mod unserved_watch;
mod watchdog;

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::{Engine, Upkeep};
use crate::alarms::Alarm;
use crate::executor::Binding;
use crate::time::Now;

use alarm_watch::AlarmWatch;
use bucket_sweeper::BucketSweeper;
use circuit_sweeper::CircuitSweeper;
use clock_watch::ClockWatch;
use compactor::Compactor;
pub(super) use compactor::{compact_before_close, compact_now};
use file_watch::FileWatch;
use gauges::Gauges;
use key_sweeper::KeySweeper;
use plugin_watch::PluginWatch;
use pruner::Pruner;
use stream_sweeper::StreamSweeper;
use unserved_watch::UnservedWatch;
use watchdog::Watchdog;

/// When each chore is next due.
#[derive(Default)]
pub(super) struct Chores {
    pruner: Pruner,
    key_sweeper: KeySweeper,
    bucket_sweeper: BucketSweeper,
    stream_sweeper: StreamSweeper,
    circuit_sweeper: CircuitSweeper,
    watchdog: Watchdog,
    file_watch: FileWatch,
    compactor: Compactor,
    clock_watch: ClockWatch,
    unserved_watch: UnservedWatch,
    plugin_watch: PluginWatch,
    gauges: Gauges,
    alarm_watch: AlarmWatch,
}

impl Chores {
    pub fn with(alarms: Vec<Alarm>) -> Self {
        Self { alarm_watch: AlarmWatch::of(alarms), ..Self::default() }
    }
}

impl Upkeep for Chores {
    fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        let waits = [
            self.pruner.run_once(engine, now),
            self.key_sweeper.run_once(engine, now),
            self.bucket_sweeper.run_once(engine, now),
            self.circuit_sweeper.run_once(engine, now),
            self.stream_sweeper.run_once(engine, now),
            self.watchdog.run_once(engine, now),
            self.file_watch.run_once(engine, now),
            self.compactor.run_once(engine, now),
            self.clock_watch.run_once(engine),
            self.unserved_watch.run_once(engine, now),
            engine.expire_due(now),
            engine.fire_due(now),
            engine.work_on_flows(now),
            self.plugin_watch.run_once(now),
            self.watch(engine, now),
        ];
        waits.into_iter().fold(Duration::MAX, Duration::min)
    }

    fn watch(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        self.gauges.run_once(engine, now).min(self.alarm_watch.run_once(engine, now))
    }

    fn is_quiet(&self, engine: &Engine) -> bool {
        let now = engine.now();
        let is_due =
            || engine.expiries.is_due(now) || engine.schedule_times.is_due(now) || engine.flow_times.is_due(now);
        engine.unwritable().is_some() || engine.is_stopping() || self.clock_watch.is_done(engine) && !is_due()
    }

    fn worker_started(&mut self, worker: &Weak<Binding>) {
        self.plugin_watch.add(worker);
    }
}
