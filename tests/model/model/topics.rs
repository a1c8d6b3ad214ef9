//! The invariant: a message goes to each queue and each stream that has a matching binding, once, and to no other.

use std::collections::BTreeSet;

use super::Model;
use crate::ops::{PATTERNS, QUEUES, ROUTING_KEYS};

impl Model {
    /// Binds a queue or a stream, which is made. Returns whether there was no such binding.
    pub fn bind(&mut self, to: usize, pattern: usize) -> bool {
        if let Some(stream) = to.checked_sub(QUEUES) {
            self.make_stream(stream);
        }
        self.bindings.get_or_insert_default().insert((to, pattern))
    }

    /// Removes a binding. Returns whether there was one; nothing if there is no topic.
    pub fn unbind(&mut self, to: usize, pattern: usize) -> Option<bool> {
        Some(self.bindings.as_mut()?.remove(&(to, pattern)))
    }

    /// The bindings of a queue go with it. Returns how many there were.
    pub fn unbind_all(&mut self, queue: usize) -> u64 {
        let Some(bindings) = &mut self.bindings else { return 0 };
        let before = bindings.len();
        bindings.retain(|(bound, _)| *bound != queue);
        (before - bindings.len()) as u64
    }

    pub fn bindings(&self) -> Option<&BTreeSet<(usize, usize)>> {
        self.bindings.as_ref()
    }

    /// The destinations that a message with this routing key goes to; nothing if there is no topic.
    pub fn routed(&self, key: usize) -> Option<BTreeSet<usize>> {
        let key = words(ROUTING_KEYS[key]);
        let matching = self.bindings.as_ref()?.iter().filter(|(_, pattern)| matches(&words(PATTERNS[*pattern]), &key));
        Some(matching.map(|(to, _)| *to).collect())
    }
}

fn words(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('.').collect() }
}

fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match pattern {
        [] => key.is_empty(),
        ["#", rest @ ..] => (0..=key.len()).any(|n| matches(rest, &key[n..])),
        ["*", rest @ ..] => !key.is_empty() && matches(rest, &key[1..]),
        [word, rest @ ..] => key.first() == Some(word) && matches(rest, &key[1..]),
    }
}
