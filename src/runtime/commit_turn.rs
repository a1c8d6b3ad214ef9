//! Decides which thread makes the next commit: the writer's thread, or a caller's.
//!
//! A caller that blocks in [`Commit::wait`](super::Commit::wait) while no other thread has anything to write makes the
//! commit on its own thread. That saves two wake-ups (of the writer by the caller, and of the caller by the writer), which on
//! an idle machine is half of what a small commit takes.
//!
//! Only one thread has the [`CommitTurn`] at a time. A caller takes it only if nothing else must be written. So the
//! order of commits does not depend on which thread makes them, and no other caller's closure runs on the caller's thread.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::sync::{Mutex, MutexGuard};
use crate::writer::{Command, Wakeup};

/// The loop that makes commits, as the turn knows it.
pub(super) trait CommitLoop: Send {
    /// Makes one commit of what has gathered. Returns false after the last one.
    fn next(&mut self) -> bool;

    /// When the loop has work although no command wakes its thread.
    fn runs_again_in(&self) -> Option<Duration>;

    /// Whether nothing else must be written, or is expected.
    fn is_free(&self) -> bool;

    /// Whether a closure has forked the process and this is the child, where nothing may be done any more.
    fn is_forked(&self) -> bool;

    /// Makes the commit of one command on a caller's thread.
    fn write_for(&mut self, command: Command);

    /// Makes the last commits and closes the file.
    fn close(self: Box<Self>);
}

/// The writer's loop, and the right to run it. Empty once the file is closed.
#[derive(Default)]
pub(super) struct CommitTurn(Mutex<Option<Box<dyn CommitLoop>>>);

/// The writer's loop, as long as this thread has the turn. It is never empty.
pub(super) struct Taken<'a>(MutexGuard<'a, Option<Box<dyn CommitLoop>>>);

impl Deref for Taken<'_> {
    type Target = dyn CommitLoop;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().expect("it was checked when the turn was taken")
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_deref_mut().expect("it was checked when the turn was taken")
    }
}

impl CommitTurn {
    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn CommitLoop>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Hands over the loop when the queue is opened.
    pub fn put(&self, writer: impl CommitLoop + 'static) {
        *self.lock() = Some(Box::new(writer));
    }

    /// Takes the turn, if no other thread has it and nothing else must be written.
    pub fn take_if_free(&self) -> Option<Taken<'_>> {
        let turn = self.0.try_lock().ok()?;
        turn.as_ref().is_some_and(|writer| writer.is_free()).then(|| Taken(turn))
    }

    /// Makes the last commits and closes the file, on this thread.
    pub fn close(&self) {
        let writer = self.lock().take();
        writer.into_iter().for_each(CommitLoop::close);
    }

    /// The main function of the writer's thread. It returns once the file is closed.
    pub fn run(&self, wakeup: &Wakeup) {
        let mut wait = None;
        loop {
            wakeup.wait(wait);
            let mut turn = self.lock();
            let Some(writer) = turn.as_mut() else { return };
            let goes_on = writer.next();
            if writer.is_forked() {
                // A closure has forked on this thread, which is the only one of the child process. It has nothing to do here.
                return;
            }
            if !goes_on {
                drop(turn);
                self.close();
                return;
            }
            wait = writer.runs_again_in();
        }
    }
}
