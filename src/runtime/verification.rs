//! Verification of a file while it is in use.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::commit::{Commit, is_blocked};
use super::engine::Engine;
use crate::error::Error;
use crate::storage::{Reader, Verification, unless_damaged, verify};
use crate::sync::thread;

/// Verifies the file as it is after one commit, which is not earlier than this call. The writer takes the snapshot
/// between two commits and goes on.
pub(crate) fn verify_beside(engine: Arc<Engine>) -> Commit<Verification> {
    Commit::new(async move {
        engine.store.check_process()?;
        let (reply, answer) = oneshot::channel();
        let writer = engine.clone();
        let stepped = engine.config.stepped;
        engine.to_writer.between(move || {
            let snapshot = refused(&writer).map_or_else(|| writer.store.reader(), Err);
            let _ = reply.send(match stepped {
                // A stepped engine has no other threads.
                true => snapshot.and_then(|reader| check(&writer, reader)).map(Verified::Done),
                false => snapshot.map(Verified::NotYet),
            });
        })?;
        match answer.await.map_err(|_| engine.unanswered())?? {
            Verified::Done(found) => Ok(found),
            // The caller's thread is blocked anyway, so it does the work.
            Verified::NotYet(reader) if is_blocked() => check(&engine, reader),
            Verified::NotYet(reader) => {
                let (done, found) = oneshot::channel();
                let checker = engine.clone();
                let started = thread::Builder::new().name("millpond-verify".into()).spawn(move || {
                    let _ = done.send(check(&checker, reader));
                });
                started.map_err(Error::no_thread)?;
                found.await.map_err(|_| Error::Closed)?
            }
        }
    })
}

enum Verified {
    NotYet(Reader),
    Done(Verification),
}

fn check(engine: &Engine, reader: Reader) -> Result<Verification, Error> {
    // Ends the read transaction before the caller is answered, because a compaction waits for it.
    let found = unless_damaged(move || Ok(verify(&reader)?));
    // The file may have been closed, or opened again, in the meantime.
    found.map_err(|error| refused(engine).unwrap_or(error))
}

fn refused(engine: &Engine) -> Option<Error> {
    // If nothing can be written, the file may hold the failed commit or not.
    engine.check_writable().err().or_else(|| engine.is_closed().then_some(Error::Closed))
}
