//! What belongs to one attempt of a job.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
#[cfg(feature = "outbound-http")]
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use millpond_rules::attempt::{FOLLOW_UP_BYTES, FOLLOW_UPS, LOG_BYTES, LOG_LINES};
use millpond_rules::is_name;

use super::host::Line;
use super::overlay::Overlay;
use super::refusals;
use super::steps::Steps;
use crate::enqueue::{Error, NewJob, RefusedJob};
#[cfg(feature = "outbound-http")]
use crate::http;
use crate::log::Level;

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

/// That jobs of this kind may be enqueued.
#[derive(Clone)]
pub(crate) struct Grant {
    pub kind: String,
    /// None: into the queue of the job at hand.
    pub queue: Option<String>,
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
    pub progress: Option<(u64, Option<u64>, Option<String>)>,
    /// What may be enqueued; none: all.
    pub grants: Option<Vec<Grant>>,
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
        if !self.may_enqueue(&job) {
            return Err(Error::AccessDenied);
        }
        refusals::of_a_setter(&job).map_err(Error::Other)?;
        let bytes = self.enqueued.iter().map(refusals::bytes).sum::<usize>() + refusals::bytes(&job);
        if self.enqueued.len() >= FOLLOW_UPS as usize || bytes > FOLLOW_UP_BYTES {
            return Err(Error::QuotaExceeded);
        }
        refusals::of_the_queue(&job).map_err(Error::Other)?;
        self.enqueued.push(job);
        Ok(format!("{}+{}", self.facts.job_id, self.enqueued.len()))
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

    fn may_enqueue(&self, job: &NewJob) -> bool {
        let (own, queue) = (&self.facts.queue, job.queue.as_ref().unwrap_or(&self.facts.queue));
        // What is no name cannot be granted.
        is_name(&job.kind)
            && is_name(queue)
            && self.grants.as_ref().is_none_or(|grants| {
                grants.iter().any(|grant| grant.kind == job.kind && grant.queue.as_ref().unwrap_or(own) == queue)
            })
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
