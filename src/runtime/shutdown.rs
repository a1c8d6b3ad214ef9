//! The stop: starts nothing more, waits for running jobs, tells handlers to stop, and gives back the jobs that still run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine::Engine;
use super::log;
use crate::error::Error;
use crate::sync::{block_on_with_timer, may_wait, thread, timeout};
use crate::writer::Occupant;

/// How long handlers have after they were told to stop.
const GRACE: Duration = Duration::from_millis(500);

/// How long the last commits and the close of the file can take after that before the caller gets [`Error::StillClosing`]. A
/// slow disk takes some 100 ms for them.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How long the drop of the last handle waits for the close, so that the file can be opened again after it.
const DROP_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long it waits while code of the application keeps the writer from closing the file: that code may wait for the thread
/// that drops the handle.
const OCCUPIED_WAIT_MAX: Duration = Duration::from_millis(100);

/// How often the drop checks what keeps the writer from closing the file.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// A deadline after this time never comes.
const DEADLINE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Stops the engine on a thread of its own, because the caller that waits for this may block the application's runtime, or the
/// runtime may have no timer.
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

/// Waits until `end` for running jobs, then gives them back. If an earlier call does that already, this only waits for it, until
/// `end` at most.
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
    engine.stop.set_time_left(end.saturating_duration_since(Instant::now()));
    take_back(engine);
}

/// What [`Error::StillClosing`] says while what the workers held is still being dropped.
const STILL_DROPPING: &str = "the drop of a handler, or of data that a worker was given, is still running";

/// Waits until the file is closed and the workers' handlers and data are dropped.
///
/// # Errors
/// [`Error::StillClosing`] if it is not closed by `end`. The close goes on.
fn closed_by(engine: &Engine, end: Instant) -> Result<(), Error> {
    let left = || end.saturating_duration_since(Instant::now());
    if engine.stop.wait_until_closed(left()) {
        return match engine.wait_until_workers_are_dropped(left()) {
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

/// Stops at once, and gives back the running jobs. Returns false if the engine was stopped already.
pub(crate) fn stop_now(engine: &Arc<Engine>) -> bool {
    let is_first = begin(engine);
    if is_first {
        take_back(engine);
    }
    is_first
}

/// Blocks the thread that has dropped the last handle until the file is closed, unless other code may wait for this thread: then
/// the file is closed later. If this drop `has_stopped` the engine, it also waits until handlers and data are dropped. Another
/// drop must not, because a handler may hold the last handle itself.
pub(crate) fn wait_for_the_close(engine: &Engine, has_stopped: bool) {
    let begun = Instant::now();
    let (mut occupation, mut since) = (engine.occupied.now(), begun);
    while may_wait() && !engine.stop.wait_until_closed(CHECK_EVERY) {
        let (is_now, now) = (engine.occupied.now(), Instant::now());
        if is_now != occupation {
            (occupation, since) = (is_now, now);
        }
        let is_stuck = occupation.by() != Occupant::Nobody && now - since >= OCCUPIED_WAIT_MAX;
        if is_stuck || now - begun >= DROP_WAIT_MAX {
            return;
        }
    }
    if has_stopped && may_wait() {
        engine.wait_until_workers_are_dropped(DROP_WAIT_MAX.saturating_sub(begun.elapsed()));
    }
}

/// Begins the stop: nothing starts any more. Returns false if it has begun already.
pub(super) fn begin(engine: &Arc<Engine>) -> bool {
    if !engine.stop.begin() {
        return false;
    }
    engine.scheduler().stop();
    engine.give_back_uncalled(engine.executor.forming.stop());
    let running = engine.scheduler().running();
    engine.wake_dispatcher();
    log::stopping(running);
    true
}

/// Ends the attempts that still run and gives their jobs back, has the writer close the file, and drops the workers.
pub(super) fn take_back(engine: &Arc<Engine>) {
    let still_running = engine.executor.running.release_all();
    log::taken_back(still_running.len());
    engine.release(&still_running);
    engine.to_writer.close();
    engine.wake_dispatcher();
    // Last, because this drops the handlers: one that waits for the queue finds it closed.
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
