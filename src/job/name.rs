use crate::error::Error;

/// Longest name of a queue, kind or group, in bytes: a name stands in every key of its rows.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// Checks the name of a queue, kind or group. `what` says which, for the error.
pub(crate) fn check(what: &'static str, name: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    // A name of dots alone would climb out of a directory if it ever became a path.
    let climbs = name.bytes().all(|b| b == b'.');
    if climbs || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
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
