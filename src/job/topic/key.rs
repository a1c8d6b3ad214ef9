//! Routing keys: words between dots.

use millpond_rules::{ROUTING_KEY_BYTES_MAX, ROUTING_WORDS_MAX, is_routing_key};

use crate::error::Error;

/// A routing key that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutingKey(String);

impl RoutingKey {
    /// # Errors
    /// [`Error::InvalidRoutingKey`].
    pub fn new(key: &str) -> Result<Self, Error> {
        check(key)?;
        Ok(Self(key.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks the length of a key or pattern.
pub(super) fn check(key: &str) -> Result<(), Error> {
    if is_routing_key(key) {
        return Ok(());
    }
    let (len, words) = (key.len(), words(key).count());
    let (max, words_max) = (ROUTING_KEY_BYTES_MAX, ROUTING_WORDS_MAX);
    Err(Error::InvalidRoutingKey { len, max, words, words_max })
}

/// The words of a key. The empty key has none; otherwise there is one more than there are dots, and words can be empty.
pub(super) fn words(key: &str) -> impl Iterator<Item = &str> {
    (!key.is_empty()).then(|| key.split('.')).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_rabbitmq() {
        let of = |key| words(key).collect::<Vec<_>>();
        assert!(of("").is_empty());
        assert_eq!(of("a"), ["a"]);
        assert_eq!(of("a.b"), ["a", "b"]);
        assert_eq!(of("."), ["", ""]);
        assert_eq!(of(".a."), ["", "a", ""]);
        assert_eq!(of("a..b"), ["a", "", "b"]);
    }

    #[test]
    fn a_key_has_a_limit_of_bytes_and_of_words() {
        check(&"k".repeat(255)).unwrap();
        check(&vec!["w"; 64].join(".")).unwrap();
        let long = check(&"k".repeat(256));
        assert!(matches!(long, Err(Error::InvalidRoutingKey { len: 256, max: 255, .. })), "{long:?}");
        let many = check(&vec!["w"; 65].join("."));
        assert!(matches!(many, Err(Error::InvalidRoutingKey { words: 65, words_max: 64, .. })), "{many:?}");
    }
}
