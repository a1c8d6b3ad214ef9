//! Which names of queues and kinds, and which groups and unique keys, are accepted.

use millpond_rules::{is_key, is_name};

use crate::error::Error;

/// Longest name in bytes.
pub(crate) use millpond_rules::NAME_BYTES_MAX;

/// Longest group or unique key in bytes.
pub(crate) use millpond_rules::KEY_BYTES_MAX;

/// Checks the name of a queue or kind. `what` says which, for the error.
pub(crate) fn check(what: &'static str, name: &str) -> Result<(), Error> {
    if !is_name(name) {
        return Err(Error::InvalidName { what, name: name.chars().take(NAME_BYTES_MAX).collect() });
    }
    Ok(())
}

/// Checks a group or a unique key, which may be any text of 1 to 1,024 bytes. `what` says which, for the error.
pub(crate) fn check_key(what: &'static str, key: &str) -> Result<(), Error> {
    if is_key(key) { Ok(()) } else { Err(Error::InvalidKey { what, len: key.len(), max: KEY_BYTES_MAX }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_letters_pass_and_everything_else_is_refused() {
        for good in ["emails", "a.b:c-d_9", "X", &"n".repeat(128)] {
            assert!(check("queue", good).is_ok(), "{good}");
        }
        let long = "n".repeat(129);
        for bad in ["", "..", "../etc", "a b", "a\0", "<b>", "\u{202e}x", "é", "a/b", long.as_str()] {
            assert!(matches!(check("queue", bad), Err(Error::InvalidName { .. })), "{bad:?}");
        }
    }
}
