//! What belongs to one attempt of a job.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
#[cfg(feature = "outbound-http")]
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use millpond_rules::attempt::{FOLLOW_UP_BYTES, FOLLOW_UPS, LOG_BYTES, LOG_LINES};
use millpond_rules::{is_name, is_routing_key};

use super::host::Line;
use super::overlay::Overlay;
use super::refusals;
use super::steps::Steps;
use crate::enqueue::{Error, NewJob, RefusedJob};
#[cfg(feature = "outbound-http")]
use crate::http;
use crate::log::Level;
use crate::{streams, topics};

#[cfg(feature = "outbound-http")]
pub(crate) type Web = Rc<dyn Fn(&http::Request) -> Result<http::Response, http::Error>>;

/// The priority of a job that is given none.
const PRIORITY: u8 = 5;

#[derive(Clone)]
pub(crate) struct Facts {
    pub job_id: String,
    pub kind: String,
    pub queue: String,
    pub number: u32,
    pub max_number: u32,
    pub enqueued_at: SystemTime,
    pub time_left: Duration,
    pub cancelled: bool,
    pub group: Option<String>,
    pub priority: u8,
    pub tags: Vec<String>,
    pub headers: BTreeMap<String, String>,
    pub run_id: String,
    /// The schedule that has enqueued the job, and for which time.
    pub schedule: Option<(String, SystemTime)>,
    /// The stream and the offset of the entry that the job is.
    pub entry: Option<(String, u64)>,
    /// None: the real one.
    pub now: Option<SystemTime>,
    /// How far the test has advanced the clock.
    pub advanced: Duration,
    /// None: a new one for each attempt.
    pub seed: Option<u64>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            job_id: "1".into(),
            kind: "test".into(),
            queue: "test".into(),
            number: 1,
            max_number: 5,
            enqueued_at: SystemTime::now(),
            time_left: Duration::from_secs(30),
            cancelled: false,
            group: None,
            priority: PRIORITY,
            tags: Vec::new(),
            headers: BTreeMap::new(),
            run_id: "1-1".into(),
            schedule: None,
            entry: None,
            now: None,
            advanced: Duration::ZERO,
            seed: None,
        }
    }
}

impl Facts {
    pub fn now(&self) -> SystemTime {
        self.now.unwrap_or_else(SystemTime::now) + self.advanced
    }
}

/// That jobs of this kind may be enqueued, or entries appended, or messages published.
#[derive(Clone)]
pub(crate) struct Grant {
    pub kind: String,
    /// The queue, stream or topic. None: the queue of the job at hand.
    pub to: Option<String>,
}

impl Grant {
    /// From `KIND` or `KIND@TO`.
    pub fn all(grants: &[&str]) -> Vec<Self> {
        let grant = |grant: &&str| match grant.split_once('@') {
            None => Self { kind: (*grant).to_owned(), to: None },
            Some((kind, to)) => Self { kind: kind.to_owned(), to: Some(to.to_owned()) },
        };
        grants.iter().map(grant).collect()
    }
}

/// What may be enqueued, appended and published; none: all.
#[derive(Clone, Default)]
pub(crate) struct Grants {
    pub enqueue: Option<Vec<Grant>>,
    pub append: Option<Vec<Grant>>,
    pub publish: Option<Vec<Grant>>,
}

/// Whether jobs of this kind may go there. What is no name cannot be granted.
fn may_send(grants: Option<&[Grant]>, kind: &str, to: &str, own: Option<&str>) -> bool {
    let is_granted = |grant: &Grant| grant.kind == kind && grant.to.as_deref().or(own) == Some(to);
    is_name(kind) && is_name(to) && grants.is_none_or(|grants| grants.iter().any(is_granted))
}

#[derive(Default)]
pub(crate) struct Attempt {
    pub facts: Facts,
    pub config: BTreeMap<String, String>,
    pub state: Overlay,
    pub steps: Steps,
    /// The results of the job's flow, if it belongs to one.
    pub flow: Option<BTreeMap<String, Vec<u8>>>,
    pub logs: Vec<Line>,
    pub enqueued: Vec<NewJob>,
    /// Entries, each with its stream.
    pub appended: Vec<(String, NewJob)>,
    /// Messages, each with its topic and its routing key.
    pub published: Vec<(String, String, NewJob)>,
    pub progress: Option<(u64, Option<u64>, Option<String>)>,
    pub grants: Grants,
    /// Topics that refuse each message.
    pub refusing_topics: BTreeMap<String, topics::Error>,
    /// What the random numbers are made from.
    pub random: Option<u64>,
    #[cfg(feature = "outbound-http")]
    pub web: Option<Web>,
}

impl Attempt {
    pub fn log(&mut self, level: Level, line: &str) {
        let bytes = self.logs.iter().map(|line| line.text.len()).sum::<usize>() + line.len();
        if self.logs.len() >= LOG_LINES as usize || bytes > LOG_BYTES {
            return;
        }
        self.logs.push(Line { level, text: line.to_owned() });
    }

    /// As the queue does it, in the same order.
    pub fn enqueue(&mut self, job: NewJob) -> Result<String, Error> {
        let (own, queue) = (&*self.facts.queue, job.queue.as_deref().unwrap_or(&self.facts.queue));
        if !may_send(self.grants.enqueue.as_deref(), &job.kind, queue, Some(own)) {
            return Err(Error::AccessDenied);
        }
        refusals::of_a_setter(&job).map_err(Error::Other)?;
        if !self.has_room_for(&job) {
            return Err(Error::QuotaExceeded);
        }
        refusals::of_the_queue(&job).map_err(Error::Other)?;
        self.enqueued.push(job);
        Ok(format!("{}+{}", self.facts.job_id, self.follow_ups().count()))
    }

    /// As the queue does it, in the same order.
    pub fn append(&mut self, stream: &str, entry: NewJob) -> Result<(), streams::Error> {
        if !may_send(self.grants.append.as_deref(), &entry.kind, stream, None) {
            return Err(streams::Error::AccessDenied);
        }
        refusals::of_a_setter(&entry).map_err(streams::Error::Other)?;
        if !self.has_room_for(&entry) {
            return Err(streams::Error::QuotaExceeded);
        }
        refusals::of_an_entry(&entry).map_err(streams::Error::Other)?;
        self.appended.push((stream.to_owned(), entry));
        Ok(())
    }

    /// As the queue does it, in the same order.
    pub fn publish(&mut self, topic: &str, key: &str, message: NewJob) -> Result<(), topics::Error> {
        if !may_send(self.grants.publish.as_deref(), &message.kind, topic, None) {
            return Err(topics::Error::AccessDenied);
        }
        refusals::of_a_setter(&message).map_err(topics::Error::Other)?;
        if !self.has_room_for(&message) {
            return Err(topics::Error::QuotaExceeded);
        }
        refusals::of_a_message(&message).map_err(topics::Error::Other)?;
        if !is_routing_key(key) {
            return Err(topics::Error::Other(format!("invalid routing key of {} bytes", key.len())));
        }
        if let Some(error) = self.refusing_topics.get(topic) {
            return Err(error.clone());
        }
        self.published.push((topic.to_owned(), key.to_owned(), message));
        Ok(())
    }

    /// All that was accepted so far.
    fn follow_ups(&self) -> impl Iterator<Item = &NewJob> {
        let appended = self.appended.iter().map(|(_, entry)| entry);
        self.enqueued.iter().chain(appended).chain(self.published.iter().map(|(.., message)| message))
    }

    fn has_room_for(&self, job: &NewJob) -> bool {
        let bytes = self.follow_ups().map(refusals::bytes).sum::<usize>() + refusals::bytes(job);
        self.follow_ups().count() < FOLLOW_UPS as usize && bytes <= FOLLOW_UP_BYTES
    }

    /// All of the jobs, or none.
    pub fn enqueue_many(&mut self, jobs: Vec<NewJob>) -> Result<Vec<String>, RefusedJob> {
        let before = self.enqueued.len();
        let mut ids = Vec::new();
        for (index, job) in jobs.into_iter().enumerate() {
            match self.enqueue(job) {
                Ok(id) => ids.push(id),
                Err(error) => {
                    self.enqueued.truncate(before);
                    return Err(RefusedJob { index, error });
                }
            }
        }
        Ok(ids)
    }

    /// The next number of splitmix64: good enough for tests, and the same ones from the same seed.
    pub fn random(&mut self) -> u64 {
        let state = self.random.get_or_insert_with(|| RandomState::new().hash_one(()));
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}
