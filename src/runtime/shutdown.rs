//! The stop: no new starts, drain, tell handlers to stop, take back what still runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine::Engine;
use super::log;
use crate::error::Error;
use crate::sync::atomic::Ordering;
use crate::sync::{block_on_with_timer, may_wait, thread, timeout};
use crate::writer::Occupant;

/// How long handlers may still take after they were told to stop.
const GRACE: Duration = Duration::from_millis(500);

/// How long the last commits and the close of the file may take after that before the caller is told that they are not done
/// yet: a slow disk takes some 100 ms for them.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How long the drop of the last handle waits for the close, so that the file can be opened again after it.
const DROP_WAIT_MAX: Duration = Duration::from_secs(5);

/// The same while code of the application keeps the writer from closing it: that may wait for the thread that drops.
const OCCUPIED_WAIT_MAX: Duration = Duration::from_millis(100);

/// How often the drop looks whether it is so.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A deadline beyond this is one that never comes.
const DEADLINE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Stops the engine on a thread of its own: the application's runtime may be blocked by whoever waits
/// for this, or have no timer.
pub(crate) fn shutdown(engine: Arc<Engine>, deadline: Duration) -> oneshot::Receiver<Result<(), Error>> {
    let (done, stopped) = oneshot::channel();
    let for_thread = engine.clone();
    let started = thread::Builder::new().name("millpond-stop".into()).spawn(move || {
        let end = Instant::now() + deadline.min(DEADLINE_MAX);
        if block_on_with_timer(stop(&for_thread, end)).is_err() {
            stop_now(&for_thread);
        }
        let closes_by = end.max(Instant::now()) + CLOSE_GRACE;
        let _ = done.send(closed_by(&for_thread, closes_by));
    });
    if started.is_err() {
        stop_now(&engine);
    }
    stopped
}

/// Lets what runs finish until `end`, then takes it back. If an earlier call does that already, only waits for it, and no
/// longer than this.
async fn stop(engine: &Arc<Engine>, end: Instant) {
    let is_first = begin(engine);
    drained_by(engine, end).await;
    if !is_first {
        return;
    }
    if engine.scheduler().running() > 0 {
        engine.executor.running.cancel_all();
        drained_by(engine, Instant::now() + GRACE).await;
    }
    engine.set_left_to_stop(end.saturating_duration_since(Instant::now()));
    take_back(engine);
}

/// What the answer of a shutdown says while what the workers held is still being dropped.
const STILL_DROPPING: &str = "the drop of a handler, or of data that a worker was given, is still running";

/// Waits until the file is closed and the workers' handlers and data are dropped.
///
/// # Errors
/// [`Error::StillClosing`] if it is not by then: it goes on closing.
fn closed_by(engine: &Engine, end: Instant) -> Result<(), Error> {
    let left = || end.saturating_duration_since(Instant::now());
    if engine.wait_until_closed(left()) {
        return match engine.wait_until_let_go(left()) {
            true => Ok(()),
            false => Err(Error::StillClosing { held_by: STILL_DROPPING }),
        };
    }
    let held_by = match engine.to_writer.is_closed() {
        true => engine.occupied.now().by().sentence(),
        false => "jobs are still running, and an earlier call of shutdown has given them more time",
    };
    Err(Error::StillClosing { held_by })
}

/// Stops at once: what runs is taken back. False if somebody else has stopped it already.
pub(crate) fn stop_now(engine: &Arc<Engine>) -> bool {
    let is_first = begin(engine);
    if is_first {
        take_back(engine);
    }
    is_first
}

/// Blocks the thread that has dropped the last handle until the file is closed, unless somebody may wait for this thread:
/// then it closes behind. Whoever `has_stopped` it by that also waits for the drop of handlers and data: nobody else may, because
/// they may hold the last handle themselves.
pub(crate) fn wait_for_the_close(engine: &Engine, has_stopped: bool) {
    let begun = Instant::now();
    let (mut moment, mut since) = (engine.occupied.now(), begun);
    while may_wait() && !engine.wait_until_closed(LOOK_EVERY) {
        let (is_now, now) = (engine.occupied.now(), Instant::now());
        if is_now != moment {
            (moment, since) = (is_now, now);
        }
        let is_stuck = moment.by() != Occupant::Nobody && now - since >= OCCUPIED_WAIT_MAX;
        if is_stuck || now - begun >= DROP_WAIT_MAX {
            return;
        }
    }
    if has_stopped && may_wait() {
        engine.wait_until_let_go(DROP_WAIT_MAX.saturating_sub(begun.elapsed()));
    }
}

/// No more starts. False if somebody else stops it already.
pub(super) fn begin(engine: &Arc<Engine>) -> bool {
    if engine.stopping.swap(true, Ordering::SeqCst) {
        return false;
    }
    let running = {
        let mut scheduler = engine.scheduler();
        scheduler.stop();
        scheduler.running()
    };
    engine.wake_dispatcher();
    log::stopping(running);
    true
}

pub(super) fn take_back(engine: &Arc<Engine>) {
    let still_running = engine.executor.running.release_all();
    log::taken_back(still_running.len());
    engine.release(&still_running);
    engine.to_writer.close();
    engine.wake_dispatcher();
    // Last, because it drops the handlers: they may wait for the queue, and find it closed.
    engine.unbind_all();
}

async fn drained_by(engine: &Arc<Engine>, end: Instant) {
    loop {
        let moved = engine.moved.notified();
        tokio::pin!(moved);
        moved.as_mut().enable();
        if engine.scheduler().running() == 0 {
            return;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || timeout(left, moved).await.is_err() {
            return;
        }
    }
}
