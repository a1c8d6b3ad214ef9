//! Marks a thread whose code must not wait for the queue.

use std::cell::Cell;
use std::marker::PhantomData;

super::thread_local! {
    static MARKS: Cell<u32> = const { Cell::new(0) };
}

/// Marks this thread until it is dropped: the queue waits for the code that runs now, so that code must not wait for the
/// queue. Where the application's code runs meanwhile, calls that would wait are refused instead of waiting for ever.
///
/// Marks can be nested. One costs two changes of a thread-local number.
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

/// Whether the queue does not wait for this thread now.
pub(crate) fn may_wait() -> bool {
    MARKS.with(Cell::get) == 0
}
