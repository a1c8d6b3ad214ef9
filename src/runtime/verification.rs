//! The file held against itself while it is in use.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::commit::{Commit, is_blocked};
use super::engine::Engine;
use crate::error::Error;
use crate::storage::{Reader, Verification, unless_damaged, verify};
use crate::sync::thread;

/// Goes through the file as one commit has left it, which is at least as late as this call. The writer gives out the
/// snapshot between two commits, and goes on.
pub(crate) fn verify_beside(engine: Arc<Engine>) -> Commit<Verification> {
    Commit::new(async move {
        let (reply, answer) = oneshot::channel();
        let writer = engine.clone();
        let stepped = engine.config.stepped;
        engine.inbox.between(move || {
            let snapshot = refused(&writer).map_or_else(|| writer.store.reader(), Err);
            let _ = reply.send(match stepped {
                // There is no other thread.
                true => snapshot.and_then(|reader| look(&writer, reader)).map(Looked::Done),
                false => snapshot.map(Looked::NotYet),
            });
        })?;
        match answer.await.map_err(|_| engine.unanswered())?? {
            Looked::Done(found) => Ok(found),
            // A thread that blocks for it anyway may as well do it.
            Looked::NotYet(reader) if is_blocked() => look(&engine, reader),
            Looked::NotYet(reader) => {
                let (done, found) = oneshot::channel();
                let looker = engine.clone();
                let started = thread::Builder::new().name("millpond-verify".into()).spawn(move || {
                    let _ = done.send(look(&looker, reader));
                });
                started.map_err(|source| Error::Storage { operation: "start a thread", source: Box::new(source) })?;
                found.await.map_err(|_| Error::Closed)?
            }
        }
    })
}

enum Looked {
    NotYet(Reader),
    Done(Verification),
}

fn look(engine: &Engine, reader: Reader) -> Result<Verification, Error> {
    // The read transaction ends before anybody is answered: it is in the way of a compaction.
    let found = unless_damaged(move || Ok(verify(&reader)?));
    // The file may have been closed, or opened again, in the middle of it.
    found.map_err(|error| refused(engine).unwrap_or(error))
}

fn refused(engine: &Engine) -> Option<Error> {
    match engine.degraded() {
        // Nobody knows what the failed commit has left.
        Some(reason) => Some(Error::Degraded { reason }),
        None => engine.is_closed().then_some(Error::Closed),
    }
}
