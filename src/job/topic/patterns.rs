//! The patterns of a topic's bindings as a tree of words, so that a key is compared with all of them at once.
//!
//! The key is read once, word by word, with the set of nodes that the words so far can have led to. A node that stands for
//! `#` stays in the set. So the work for a key is at most proportional to its words times the nodes, also for patterns with
//! many `#`, and nodes that its words do not lead to cost nothing.

use std::collections::HashMap;

use super::key::words;

const ONE: &str = "*";
const MANY: &str = "#";
const REST: &str = ">";

type NodeId = u32;

const ROOT: NodeId = 0;

/// Patterns, each of which leads to a value.
#[derive(Clone, Debug)]
pub(super) struct Patterns<V> {
    /// The first is the root. Those in `free` belong to no pattern.
    nodes: Vec<Node<V>>,
    free: Vec<NodeId>,
}

#[derive(Clone, Debug)]
struct Node<V> {
    words: HashMap<Box<str>, NodeId>,
    /// Behind `*`.
    one: Option<NodeId>,
    /// Behind `#`.
    many: Option<NodeId>,
    /// It stands for `#` itself, so any word leads from it to it.
    is_many: bool,
    value: Option<V>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { words: HashMap::new(), one: None, many: None, is_many: false, value: None }
    }
}

impl<V> Node<V> {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.one.is_none() && self.many.is_none() && self.value.is_none()
    }
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'p> {
    Word(&'p str),
    One,
    Many,
}

/// The parts of a pattern. A trailing `>` is one word and any number of others; several `#` in a row are one.
fn parts(pattern: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut words = words(pattern).peekable();
    while let Some(word) = words.next() {
        match word {
            ONE => parts.push(Part::One),
            MANY => parts.push(Part::Many),
            REST if words.peek().is_none() => parts.extend([Part::One, Part::Many]),
            word => parts.push(Part::Word(word)),
        }
    }
    parts.dedup_by(|next, before| *next == Part::Many && *before == Part::Many);
    parts
}

/// Whether a pattern has `>` at a place where it would not stand for the rest of the key.
pub(super) fn has_rest_inside(pattern: &str) -> bool {
    let mut words = words(pattern).peekable();
    std::iter::from_fn(|| words.next().map(|word| (word, words.peek().is_some())))
        .any(|(word, is_followed)| word == REST && is_followed)
}

impl<V> Default for Patterns<V> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

impl<V: Default> Patterns<V> {
    fn node(&self, id: NodeId) -> &Node<V> {
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<V> {
        &mut self.nodes[id as usize]
    }

    fn next(&self, from: NodeId, part: Part<'_>) -> Option<NodeId> {
        let node = self.node(from);
        match part {
            Part::Word(word) => node.words.get(word).copied(),
            Part::One => node.one,
            Part::Many => node.many,
        }
    }

    fn set_next(&mut self, from: NodeId, part: Part<'_>, to: Option<NodeId>) {
        let node = self.node_mut(from);
        match part {
            Part::Word(word) => match to {
                Some(to) => drop(node.words.insert(word.into(), to)),
                None => drop(node.words.remove(word)),
            },
            Part::One => node.one = to,
            Part::Many => node.many = to,
        }
    }

    fn new_node(&mut self, is_many: bool) -> NodeId {
        let node = Node { is_many, ..Node::default() };
        if let Some(id) = self.free.pop() {
            *self.node_mut(id) = node;
            return id;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    /// The value of a pattern.
    pub fn get(&self, pattern: &str) -> Option<&V> {
        let mut at = ROOT;
        for part in parts(pattern) {
            at = self.next(at, part)?;
        }
        self.node(at).value.as_ref()
    }

    /// The value of a pattern, which is added if it is not there.
    pub fn entry(&mut self, pattern: &str) -> &mut V {
        let mut at = ROOT;
        for part in parts(pattern) {
            at = match self.next(at, part) {
                Some(next) => next,
                None => {
                    let next = self.new_node(part == Part::Many);
                    self.set_next(at, part, Some(next));
                    next
                }
            };
        }
        self.node_mut(at).value.get_or_insert_default()
    }

    /// Removes a pattern with its value, and the nodes that no other pattern needs.
    pub fn remove(&mut self, pattern: &str) {
        let parts = parts(pattern);
        let (mut at, mut path) = (ROOT, Vec::with_capacity(parts.len()));
        for part in parts {
            let Some(next) = self.next(at, part) else { return };
            path.push((at, part, next));
            at = next;
        }
        self.node_mut(at).value = None;
        for (parent, part, child) in path.into_iter().rev() {
            if !self.node(child).is_empty() {
                break;
            }
            self.set_next(parent, part, None);
            self.free.push(child);
        }
    }

    /// Calls `found` with the value of each pattern that the key matches. Returns how many nodes were visited.
    pub fn matching<'v>(&'v self, key: &str, mut found: impl FnMut(&'v V)) -> usize {
        let (mut active, mut next) = (vec![ROOT], Vec::new());
        self.add_empty_rests(&mut active);
        let mut visited = active.len();
        for word in words(key) {
            for id in active.drain(..) {
                let node = self.node(id);
                next.extend(node.is_many.then_some(id));
                next.extend(node.words.get(word));
                next.extend(node.one);
            }
            self.add_empty_rests(&mut next);
            visited += next.len();
            std::mem::swap(&mut active, &mut next);
        }
        active.iter().filter_map(|id| self.node(*id).value.as_ref()).for_each(&mut found);
        visited
    }

    /// Adds the nodes that are reached by a `#` without a word. Afterwards each node is in the set once.
    fn add_empty_rests(&self, set: &mut Vec<NodeId>) {
        // Behind a `#` no other one follows, so one pass is enough.
        for n in 0..set.len() {
            set.extend(self.node(set[n]).many);
        }
        if set.len() > 1 {
            set.sort_unstable();
            set.dedup();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares words one after the other, with a second try for each number of words that a `#` can stand for.
    fn naive(pattern: &[&str], key: &[&str]) -> bool {
        match pattern {
            [] => key.is_empty(),
            [REST] => !key.is_empty(),
            [MANY, rest @ ..] => (0..=key.len()).any(|n| naive(rest, &key[n..])),
            [ONE, rest @ ..] => !key.is_empty() && naive(rest, &key[1..]),
            [word, rest @ ..] => key.first() == Some(word) && naive(rest, &key[1..]),
        }
    }

    fn matches(pattern: &str, key: &str) -> bool {
        let mut patterns = Patterns::<()>::default();
        patterns.entry(pattern);
        let mut found = 0;
        patterns.matching(key, |()| found += 1);
        assert!(found <= 1, "{pattern:?} is found {found} times for {key:?}");
        found == 1
    }

    #[test]
    fn patterns_match_as_in_rabbitmq() {
        let yes = [
            ("", ""),
            ("#", ""),
            ("#", "."),
            ("#", "a.b.c"),
            ("*", "a"),
            ("*.*", "."),
            ("*.*", "a.b"),
            ("a.*", "a."),
            ("#.a", "a"),
            ("#.a", "b.c.a"),
            ("a.#", "a"),
            ("a.#", "a.b.c"),
            ("a.#.b", "a.b"),
            ("a.#.b", "a.x.b.b"),
            ("#.#", ""),
            ("#.*", "a"),
            ("*.#", "a.b"),
            ("a..b", "a..b"),
            ("ord*", "ord*"),
            ("a.>", "a.b"),
            ("a.>", "a.b.c"),
            (">", "a"),
        ];
        let no = [
            ("", "a"),
            ("", "."),
            ("*", ""),
            ("*", "a.b"),
            ("*.*", "a"),
            ("a", "a."),
            ("#.*", ""),
            ("a.#.b", "a"),
            ("a.#.b", "a.b.c"),
            ("ord*", "order"),
            ("a.>", "a"),
            (">", ""),
        ];
        for (pattern, key) in yes {
            assert!(matches(pattern, key), "{pattern:?} should match {key:?}");
        }
        for (pattern, key) in no {
            assert!(!matches(pattern, key), "{pattern:?} should not match {key:?}");
        }
    }

    fn random(rng: &mut fastrand::Rng, words: &[&str], most: usize) -> String {
        let chosen: Vec<_> = (0..rng.usize(..=most)).map(|_| words[rng.usize(..words.len())]).collect();
        chosen.join(".")
    }

    #[test]
    fn random_keys_match_the_same_patterns_as_by_comparing_words() {
        let mut rng = fastrand::Rng::with_seed(0x701C);
        for round in 0..300 {
            let mut patterns = Patterns::<Vec<usize>>::default();
            let mut all: Vec<Option<String>> = Vec::new();
            for n in 0..rng.usize(1..40) {
                let mut pattern = random(&mut rng, &["a", "b", "", "*", "#", "#"], 6);
                if rng.u8(..8) == 0 && !pattern.is_empty() {
                    pattern += ".>";
                }
                patterns.entry(&pattern).push(n);
                all.push(Some(pattern));
            }
            for (n, there) in all.iter_mut().enumerate() {
                if rng.bool() {
                    let pattern = there.take().unwrap();
                    let numbers = patterns.entry(&pattern);
                    numbers.retain(|number| *number != n);
                    if numbers.is_empty() {
                        patterns.remove(&pattern);
                    }
                }
            }
            for _ in 0..100 {
                let key = random(&mut rng, &["a", "b", "c", ""], 7);
                let key_words: Vec<_> = words(&key).collect();
                let mut found: Vec<usize> = Vec::new();
                patterns.matching(&key, |numbers| found.extend(numbers));
                found.sort_unstable();
                let is_match = |pattern: &String| naive(&words(pattern).collect::<Vec<_>>(), &key_words);
                let expected: Vec<_> = (0..all.len()).filter(|n| all[*n].as_ref().is_some_and(is_match)).collect();
                assert_eq!(found, expected, "round {round}, key {key:?}, patterns {all:?}");
            }
        }
    }

    #[test]
    fn removed_patterns_leave_no_nodes() {
        let mut patterns = Patterns::<()>::default();
        for round in 0..3 {
            for pattern in ["a.b.c", "a.*", "#.x.#", "", "a.b.>"] {
                patterns.entry(pattern);
            }
            for pattern in ["a.b.>", "", "a.b.c", "a.*", "#.x.#"] {
                patterns.remove(pattern);
            }
            assert_eq!(patterns.nodes.len() - patterns.free.len(), 1, "round {round}");
            assert!(patterns.node(ROOT).is_empty());
        }
        assert!(patterns.nodes.len() < 16, "nodes are used again");
    }

    #[test]
    fn hostile_patterns_cost_no_more_than_nodes_times_words() {
        let mut patterns = Patterns::<()>::default();
        for n in 0..200 {
            let words: Vec<_> = (0..32).map(|at| if (n >> (at % 8)) & 1 == 0 { "#.a" } else { "#.*" }).collect();
            patterns.entry(&words.join("."));
        }
        let key = vec!["a"; 64].join(".");
        let visited = patterns.matching(&key, |()| ());
        assert!(visited <= 65 * patterns.nodes.len(), "{visited} visits of {} nodes", patterns.nodes.len());
    }

    #[test]
    fn other_patterns_cost_a_key_nothing() {
        let visits = |others: usize| {
            let mut patterns = Patterns::<()>::default();
            patterns.entry("order.created.*");
            for n in 0..others {
                patterns.entry(&format!("customer.{n}.*"));
            }
            patterns.matching("order.created.eu", |()| ())
        };
        assert_eq!(visits(10), visits(10_000));
    }
}
