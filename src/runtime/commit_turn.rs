//! Decides which thread makes the next commit: the writer's thread, or a caller's.
//!
//! A caller that blocks in [`Commit::wait`](super::Commit::wait) while no other thread has anything to write makes the
//! commit on its own thread. That saves two wake-ups (of the writer by the caller, and of the caller by the writer), which on
//! an idle machine is half of what a small commit takes.
//!
//! Only one thread has the [`CommitTurn`] at a time. A caller takes it only if there is nothing else to be written, so the order of
//! commits is never a choice, and no other caller's closure runs on its thread.

use std::sync::Arc;

use super::commit;
use super::engine::Engine;
use super::writer_loop::WriterLoop;
use crate::sync::{Mutex, MutexGuard};
use crate::writer::{Command, Wakeup};

/// The writer's loop, and the right to run it. Empty once the file is closed.
#[derive(Default)]
pub(super) struct CommitTurn(Mutex<Option<WriterLoop>>);

impl CommitTurn {
    fn lock(&self) -> MutexGuard<'_, Option<WriterLoop>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Hands over the loop when the queue is opened.
    pub fn put(&self, writer: WriterLoop) {
        *self.lock() = Some(writer);
    }

    /// Makes the last commits and closes the file, on this thread.
    pub fn close(&self) {
        let writer = self.lock().take();
        writer.into_iter().for_each(WriterLoop::close);
    }
}

/// What the writer's thread does, until the file is closed.
pub(super) fn run(engine: &Engine, wakeup: &Wakeup) {
    let mut wait = None;
    loop {
        wakeup.wait(wait);
        let mut turn = engine.commit_turn.lock();
        let Some(writer) = turn.as_mut() else { return };
        let goes_on = writer.next();
        if writer.is_forked() {
            // A closure has forked on this thread, and this is the child's only one. There is nothing here for it to do.
            return;
        }
        if !goes_on {
            drop(turn);
            engine.commit_turn.close();
            return;
        }
        wait = writer.runs_again_in();
    }
}

impl Engine {
    /// Makes the commit of `command` on this thread, if the caller blocks for it and nothing else is to be written.
    ///
    /// # Errors
    /// The command, if the writer's thread is to make the commit.
    pub(super) fn commit_on_this_thread(self: &Arc<Self>, command: Command) -> Result<(), Command> {
        if !commit::is_blocked() || self.to_writer.is_closed() {
            return Err(command);
        }
        let Ok(mut turn) = self.commit_turn.0.try_lock() else { return Err(command) };
        let Some(writer) = turn.as_mut().filter(|writer| writer.is_free()) else { return Err(command) };
        writer.write_for(command);
        if writer.runs_again_in().is_some() {
            // The disk has failed: the writer's thread, which sleeps, is to open the file again.
            let _ = self.to_writer.between(|| {});
        }
        let is_forked = writer.is_forked();
        drop(turn);
        if !is_forked {
            self.pump();
        }
        Ok(())
    }
}
