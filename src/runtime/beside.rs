//! Reads for callers that must not block their own thread.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::commit::{Commit, is_blocked};
use super::engine::Engine;
use crate::error::Error;
use crate::error::panics::catch;
use crate::sync::thread;

/// Runs `read` on a thread that may block: on one of the caller's async runtime, or on a new one if there is no runtime. If
/// the caller blocks its thread anyway, with [`Commit::wait`], `read` runs there. A panic of `read` goes on in the caller.
pub(crate) fn beside<T: Send + 'static>(
    engine: Arc<Engine>,
    read: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Commit<T> {
    Commit::new(async move {
        engine.store.check_process()?;
        // A stepped engine has no other threads.
        if is_blocked() || engine.config.stepped {
            return read();
        }
        let (done, answer) = oneshot::channel();
        let run = move || {
            let _ = done.send(catch(read));
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(run)),
            Err(_) => {
                let started = thread::Builder::new().name("millpond-read".into()).spawn(run);
                started.map_err(Error::no_thread)?;
            }
        }
        // A runtime that ends drops the work that it has not begun.
        answer.await.map_err(|_| Error::RuntimeEnded)?.unwrap_or_else(|panic| panic.resume())
    })
}
