//! What a node says of itself.

use bytes::Bytes;
use millpond::{LinkInfo, Millpond};
use serde::{Deserialize, Serialize};

use super::ANSWER_BYTES_MAX;
use crate::destination::is_valid_name;
use crate::error::Error;

/// The version of the answers that this build writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Queues in an answer, at most: the first ones by name.
const QUEUES_MAX: usize = 100;

/// Links in an answer, at most.
const LINKS_MAX: usize = 100;

/// Bytes of a name, at most.
const NAME_BYTES_MAX: usize = 600;

/// Bytes of an error, at most: longer ones are cut.
const ERROR_BYTES_MAX: usize = 256;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The version of the answer.
    v: u32,
    /// The name that its application has given it.
    pub name: String,
    /// The identity of its file: 32 hexadecimal digits.
    pub file: String,
    /// The version of this crate that it uses.
    pub version: String,
    /// Why its queues cannot work for now, if so.
    pub degraded: Option<String>,
    /// The first 100 of its queues, by name.
    pub queues: Vec<NodeQueue>,
    /// How many more queues it has.
    pub more_queues: u64,
    /// The first 100 of its links.
    pub links: Vec<NodeLink>,
    /// How many more links it has.
    pub more_links: u64,
}

/// A queue of a node, with the number of its jobs in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the states of jobs")]
pub struct NodeQueue {
    pub name: String,
    pub paused: bool,
    pub pending: u64,
    pub running: u64,
    pub scheduled: u64,
    pub retrying: u64,
    pub blocked: u64,
    pub dead: u64,
    /// Jobs that have ever completed.
    pub completed_total: u64,
}

/// A link of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeLink {
    /// Its name.
    pub name: String,
    /// Whether its engine answers.
    pub connected: bool,
    /// The latest error.
    pub last_error: Option<String>,
    /// Jobs that are still to be moved, if that is known.
    pub lag: Option<u64>,
    /// How often its engine had lost what it had acknowledged, or its file was found to be an older copy.
    pub went_back: u64,
}

impl NodeInfo {
    /// What an open file is like now.
    pub(super) fn of(pond: &Millpond, name: &str, file: u128) -> Self {
        let (queues, links) = (pond.queues(), pond.links());
        let shown = |queue: &millpond::Queue| {
            let counts = queue.counts();
            NodeQueue {
                name: queue.name().to_owned(),
                paused: queue.is_paused(),
                pending: counts.pending,
                running: counts.running + counts.ending,
                scheduled: counts.scheduled,
                retrying: counts.retrying,
                blocked: counts.blocked,
                dead: counts.dead,
                completed_total: counts.completed_total,
            }
        };
        let mut stored: Vec<_> = queues.iter().collect();
        stored.sort_by_key(|queue| queue.name());
        Self {
            v: VERSION,
            name: name.to_owned(),
            file: format!("{file:032x}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            degraded: pond.degraded().map(cut),
            queues: stored.into_iter().take(QUEUES_MAX).map(shown).collect(),
            more_queues: queues.len().saturating_sub(QUEUES_MAX) as u64,
            more_links: links.len().saturating_sub(LINKS_MAX) as u64,
            links: links.into_iter().take(LINKS_MAX).map(NodeLink::of).collect(),
        }
    }

    /// As an answer. Links whose texts would make it too long are left out.
    pub(super) fn encode(mut self) -> Bytes {
        loop {
            // It is plain data, so this does not fail.
            let answer = serde_json::to_vec(&self).unwrap_or_default();
            if answer.len() <= ANSWER_BYTES_MAX || self.links.is_empty() {
                return answer.into();
            }
            let kept = self.links.len() / 2;
            self.more_links += (self.links.len() - kept) as u64;
            self.links.truncate(kept);
        }
    }

    /// Reads an answer, which anybody can have written. `None` if a node of this version cannot have written it.
    pub(super) fn decode(answer: &[u8]) -> Option<Self> {
        if answer.len() > ANSWER_BYTES_MAX {
            return None;
        }
        let info: Self = serde_json::from_slice(answer).ok()?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_file = info.file.len() == 32 && info.file.bytes().all(is_digit);
        let are_few = info.queues.len() <= QUEUES_MAX && info.links.len() <= LINKS_MAX && info.version.len() <= 64;
        let mut names = info.queues.iter().map(|queue| &queue.name).chain(info.links.iter().map(|link| &link.name));
        let mut errors = info.links.iter().filter_map(|link| link.last_error.as_ref()).chain(&info.degraded);
        let are_short =
            names.all(|name| name.len() <= NAME_BYTES_MAX) && errors.all(|error| error.len() <= ERROR_BYTES_MAX);
        (info.v == VERSION && is_valid_name(&info.name) && is_file && are_few && are_short).then_some(info)
    }
}

impl NodeLink {
    fn of(link: LinkInfo) -> Self {
        let LinkInfo { name, state, .. } = link;
        Self {
            name,
            connected: state.connected,
            last_error: state.last_error.map(cut),
            lag: state.lag,
            went_back: state.engine_went_back + state.file_went_back,
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Checks the name of a node.
pub(super) fn check_name(name: String) -> Result<String, Error> {
    if is_valid_name(&name) { Ok(name) } else { Err(Error::InvalidNodeName { name }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> NodeInfo {
        let queue = NodeQueue { name: "mail".into(), pending: 3, ..NodeQueue::default() };
        let link = NodeLink { name: "mail -> hub".into(), last_error: Some("refused".into()), ..NodeLink::default() };
        NodeInfo {
            v: VERSION,
            name: "device-7".into(),
            file: format!("{:032x}", 7),
            version: "0.1.0".into(),
            queues: vec![queue],
            links: vec![link],
            ..NodeInfo::default()
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        assert_eq!(NodeInfo::decode(&good().encode()), Some(good()));
    }

    #[test]
    fn answers_that_no_node_has_written_are_not_read() {
        let bad = |change: &dyn Fn(&mut NodeInfo)| {
            let mut info = good();
            change(&mut info);
            NodeInfo::decode(&info.encode())
        };
        assert_eq!(bad(&|info| info.v = 2), None);
        assert_eq!(bad(&|info| info.name = "<b>".into()), None);
        assert_eq!(bad(&|info| info.name = "n".repeat(129)), None);
        assert_eq!(bad(&|info| info.file = "é".repeat(16)), None);
        assert_eq!(bad(&|info| info.queues = vec![NodeQueue::default(); QUEUES_MAX + 1]), None);
        assert_eq!(bad(&|info| info.links = vec![NodeLink::default(); LINKS_MAX + 1]), None);
        assert_eq!(bad(&|info| info.queues[0].name = "q".repeat(NAME_BYTES_MAX + 1)), None);
        assert_eq!(bad(&|info| info.links[0].last_error = Some("e".repeat(ERROR_BYTES_MAX + 1))), None);
        assert_eq!(bad(&|info| info.degraded = Some("e".repeat(ERROR_BYTES_MAX + 1))), None);
        assert_eq!(bad(&|info| info.version = "v".repeat(65)), None);
        for answer in [&b""[..], b"{}", b"[]", b"\xff", &b" ".repeat(ANSWER_BYTES_MAX + 1)] {
            assert_eq!(NodeInfo::decode(answer), None);
        }
    }

    #[test]
    fn links_are_left_out_of_an_answer_that_would_be_too_long() {
        let mut info = good();
        let queue = NodeQueue {
            name: "q".repeat(128),
            paused: true,
            pending: u64::MAX,
            running: u64::MAX,
            scheduled: u64::MAX,
            retrying: u64::MAX,
            blocked: u64::MAX,
            dead: u64::MAX,
            completed_total: u64::MAX,
        };
        // Each byte of the texts takes six in JSON.
        let link = NodeLink {
            name: "\u{1}".repeat(400),
            last_error: Some("\u{1}".repeat(ERROR_BYTES_MAX)),
            lag: Some(u64::MAX),
            ..NodeLink::default()
        };
        info.degraded = Some("\u{1}".repeat(ERROR_BYTES_MAX));
        (info.queues, info.links) = (vec![queue; QUEUES_MAX], vec![link; LINKS_MAX]);
        let answer = info.encode();
        assert!(answer.len() <= ANSWER_BYTES_MAX, "{}", answer.len());
        let read = NodeInfo::decode(&answer).expect("it can be read");
        assert_eq!(read.queues.len(), QUEUES_MAX);
        assert!(!read.links.is_empty() && read.links.len() as u64 + read.more_links == LINKS_MAX as u64);
    }
}
