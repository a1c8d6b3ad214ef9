//! Whether the code that runs on this thread right now is a handler's.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::job::QueueId;

/// Whose handler it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Which executor runs it: a process may have several files open.
    pub executor: usize,
    pub queue: QueueId,
    /// It has a thread of its own.
    pub blocking: bool,
}

crate::sync::thread_local! {
    static INSIDE: Cell<Option<Inside>> = const { Cell::new(None) };
}

/// Whose handler runs on this thread, if one does. Tasks that it has spawned do not count.
pub(crate) fn handler_here() -> Option<Inside> {
    INSIDE.with(Cell::get)
}

/// While it lives, this thread runs that handler.
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
