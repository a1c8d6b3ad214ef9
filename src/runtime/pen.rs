//! What writes: the writer's thread, or a lone caller that blocks for its commit anyway. Such a caller makes the commit
//! itself, which spares waking the writer and being woken by it: on an idle machine that is half of what a small commit
//! takes.
//!
//! Only one thread has the pen. A caller takes it only if nobody else has anything to write, so there is never a choice
//! of what goes first, and no other caller's closure runs on its thread.

use std::sync::Arc;

use super::commit;
use super::engine::Engine;
use super::writer_loop::WriterLoop;
use crate::sync::{Mutex, MutexGuard};
use crate::writer::{Bell, Command};

/// Gone once the file is closed.
#[derive(Default)]
pub(super) struct Pen(Mutex<Option<WriterLoop>>);

impl Pen {
    fn lock(&self) -> MutexGuard<'_, Option<WriterLoop>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn give(&self, writer: WriterLoop) {
        *self.lock() = Some(writer);
    }

    /// Makes the last commits and closes the file, on this thread.
    pub fn close(&self) {
        let writer = self.lock().take();
        writer.into_iter().for_each(WriterLoop::close);
    }
}

/// The writer's thread.
pub(super) fn run(engine: &Engine, bell: &Bell) {
    let mut wait = None;
    loop {
        bell.wait(wait);
        let mut pen = engine.pen.lock();
        let Some(writer) = pen.as_mut() else { return };
        let goes_on = writer.next();
        if writer.is_forked() {
            // A closure has forked on this thread, and this is the child's only one. There is nothing here for it to do.
            return;
        }
        if !goes_on {
            drop(pen);
            engine.pen.close();
            return;
        }
        wait = writer.looks_again_in();
    }
}

impl Engine {
    /// Commits on the caller's thread, if it blocks for that and is alone. Otherwise the command comes back.
    pub(super) fn lead(self: &Arc<Self>, command: Command) -> Result<(), Command> {
        if !commit::is_blocked() || self.inbox.is_closed() {
            return Err(command);
        }
        let Ok(mut pen) = self.pen.0.try_lock() else { return Err(command) };
        let Some(writer) = pen.as_mut().filter(|writer| writer.is_free()) else { return Err(command) };
        writer.write_for(command);
        if writer.looks_again_in().is_some() {
            // The disk has failed: the writer's thread, which sleeps, is to open the file again.
            let _ = self.inbox.between(|| {});
        }
        let is_forked = writer.is_forked();
        drop(pen);
        if !is_forked {
            self.pump();
        }
        Ok(())
    }
}
