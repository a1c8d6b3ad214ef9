//! Catches panics of the application's code: when the crate calls it, and when its values are dropped.

use std::any::Any;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Calls `run` and catches its panic.
///
/// This is the only place that catches panics: the value of a panic can have any type, and its drop can panic too.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| Panic(Quiet::new(payload)))
}

/// The value of a panic. Its drop does not panic.
pub(crate) struct Panic(Quiet<Box<dyn Any + Send>>);

impl Panic {
    /// Its message, if it is text.
    pub fn text(&self) -> &str {
        let payload: &(dyn Any + Send) = &**self.0;
        let text = payload.downcast_ref::<&str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
    }

    /// Panics with the same value again, on this thread.
    pub fn resume(self) -> ! {
        resume_unwind(self.0.into_inner())
    }
}

impl std::fmt::Debug for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Panic").field(&self.text()).finish()
    }
}

/// A value of the application. If its drop panics, the panic is caught.
pub(crate) struct Quiet<T>(Option<T>);

impl<T> Quiet<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub fn into_inner(mut self) -> T {
        self.0.take().expect("only this and drop take it")
    }
}

impl<T> Deref for Quiet<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only `into_inner` and drop take it")
    }
}

impl<T> DerefMut for Quiet<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("only `into_inner` and drop take it")
    }
}

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            drop_quietly(value);
        }
    }
}

/// Drops a value of the application. A panic is caught.
pub(crate) fn drop_quietly<T>(value: T) {
    if !mem::needs_drop::<T>() {
        return;
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::error!("a value of the application's panicked when it was dropped");
        // The drop of any other type could panic again, and so on without end: such a value is leaked.
        if !payload.is::<&str>() && !payload.is::<String>() {
            mem::forget(payload);
        }
    }
}

/// The text of an error of the application. If its `Display` panics, it is the message of the panic.
pub(crate) fn text_of(error: &dyn std::error::Error) -> String {
    catch(|| error.to_string()).unwrap_or_else(|panic| format!("an error whose text panicked: {}", panic.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics when it is dropped, with another value of its type as often as the number says.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            match self.0 {
                0 => panic!("the last one"),
                more => std::panic::panic_any(Bomb(more - 1)),
            }
        }
    }

    #[test]
    fn a_payload_whose_drop_panics_is_caught() {
        let panic = catch(|| std::panic::panic_any(Bomb(3))).expect_err("it panicked");
        assert_eq!(panic.text(), "no message");
        catch(|| drop(panic)).unwrap_or_else(|_| panic!("its drop got out"));
    }

    #[test]
    fn a_value_whose_drop_panics_can_be_dropped_and_taken_out() {
        catch(|| drop(Quiet::new(Bomb(0)))).unwrap_or_else(|_| panic!("its drop got out"));
        let bomb = Quiet::new(Bomb(0)).into_inner();
        assert!(catch(|| drop(bomb)).is_err(), "outside of the wrapper it panics as ever");
    }

    #[test]
    fn the_message_of_a_panic_is_kept() {
        assert_eq!(catch(|| panic!("boom {}", 7)).unwrap_err().text(), "boom 7");
        assert_eq!(catch(|| panic!("boom")).unwrap_err().text(), "boom");
    }
}
