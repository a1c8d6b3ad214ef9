//! What is known of a link.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::job::check_name;
use crate::text::cut;
use crate::time::Timestamp;

/// Bytes of what a link says of the other side, at most: longer texts are cut.
const REMOTE_BYTES_MAX: usize = 256;

/// What a link does with the jobs of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkDirection {
    /// It sends the jobs of the queue elsewhere. It is the queue's worker.
    Forward,
    /// It enqueues jobs into the queue that were sent from elsewhere.
    Receive,
    /// It enqueues jobs into the queue that several machines share: it has a lease of each until the job has ended here.
    Take,
}

impl LinkDirection {
    /// Its name: `forward`, `receive` or `take`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Receive => "receive",
            Self::Take => "take",
        }
    }
}

/// [`as_str`](LinkDirection::as_str).
impl fmt::Display for LinkDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A link that runs in this process: it moves jobs between a queue and other machines, over an engine such as NATS JetStream.
/// [`Millpond::links`](crate::Millpond::links) returns these.
///
/// In its serialized form, the fields of [`state`](Self::state) are beside the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LinkInfo {
    /// Its name, which no other link of the process has: where its jobs come from, and where they go, such as `readings -> hub`.
    pub name: String,
    /// The queue of this file.
    pub queue: String,
    /// What it does with the jobs of the queue.
    pub direction: LinkDirection,
    /// The other side: a mailbox or a shared queue.
    pub remote: String,
    /// The engine between the two, such as `NATS JetStream`.
    pub engine: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// What has become of it since then.
    #[serde(flatten)]
    pub state: LinkState,
}

impl LinkInfo {
    /// A link to be [registered](crate::Millpond::register_link). Texts for `remote` and `engine` of more than 256 bytes are cut.
    ///
    /// # Errors
    /// [`Error::InvalidName`] if the name of the queue is not valid.
    pub fn new(
        queue: impl Into<String>,
        direction: LinkDirection,
        remote: impl Into<String>,
        engine: impl Into<String>,
    ) -> Result<Self, Error> {
        let queue = queue.into();
        check_name("queue", &queue)?;
        let [remote, engine] = [remote.into(), engine.into()].map(|text| cut(text, REMOTE_BYTES_MAX));
        let name = match direction {
            LinkDirection::Forward => format!("{queue} -> {remote}"),
            LinkDirection::Receive | LinkDirection::Take => format!("{remote} -> {queue}"),
        };
        Ok(Self {
            name,
            queue,
            direction,
            remote,
            engine,
            started_at: Timestamp::default(),
            state: LinkState::default(),
        })
    }

    /// Whether the link is the one that the jobs of this queue wait for.
    pub(crate) fn forwards(&self, queue: &str) -> bool {
        self.direction == LinkDirection::Forward && self.queue == queue
    }
}

/// What has become of a link since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LinkState {
    /// Whether the engine has answered the latest call.
    pub connected: bool,
    /// Since when it answers, or does not. `None`: nothing is known yet. The link does not set this.
    pub since: Option<Timestamp>,
    /// The latest error, also after the engine has answered again.
    pub last_error: Option<String>,
    /// When that was. The link does not set this.
    pub last_error_at: Option<Timestamp>,
    /// Jobs that were sent and that the engine has confirmed, or that were received and stored here.
    pub jobs: u64,
    /// When [`jobs`](Self::jobs) has last changed. The link does not set this.
    pub latest_at: Option<Timestamp>,
    /// How far it is. Of a link that sends: the number of the latest batch that the engine has confirmed. Of others: the position in
    /// the engine's log up to which everything is stored here. `None` if there is no such number, or it is not known yet.
    pub position: Option<u64>,
    /// How many jobs are still to be moved. Of a link that sends these are the jobs of the queue that have not ended, if the link
    /// says nothing else. `None` if it is not known.
    pub lag: Option<u64>,
    /// Jobs of the batch that is being sent: nobody knows yet whether the engine has them.
    pub in_doubt: u64,
    /// Jobs that were sent or received again, and were known already.
    pub known: u64,
    /// How often the engine had lost what it had acknowledged.
    pub engine_went_back: u64,
    /// How often this file was found to be an older copy.
    pub file_went_back: u64,
    /// Batches that the engine has lost and that were not kept here any more.
    pub lost_batches: u64,
    /// Messages that could not be read as jobs.
    pub unreadable: u64,
    /// Jobs that this process holds by leases.
    pub held: u64,
    /// Leases that have ended before their jobs.
    pub lost_leases: u64,
}
