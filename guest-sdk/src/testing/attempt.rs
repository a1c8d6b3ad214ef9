//! What belongs to one attempt of a job.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
#[cfg(feature = "outbound-http")]
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::host::Line;
use super::overlay::Overlay;
use crate::enqueue::{Error, NewJob};
#[cfg(feature = "outbound-http")]
use crate::http;
use crate::log::Level;

#[cfg(feature = "outbound-http")]
pub(crate) type Web = Rc<dyn Fn(&http::Request) -> Result<http::Response, http::Error>>;

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
    /// None: the real one.
    pub now: Option<SystemTime>,
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
            now: None,
            seed: None,
        }
    }
}

#[derive(Default)]
pub(crate) struct Attempt {
    pub facts: Facts,
    pub config: BTreeMap<String, String>,
    pub state: Overlay,
    pub logs: Vec<Line>,
    pub enqueued: Vec<NewJob>,
    pub progress: Option<(u64, Option<u64>, Option<String>)>,
    /// The kinds that may be enqueued; none: all.
    pub kinds: Option<Vec<String>>,
    /// Jobs that the attempts before have enqueued: ids go on from there.
    pub before: usize,
    /// What the random numbers are made from.
    pub random: Option<u64>,
    #[cfg(feature = "outbound-http")]
    pub web: Option<Web>,
}

impl Attempt {
    pub fn log(&mut self, level: Level, line: &str) {
        self.logs.push(Line { level, text: line.to_owned() });
    }

    pub fn enqueue(&mut self, job: NewJob) -> Result<String, Error> {
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&job.kind)) {
            return Err(Error::AccessDenied);
        }
        if let Some(priority) = job.priority.filter(|priority| *priority > 9) {
            return Err(Error::Other(format!("priority {priority} is not from 0 to 9")));
        }
        if job.max_attempts == Some(0) {
            return Err(Error::Other("0 attempts are none".into()));
        }
        self.enqueued.push(job);
        Ok(format!("follow-up-{}", self.before + self.enqueued.len()))
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
