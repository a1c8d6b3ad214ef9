//! The bindings of all topics, as the writer and its callers share them: a commit that changes them replaces them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::key::RoutingKey;
use super::patterns::Patterns;
use super::row::{BindingRow, Destination, TopicRow};
use crate::job::QueueId;

/// Topics of a file, at most. The limit exists because all topics are in memory.
pub(crate) const TOPICS_MAX: usize = 1_024;

/// Bindings of a topic, at most. The limit exists because all bindings are in memory, and the first change of a topic in a
/// commit copies those of that topic.
pub(crate) const BINDINGS_MAX: usize = 50_000;

/// All topics, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics(BTreeMap<Arc<str>, Arc<TopicRoutes>>);

impl Topics {
    pub fn get(&self, topic: &str) -> Option<&Arc<TopicRoutes>> {
        self.0.get(topic)
    }

    /// A topic to be changed: a copy, if a caller has it.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut TopicRoutes> {
        self.0.get_mut(topic).map(Arc::make_mut)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<TopicRoutes>)> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn add(&mut self, topic: &str, row: TopicRow) -> &mut TopicRoutes {
        let routes = self.0.entry(topic.into()).or_default();
        let routes = Arc::make_mut(routes);
        routes.row = row;
        routes
    }

    pub fn remove(&mut self, topic: &str) {
        self.0.remove(topic);
    }

    /// The topics that have a binding to this destination, or have it as their alternate.
    pub fn with(&self, to: &Destination) -> Vec<Arc<str>> {
        let has = |routes: &TopicRoutes| {
            routes.row.alternate.as_ref() == Some(to) || routes.bindings.values().any(|binding| binding.to == *to)
        };
        self.0.iter().filter(|(_, routes)| has(routes)).map(|(topic, _)| topic.clone()).collect()
    }
}

/// One topic with its bindings.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicRoutes {
    pub row: TopicRow,
    bindings: BTreeMap<u64, BindingRow>,
    patterns: Patterns<Bound>,
}

/// The bindings of one pattern.
#[derive(Clone, Debug, Default)]
struct Bound {
    /// Those without conditions on headers.
    plain: Vec<(u64, Destination)>,
    /// The others, by a header that a message must have: a name, a value, and the numbers of the bindings. A binding that
    /// accepts one of several headers is there for each of them.
    by_header: HashMap<Box<str>, HashMap<Box<str>, Vec<u64>>>,
}

impl Bound {
    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.by_header.is_empty()
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        let with_conditions = self.by_header.values().flat_map(HashMap::values).flatten();
        self.plain.iter().map(|(number, _)| number).chain(with_conditions).copied()
    }

    fn with_header(&self, name: &str, value: &str) -> &[u64] {
        self.by_header.get(name).and_then(|values| values.get(value)).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, number: u64, row: &BindingRow) {
        let (all, any) = (&row.headers_all, &row.headers_any);
        // The header that the fewest others need: then few bindings are compared for a message that has it.
        let rarest = all.iter().min_by_key(|(name, value)| self.with_header(name, value).len());
        let under: Vec<_> = rarest.map_or_else(|| any.iter().collect(), |header| vec![header]);
        if under.is_empty() {
            return self.plain.push((number, row.to.clone()));
        }
        for (name, value) in under {
            let values = self.by_header.entry(name.as_str().into()).or_default();
            values.entry(value.as_str().into()).or_default().push(number);
        }
    }

    fn remove(&mut self, number: u64) {
        self.plain.retain(|(plain, _)| *plain != number);
        self.by_header.retain(|_, values| {
            values.retain(|_, numbers| {
                numbers.retain(|other| *other != number);
                !numbers.is_empty()
            });
            !values.is_empty()
        });
    }
}

/// Where a message goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routed {
    /// Each destination once: the queues in the order of their numbers, then the streams in the order of their names.
    pub to: Vec<Destination>,
    /// No binding matches, and the topic's alternate takes it.
    pub is_alternate: bool,
}

impl Routed {
    pub fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.to.iter().filter_map(Destination::queue)
    }

    pub fn streams(&self) -> impl Iterator<Item = &Arc<str>> {
        self.to.iter().filter_map(Destination::stream)
    }
}

impl TopicRoutes {
    /// The bindings with their numbers.
    pub fn bindings(&self) -> impl Iterator<Item = (u64, &BindingRow)> {
        self.bindings.iter().map(|(number, row)| (*number, row))
    }

    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// The number of a binding that binds the same messages to the same destination.
    pub fn find(&self, binding: &BindingRow) -> Option<u64> {
        let bound = self.patterns.get(binding.pattern())?;
        bound.numbers().find(|number| self.bindings[number].is_same(binding))
    }

    pub fn add(&mut self, number: u64, binding: BindingRow) {
        self.patterns.entry(binding.pattern()).add(number, &binding);
        self.bindings.insert(number, binding);
    }

    pub fn remove(&mut self, number: u64) {
        let Some(binding) = self.bindings.remove(&number) else { return };
        let bound = self.patterns.entry(binding.pattern());
        bound.remove(number);
        if bound.is_empty() {
            self.patterns.remove(binding.pattern());
        }
    }

    /// Where a message with this key and these headers goes.
    pub fn route(&self, key: &RoutingKey, headers: &BTreeMap<String, String>) -> Routed {
        let mut to = Vec::new();
        self.patterns.matching(key.as_str(), |bound| {
            to.extend(bound.plain.iter().map(|(_, destination)| destination.clone()));
            if !bound.by_header.is_empty() {
                for (name, value) in headers {
                    let candidates = bound.with_header(name, value).iter().map(|number| &self.bindings[number]);
                    to.extend(candidates.filter(|binding| binding.accepts(headers)).map(|binding| binding.to.clone()));
                }
            }
        });
        to.sort_unstable();
        to.dedup();
        let is_alternate = to.is_empty() && self.row.alternate.is_some();
        to.extend(self.row.alternate.clone().filter(|_| is_alternate));
        Routed { to, is_alternate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn binding(queue: u32, key: Option<&str>, all: &[(&str, &str)], any: &[(&str, &str)]) -> BindingRow {
        let owned = |headers: &[(&str, &str)]| {
            let mut headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            headers.sort();
            headers
        };
        BindingRow {
            to: Destination::Queue(queue),
            key: key.map(str::to_owned),
            headers_all: owned(all),
            headers_any: owned(any),
            created_at: Timestamp::EPOCH,
        }
    }

    fn routed(routes: &TopicRoutes, key: &str, headers: &[(&str, &str)]) -> Vec<u32> {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let routed = routes.route(&RoutingKey::new(key).unwrap(), &headers);
        routed.queues().collect()
    }

    #[test]
    fn a_destination_of_several_bindings_is_found_once() {
        let mut routes = TopicRoutes::default();
        for (number, key) in [(0, Some("order.#")), (1, Some("order.*")), (2, None), (3, Some("#.eu"))] {
            routes.add(number, binding(7, key, &[], &[]));
        }
        routes.add(4, binding(3, Some("#"), &[], &[]));
        assert_eq!(routed(&routes, "order.eu", &[]), [3, 7]);
    }

    #[test]
    fn streams_come_after_queues_and_each_once() {
        let mut routes = TopicRoutes::default();
        let to = |stream: &str| BindingRow { to: Destination::Stream(stream.into()), ..binding(0, None, &[], &[]) };
        routes.add(0, to("b"));
        routes.add(1, binding(u32::MAX, None, &[], &[]));
        routes.add(2, to("a"));
        routes.add(3, BindingRow { key: Some("#".into()), ..to("b") });
        let routed = routes.route(&RoutingKey::new("x").unwrap(), &BTreeMap::new());
        assert_eq!(routed.queues().collect::<Vec<_>>(), [u32::MAX]);
        assert_eq!(routed.streams().map(|stream| &**stream).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(routed.to[0], Destination::Queue(u32::MAX));
    }

    #[test]
    fn the_key_and_all_conditions_on_headers_must_match() {
        let mut routes = TopicRoutes::default();
        routes.add(0, binding(0, Some("a.*"), &[("x", "1"), ("y", "2")], &[]));
        routes.add(1, binding(1, None, &[], &[("x", "1"), ("x", "2")]));
        routes.add(2, binding(2, None, &[("y", "2")], &[("x", "1"), ("z", "1")]));
        assert!(routed(&routes, "a.b", &[]).is_empty());
        assert_eq!(routed(&routes, "a.b", &[("x", "1"), ("y", "2")]), [0, 1, 2]);
        assert_eq!(routed(&routes, "a", &[("x", "1"), ("y", "2")]), [1, 2]);
        assert_eq!(routed(&routes, "a.b", &[("x", "2"), ("y", "2")]), [1]);
        assert_eq!(routed(&routes, "", &[("z", "1"), ("y", "2")]), [2]);
        assert!(routed(&routes, "a.b", &[("X", "1")]).is_empty());
    }

    #[test]
    fn removed_bindings_take_nothing() {
        let mut rng = fastrand::Rng::with_seed(0xB1D);
        for _ in 0..100 {
            let (mut routes, mut there) = (TopicRoutes::default(), BTreeMap::new());
            for number in 0..60 {
                let pick = |rng: &mut fastrand::Rng| [("h", "1"), ("h", "2"), ("i", "1")][rng.usize(..3)];
                let key = [None, Some("a"), Some("a.#"), Some("*")][rng.usize(..4)];
                let (all, any) = (vec![pick(&mut rng); rng.usize(..2)], vec![pick(&mut rng); rng.usize(..2)]);
                let binding = binding(rng.u32(..9), key, &all, &any);
                routes.add(number, binding.clone());
                there.insert(number, binding);
                if rng.bool() {
                    let gone = rng.u64(..=number);
                    routes.remove(gone);
                    there.remove(&gone);
                }
            }
            for (key, is_match) in [
                ("a", [true, true, true, true]),
                ("a.b", [true, false, true, false]),
                ("b", [true, false, false, true]),
            ] {
                let headers = BTreeMap::from([("h".to_owned(), "1".to_owned()), ("i".to_owned(), "1".to_owned())]);
                let keys = [None, Some("a"), Some("a.#"), Some("*")];
                let matches = |key: Option<&str>| is_match[keys.iter().position(|other| *other == key).unwrap()];
                let mut expected: Vec<_> = there
                    .values()
                    .filter(|binding| matches(binding.key.as_deref()) && binding.accepts(&headers))
                    .map(|binding| binding.to.clone())
                    .collect();
                expected.sort();
                expected.dedup();
                assert_eq!(routes.route(&RoutingKey::new(key).unwrap(), &headers).to, expected);
            }
            there.keys().for_each(|number| routes.remove(*number));
            assert!(routed(&routes, "a", &[("h", "1")]).is_empty());
        }
    }

    #[test]
    fn the_alternate_takes_only_what_no_binding_takes() {
        let mut routes = TopicRoutes::default();
        routes.row.alternate = Some(Destination::Queue(9));
        routes.add(0, binding(1, Some("a"), &[], &[]));
        assert_eq!(routed(&routes, "a", &[]), [1]);
        assert_eq!(routed(&routes, "b", &[]), [9]);
    }
}
