//! The stop: no new starts, drain, tell handlers to stop, take back what still runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine::Engine;
use crate::sync::atomic::Ordering;
use crate::sync::{block_on_with_timer, thread, timeout};

/// How long handlers may still take after they were told to stop.
const GRACE: Duration = Duration::from_millis(500);

/// Stops the engine on a thread of its own: the application's runtime may be blocked by whoever waits
/// for this, or have no timer.
pub(crate) fn shutdown(engine: Arc<Engine>, deadline: Duration) -> oneshot::Receiver<()> {
    let (done, stopped) = oneshot::channel();
    let for_thread = engine.clone();
    let started = thread::Builder::new().name("millpond-stop".into()).spawn(move || {
        if block_on_with_timer(stop(&for_thread, deadline)).is_err() {
            stop_now(&for_thread);
        }
        let _ = done.send(());
    });
    if started.is_err() {
        stop_now(&engine);
    }
    stopped
}

/// Returns once everything is on the disk and the file is closed, by `deadline`
/// plus a little. A second call waits for the first.
async fn stop(engine: &Arc<Engine>, deadline: Duration) {
    let end = Instant::now() + deadline.min(Duration::from_secs(10 * 365 * 24 * 3600));
    if begin(engine) {
        drained_by(engine, end).await;
        if engine.scheduler().running() > 0 {
            engine.executor.runs.cancel_all();
            drained_by(engine, Instant::now() + GRACE).await;
        }
        engine.set_left_to_stop(end.saturating_duration_since(Instant::now()));
        take_back(engine);
    }
    wait_until_closed(engine).await;
}

/// Stops at once: what runs is taken back.
pub(crate) fn stop_now(engine: &Arc<Engine>) {
    if begin(engine) {
        take_back(engine);
    }
}

/// No more starts. False if somebody else stops it already.
pub(super) fn begin(engine: &Arc<Engine>) -> bool {
    if engine.stopping.swap(true, Ordering::SeqCst) {
        return false;
    }
    engine.scheduler().stop();
    engine.wake_dispatcher();
    true
}

pub(super) fn take_back(engine: &Arc<Engine>) {
    let still_running = engine.executor.runs.release_all();
    engine.release(&still_running);
    engine.unbind_all();
    engine.inbox.close();
    engine.wake_dispatcher();
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

async fn wait_until_closed(engine: &Arc<Engine>) {
    loop {
        let moved = engine.moved.notified();
        tokio::pin!(moved);
        moved.as_mut().enable();
        if engine.is_closed() {
            return;
        }
        moved.await;
    }
}
