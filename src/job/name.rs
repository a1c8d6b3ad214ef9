use millpond_rules::is_name;

use crate::error::Error;

/// Longest name in bytes.
pub(crate) use millpond_rules::NAME_BYTES_MAX;

/// Checks the name of a queue, kind, group or unique key. `what` says which, for the error.
pub(crate) fn check(what: &'static str, name: &str) -> Result<(), Error> {
    if !is_name(name) {
        return Err(Error::InvalidName { what, name: name.chars().take(NAME_BYTES_MAX).collect() });
    }
    Ok(())
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
