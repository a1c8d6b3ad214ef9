//! Who wants to see the nodes of a fleet asks them, and remembers those that have answered.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use millpond::{Clock, SystemClock, Timestamp};
use tokio::sync::Mutex;

use super::info::NodeInfo;
use super::{ANSWERS_MAX, Fleet};

/// A node that has not answered for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3_600);

/// Answers of less than this age are shown again, so that several who look at once ask once.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its latest answer.
    pub info: NodeInfo,
    /// When it came, by the clock of who has asked.
    pub seen_at: Timestamp,
    /// Whether it came in time for the latest question.
    pub is_answering: bool,
}

/// What the nodes of a fleet have answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answers {
    /// The nodes, by name. Those that have not answered in time are there with what they have answered before.
    pub nodes: Vec<NodeStatus>,
    /// How many answers were ignored since the watch was made: nobody knows who has written them, or there were too many.
    pub ignored: u64,
    /// Why the question was not asked, if so.
    pub error: Option<String>,
}

/// Asks the nodes of a fleet, and remembers them for a day: at most 1,000 nodes. Clones share what they remember.
#[derive(Clone)]
pub struct Watch<F> {
    fleet: F,
    within: Duration,
    seen: Arc<Mutex<Seen>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By their names and files.
    nodes: BTreeMap<(String, String), NodeStatus>,
    ignored: u64,
    error: Option<String>,
    /// When the nodes were asked, on the monotonic clock.
    asked: Option<Duration>,
}

impl<F: Fleet> Watch<F> {
    /// How long answers are waited for, if nothing else is said.
    pub const WITHIN_DEFAULT: Duration = Duration::from_millis(500);

    /// Asks the nodes of this fleet.
    pub fn new(fleet: &F) -> Self {
        let (fleet, clock) = (fleet.clone(), Arc::new(SystemClock::new()));
        Self { fleet, within: Self::WITHIN_DEFAULT, seen: Arc::default(), clock }
    }

    /// How long answers are waited for. Each question takes this long.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// With this clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Asks all nodes, unless they were asked in the last second.
    pub async fn nodes(&self) -> Answers {
        let mut seen = self.seen.lock().await;
        let is_fresh = |asked: Duration| self.clock.monotonic().saturating_sub(asked) < FRESH;
        if !seen.asked.is_some_and(is_fresh) {
            let answers = self.fleet.ask(self.within).await;
            seen.asked = Some(self.clock.monotonic());
            seen.nodes.values_mut().for_each(|node| node.is_answering = false);
            match answers {
                Ok(answers) => {
                    seen.error = None;
                    let now = self.clock.wall();
                    answers.iter().for_each(|answer| seen.note(NodeInfo::decode(answer), now));
                    seen.nodes.retain(|_, node| now.since(node.seen_at) < FORGOTTEN);
                }
                Err(error) => seen.error = Some(error.to_string()),
            }
        }
        Answers { nodes: seen.nodes.values().cloned().collect(), ignored: seen.ignored, error: seen.error.clone() }
    }
}

impl Seen {
    fn note(&mut self, info: Option<NodeInfo>, now: Timestamp) {
        let is_full = self.nodes.len() >= ANSWERS_MAX;
        let Some(info) = info else {
            self.ignored += 1;
            return;
        };
        match self.nodes.entry((info.name.clone(), info.file.clone())) {
            // A node answers once. Who answers in its name does not replace what it has said.
            Entry::Occupied(node) if node.get().is_answering => self.ignored += 1,
            Entry::Occupied(mut node) => drop(node.insert(NodeStatus { info, seen_at: now, is_answering: true })),
            Entry::Vacant(_) if is_full => self.ignored += 1,
            Entry::Vacant(node) => drop(node.insert(NodeStatus { info, seen_at: now, is_answering: true })),
        }
    }
}
