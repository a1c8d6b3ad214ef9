//! Turns a handler's panic into text that names the place where it happened.

use std::cell::{Cell, RefCell};
use std::sync::Once;

use crate::error::panics;

thread_local! {
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook, because only a hook gets to know the place of a panic. It notes the place for handlers, and passes every
/// panic on to the hook that was installed before.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_HANDLER.get() {
                PLACE.set(info.location().map(ToString::to_string));
            }
            before(info);
        }));
    });
}

/// Calls `run`; a panic comes back as its message and place.
pub(super) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    install_hook();
    let outer = IN_HANDLER.replace(true);
    let result = panics::catch(run);
    IN_HANDLER.set(outer);
    result.map_err(|panic| match PLACE.take() {
        Some(place) => format!("{} (at {place})", panic.text()),
        None => panic.text().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_place_are_kept() {
        let caught = catch(|| panic!("boom {}", 7)).unwrap_err();
        assert!(caught.starts_with("boom 7 (at src/executor/panics.rs:"), "{caught}");
        assert_eq!(catch(|| 5), Ok(5));
    }
}
