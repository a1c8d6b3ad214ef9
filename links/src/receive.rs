//! Receives a mailbox: its jobs are enqueued into a queue of this file.

use std::time::Duration;

use millpond::{LinkDirection, Millpond};
use tokio::sync::watch;

use crate::arrived::Arrived;
use crate::error::Error;
use crate::forward::{Pause, has_stopped};
use crate::link::{self, Link, Told};
use crate::{Log, Mailbox, Read, rows};

/// Enqueues the jobs of a mailbox into a queue. See the [crate](crate).
///
/// A position, the number of the latest batch of each origin, and the jobs are stored in one commit. So a job arrives once, also if the
/// process or the engine stops at any moment.
///
/// It reads only while fewer jobs than the [mark](Self::unfinished_max) wait in the queue. An envelope that can never be a job becomes
/// a job of kind `unreadable` in the queue whose name has `.unreadable` behind it, with its bytes as they are. One that a newer version
/// of this crate has written stops the link, with an error that says so: it is not skipped.
#[must_use = "nothing is received before it is started"]
pub struct Receive<L> {
    pond: Millpond,
    queue: String,
    log: L,
    mailbox: Mailbox,
    batch: usize,
    unfinished_max: u64,
}

impl<L: Log> Receive<L> {
    /// The most jobs that are read at once, if nothing else is said.
    pub const BATCH_DEFAULT: usize = 500;

    /// How many jobs wait in the queue, at most, before reading stops, if nothing else is said.
    pub const UNFINISHED_MAX_DEFAULT: u64 = 10_000;

    /// Receives the partitions that `mailbox` says, into this queue.
    pub fn new(pond: &Millpond, queue: impl Into<String>, log: &L, mailbox: Mailbox) -> Self {
        let (pond, queue, log) = (pond.clone(), queue.into(), log.clone());
        let (batch, unfinished_max) = (Self::BATCH_DEFAULT, Self::UNFINISHED_MAX_DEFAULT);
        Self { pond, queue, log, mailbox, batch, unfinished_max }
    }

    /// The most jobs that are read at once, and stored in one commit.
    pub fn batch(mut self, jobs: usize) -> Self {
        self.batch = jobs.max(1);
        self
    }

    /// Reads nothing while so many jobs have not ended in the queue.
    pub fn unfinished_max(mut self, jobs: u64) -> Self {
        self.unfinished_max = jobs;
        self
    }

    /// Starts to receive. The engine need not answer yet.
    ///
    /// # Errors
    /// [`Error::Queue`] if the name of the queue is not valid, or too long with `.unreadable` behind it.
    pub fn start(self) -> Result<Link, Error> {
        self.pond.queue(&format!("{}.unreadable", self.queue))?;
        let remote = link::read_of(&self.mailbox);
        let guard = link::register(&self.pond, &self.queue, LinkDirection::Receive, remote, self.log.name())?;
        let (stop, mut stopped) = watch::channel(false);
        let receiver = Receiver { of: self, told: Told::of(&guard) };
        let task = tokio::spawn(async move {
            let run = receiver.run();
            tokio::select! {
                () = run => {}
                () = has_stopped(&mut stopped) => {}
            }
        });
        Ok(Link::new(guard, stop, task))
    }
}

/// The most bytes of jobs that are stored in one commit, unless one job alone has more.
const COMMIT_BYTES: usize = 8 << 20;

struct Receiver<L> {
    of: Receive<L>,
    told: Told,
}

/// Why a link does not go on.
enum Halt {
    Closed,
    Newer(String),
}

impl<L: Log> Receiver<L> {
    async fn run(self) {
        let Receive { pond, log, mailbox, batch, .. } = &self.of;
        let mut pause = Pause::default();
        let mut position = None;
        loop {
            if self.is_full() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            let after = match position {
                Some(position) => position,
                None => match rows::position(pond, &mailbox.position_name()).await {
                    Ok(stored) => {
                        self.told.change(|state| state.position = Some(stored));
                        *position.insert(stored)
                    }
                    Err(millpond::Error::Closed) => return,
                    Err(error) => {
                        self.told.failed(&error);
                        tokio::time::sleep(pause.next()).await;
                        continue;
                    }
                },
            };
            let read = match log.read(mailbox, after, *batch).await {
                Ok(read) => read,
                Err(error) => {
                    self.told.failed(&error);
                    tokio::time::sleep(pause.next()).await;
                    continue;
                }
            };
            self.told.change(|state| (state.connected, state.lag) = (true, read.behind));
            if read.end < after {
                tracing::warn!(
                    mailbox = mailbox.name(),
                    at = after,
                    end = read.end,
                    "the engine has lost what was read from it: the mailbox is read from its start"
                );
                self.told.change(|state| state.engine_went_back += 1);
                position = Some(0);
                continue;
            }
            match self.store(read).await {
                Ok(last) => (position, pause) = (last.or(position), Pause::default()),
                Err(Ok(Halt::Closed)) => return,
                Err(Ok(Halt::Newer(version))) => {
                    let reason = format!("a job has headers of version {version}: update this machine first");
                    tracing::error!(
                        mailbox = mailbox.name(),
                        version,
                        "the link has stopped: update this machine first"
                    );
                    self.told.failed(&reason);
                    return;
                }
                Err(Err(error)) => {
                    self.told.failed(&error);
                    position = None;
                    tokio::time::sleep(pause.next()).await;
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        let Ok(queue) = self.of.pond.queue(&self.of.queue) else { return false };
        queue.counts().unfinished() >= self.of.unfinished_max
    }

    /// Stores what was read. Returns the position behind it.
    async fn store(&self, read: Read) -> Result<Option<u64>, Result<Halt, millpond::Error>> {
        let (mut arrived, mut bytes) = (Vec::with_capacity(read.envelopes.len()), 0);
        let (mut newer, mut last) = (None, None);
        for (position, envelope) in read.envelopes {
            // A commit has a limit, and the jobs of one must fit into memory.
            if bytes > 0 && bytes + envelope.bytes() > COMMIT_BYTES {
                self.commit(std::mem::take(&mut arrived), last).await?;
                bytes = 0;
            }
            bytes += envelope.bytes();
            match Arrived::of(&envelope) {
                Ok(job) => arrived.push(job),
                Err(version) => {
                    newer = Some(version);
                    break;
                }
            }
            last = Some(position);
        }
        self.commit(arrived, last).await?;
        newer.map_or(Ok(last), |version| Err(Ok(Halt::Newer(version))))
    }

    /// Stores jobs and the position behind them in one commit.
    async fn commit(&self, arrived: Vec<Arrived>, last: Option<u64>) -> Result<(), Result<Halt, millpond::Error>> {
        let Some(position) = last else { return Ok(()) };
        let (queue, mailbox) = (self.of.queue.clone(), self.of.mailbox.position_name());
        let stored = self.of.pond.transaction(move |tx| {
            let (mut jobs, mut known, mut unreadable) = (0, 0, 0);
            for job in &arrived {
                if let Some((origin, batch, index)) = &job.source
                    && !rows::arrives(tx, &mailbox, (origin, *batch, *index))?
                {
                    known += 1;
                    continue;
                }
                match job.store(tx, &queue)? {
                    Some(_) => jobs += 1,
                    None => unreadable += 1,
                }
            }
            rows::set_position(tx, &mailbox, position)?;
            Ok((jobs, known, unreadable))
        });
        let stored = stored.await.map_err(|error| match error {
            millpond::Error::Closed => Ok(Halt::Closed),
            other => Err(other),
        });
        let (jobs, known, unreadable) = stored?;
        self.told.change(|state| {
            state.jobs += jobs;
            state.known += known;
            state.unreadable += unreadable;
            state.position = Some(position);
        });
        Ok(())
    }
}
