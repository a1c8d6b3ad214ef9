//! Notes which handler, if any, is running on a thread.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::job::QueueId;

/// The handler that runs on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// The executor that runs it: a process can have several files open.
    pub executor: usize,
    pub queue: QueueId,
    /// How many slots it occupies: one for each job of a batch.
    pub slots: usize,
    /// It runs on a thread for blocking handlers.
    pub blocking: bool,
}

crate::sync::thread_local! {
    static INSIDE: Cell<Option<Inside>> = const { Cell::new(None) };
}

/// The handler that runs on this thread, if one does. Tasks that a handler has spawned do not count.
pub(crate) fn handler_here() -> Option<Inside> {
    INSIDE.with(Cell::get)
}

/// This thread runs the handler until this is dropped.
pub(crate) struct Entered {
    outer: Option<Inside>,
    _here: PhantomData<*const ()>,
}

impl Inside {
    pub fn enter(self) -> Entered {
        let outer = INSIDE.with(|inside| inside.replace(Some(self)));
        Entered { outer, _here: PhantomData }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        INSIDE.with(|inside| inside.set(self.outer));
    }
}
