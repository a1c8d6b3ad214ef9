//! Marks a thread whose code must not wait for the queue.

use std::cell::Cell;
use std::marker::PhantomData;

super::thread_local! {
    static MARKS: Cell<u32> = const { Cell::new(0) };
}

/// Marks this thread while it lives: the queue waits for the code that runs now, so that code must not wait for the
/// queue. Code of the application may run under it, and calls that wait are refused there instead of waiting for ever.
///
/// Marks nest. It costs two changes of a number that belongs to the thread.
pub(crate) struct MustNotWait(PhantomData<*const ()>);

impl MustNotWait {
    pub fn begin() -> Self {
        MARKS.with(|marks| marks.set(marks.get() + 1));
        Self(PhantomData)
    }
}

impl Drop for MustNotWait {
    fn drop(&mut self) {
        MARKS.with(|marks| marks.set(marks.get() - 1));
    }
}

/// Whether nobody waits for what this thread does now.
pub(crate) fn may_wait() -> bool {
    MARKS.with(Cell::get) == 0
}
