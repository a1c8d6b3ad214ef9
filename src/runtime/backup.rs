//! A backup: a thread of its own copies the file, and the writer copies the last blocks between two commits.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::storage::{Backup, Copying};
use crate::sync::{block_on, thread};
use crate::text::printable;

/// Copies the file while it is in use.
pub(crate) fn back_up(engine: Arc<Engine>, target: PathBuf) -> Commit<Backup> {
    Commit::new(async move {
        engine.store.check_process()?;
        let (done, answer) = oneshot::channel();
        let copier = thread::Builder::new().name("millpond-backup".into());
        let started = copier.spawn(move || {
            let _ = done.send(copy(&engine, &target));
        });
        started.map_err(Error::no_thread)?;
        answer.await.map_err(|_| Error::Closed)?
    })
}

fn copy(engine: &Arc<Engine>, target: &std::path::Path) -> Result<Backup, Error> {
    let mut copying = engine.store.copy_to(target)?;
    copying.approach()?;
    let backup = arrive(engine, copying)?.finish()?;
    tracing::info!(path = %printable(&backup.path.to_string_lossy()), bytes = backup.bytes, "backed up");
    Ok(backup)
}

/// Has the writer copy what is left, while nothing is written.
fn arrive(engine: &Arc<Engine>, mut copying: Copying) -> Result<Copying, Error> {
    let (done, answer) = oneshot::channel();
    let writer = engine.clone();
    engine.to_writer.between(move || {
        // If nothing can be written, the file may hold half a commit.
        let arrived = writer.check_writable().and_then(|()| copying.arrive());
        let _ = done.send(arrived.map(|()| copying));
    })?;
    block_on(answer).map_err(|_| Error::Closed)?
}
