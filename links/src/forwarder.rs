//! Sends batches of jobs, so that each job is sent once whatever fails.
//!
//! Batches of a queue are numbered. The engine keeps the number of the latest one, the *cursor*, and stores a batch only if the
//! cursor is the one that is expected. The file keeps what it is about to send before it sends it, and what was acknowledged. So
//! after any failure a look at the cursor tells whether the latest batch was stored.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::{FileIdentity, JobId, JobInfo, Jobs, Millpond, Outcome, Payload, State, Verdicts};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

use crate::bandwidth::Bandwidth;
use crate::forward::has_stopped;
use crate::link::Told;
use crate::rows::{self, Kept, Sending, Sent};
use crate::{Append, Batch, Destination, Envelope, InDoubt, Log, Origin, Unavailable};

/// How long a batch is kept after it was acknowledged. NATS JetStream acknowledges before it syncs its file, which it does every two
/// minutes by default.
const KEEP: Duration = Duration::from_secs(180);

/// The most bytes of a batch, unless one job alone has more.
const BATCH_BYTES: usize = 8 << 20;

/// How often a batch is tried whose cursor was not the expected one, before the jobs go back to their queue.
const TRIES: usize = 3;

/// Why a batch was not sent. Its jobs are tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    InDoubt(#[from] InDoubt),
    #[error("the link was stopped")]
    Stopped,
    #[error("the cursor of this queue changes all the time: is another process sending from a copy of this file?")]
    Contended,
    #[error(transparent)]
    Queue(#[from] millpond::Error),
}

pub(crate) struct Forwarder<L> {
    pub pond: Millpond,
    pub log: L,
    pub to: Destination,
    /// Under which name the file keeps what was sent: another destination begins anew.
    pub link: String,
    pub told: Told,
    /// Notified when the engine does not answer.
    pub offline: Notify,
    /// Whether a batch was stored since this was last looked at.
    pub has_sent: AtomicBool,
    pub stopped: watch::Receiver<bool>,
    pub known: Mutex<Known>,
}

/// What is done with the jobs of one call.
#[derive(Default)]
struct Done {
    /// Those that were sent, and those that are not to be sent.
    sent: HashSet<JobId>,
    /// Those that cannot be sent, with the reason.
    refused: Vec<(JobId, String)>,
}

/// What is known of the batches that were sent.
pub(crate) struct Known {
    /// The identity of the file.
    pub identity: FileIdentity,
    /// Under which identity batches are numbered. It is another one than that of the file if the file is a copy.
    pub origin: Origin,
    pub sent: Sent,
    /// The revision of the engine's cursor. `None`: the cursor is to be read first.
    pub revision: Option<u64>,
    /// How fast it may send, if there is a limit.
    pub bandwidth: Option<Bandwidth>,
}

impl<L: Log> Forwarder<L> {
    /// Sends the jobs of one call of the batch handler.
    pub async fn handle(&self, jobs: Jobs<Payload>) -> Verdicts {
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id()).collect();
        let mut done = Done::default();
        let sent = self.send(&ids, &mut done).await;
        let Done { sent: done, refused } = done;
        let mut verdicts: Verdicts =
            refused.into_iter().map(|(id, reason)| (id, Outcome::dead_letter(reason))).collect();
        match sent {
            Ok(()) => self.told.change(|state| state.connected = true),
            Err(failed) => {
                if !matches!(failed, Failed::Stopped) {
                    self.told.failed(&failed);
                    self.offline.notify_one();
                }
                // The others are back at their places without a write for each, as if they had not started: they still expire.
                for id in ids.into_iter().filter(|id| !done.contains(id)) {
                    verdicts.set(id, Outcome::rate_limited_queue(Outcome::SNOOZE_MIN));
                }
            }
        }
        verdicts
    }

    /// Reads the engine's cursor, if it is not known.
    pub async fn connect(&self) -> Result<(), Failed> {
        let mut known = self.known.lock().await;
        self.revision(&mut known).await.map(drop)
    }

    /// Sends those of the jobs that were not sent, and notes what is done with which of them.
    async fn send(&self, ids: &[JobId], done: &mut Done) -> Result<(), Failed> {
        let known = &mut *self.known.lock().await;
        let mut tries = TRIES;
        while tries > 0 {
            let expected = self.revision(known).await?;
            let number = known.sent.batch + 1;
            let left = ids.iter().copied().filter(|id| !done.sent.contains(id)).collect();
            let (mut jobs, mut envelopes, most) = (Vec::new(), Vec::new(), self.log.limits().envelope_bytes);
            let (mut size, limit) = (0, known.bandwidth.as_ref().map_or(BATCH_BYTES, Bandwidth::batch_bytes));
            for job in self.jobs(left).await? {
                let envelope = Envelope::of(&job, &known.origin, &self.to, number, envelopes.len());
                let (bytes, checksum) = (envelope.bytes(), envelope.checksum());
                if known.sent.jobs.get(&job.id.get()) == Some(&checksum) {
                    done.sent.insert(job.id);
                } else if let Err(reason) = self.to.takes(&job, &envelope, most) {
                    done.sent.insert(job.id);
                    done.refused.push((job.id, reason));
                } else if envelopes.is_empty() || size + bytes <= limit.min(BATCH_BYTES) {
                    jobs.push((job.id.get(), checksum));
                    envelopes.push(envelope);
                    size += bytes;
                } else {
                    // The rest goes with the next batch.
                    break;
                }
            }
            if envelopes.is_empty() {
                return Ok(());
            }
            self.wait_for_bandwidth(known, size).await?;
            let sending = Sending { jobs };
            let (ids, hash) = (sending.ids(), sending.hash());
            known.sent.sends(sending.clone());
            rows::put_sent(&self.pond, &self.link, &known.sent).await?;
            self.told.change(|state| state.in_doubt = ids.len() as u64);
            let batch = Batch { number, ids: &ids, hash, envelopes: &envelopes };
            let stored = self.log.append(&self.to, &known.origin, expected, batch).await;
            match stored {
                Ok(Append::Stored(revision)) => {
                    let count = envelopes.len() as u64;
                    let stored: Vec<JobId> = ids.iter().copied().map(JobId::new).collect();
                    self.acknowledged(known, number, sending, Some(envelopes)).await?;
                    done.sent.extend(stored);
                    known.revision = Some(revision);
                    self.has_sent.store(true, Ordering::Relaxed);
                    self.told.change(|state| state.jobs += count);
                    tries = TRIES;
                }
                Ok(Append::Stale) => {
                    known.revision = None;
                    tries -= 1;
                }
                Err(in_doubt) => {
                    known.revision = None;
                    return Err(in_doubt.into());
                }
            }
        }
        Err(Failed::Contended)
    }

    /// Waits until a batch of so many bytes may be sent.
    async fn wait_for_bandwidth(&self, known: &mut Known, bytes: usize) -> Result<(), Failed> {
        let Some(bandwidth) = &mut known.bandwidth else { return Ok(()) };
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = tokio::time::sleep(bandwidth.wait(Instant::now())) => {}
            () = has_stopped(&mut stopped) => return Err(Failed::Stopped),
        }
        bandwidth.sent(bytes, Instant::now());
        Ok(())
    }

    /// The engine has stored this batch. The envelopes are kept, if they are known.
    async fn acknowledged(
        &self,
        known: &mut Known,
        number: u64,
        batch: Sending,
        envelopes: Option<Vec<Envelope>>,
    ) -> Result<(), Failed> {
        // Until this is durable, the cursor has to be read.
        known.revision = None;
        let (hash, ids) = (batch.hash(), batch.ids());
        let mut jobs = self.unfinished(&known.sent.jobs).await?;
        jobs.extend(batch.jobs);
        let sent = Sent { batch: number, hash, jobs, sending: Vec::new(), ..known.sent };
        let now = self.pond.now().as_millis();
        let kept = envelopes.map(|envelopes| Kept { number, at: now, ids, hash, envelopes });
        let forget_before = now.saturating_sub(KEEP.as_millis() as u64);
        rows::acknowledge(&self.pond, &self.link, &sent, kept.as_ref(), forget_before).await?;
        known.sent = sent;
        self.told.change(|state| (state.position, state.in_doubt) = (Some(number), 0));
        Ok(())
    }

    /// The revision of the engine's cursor. If it is not known, the cursor is read and compared with what was sent.
    async fn revision(&self, known: &mut Known) -> Result<u64, Failed> {
        for _ in 0..TRIES {
            if let Some(revision) = known.revision {
                return Ok(revision);
            }
            self.compare(known).await?;
        }
        known.revision.ok_or(Failed::Contended)
    }

    /// Reads the engine's cursor and compares it with what was sent. Its revision is known then, unless the file begins anew.
    async fn compare(&self, known: &mut Known) -> Result<(), Failed> {
        let cursor = self.log.cursor(&self.to, &known.origin).await?;
        self.told.change(|state| state.connected = true);
        let Known { identity, origin, sent, .. } = &*known;
        let (batch, hash, revision) = cursor.as_ref().map_or((0, 0, 0), |at| (at.batch, at.hash, at.revision));
        let in_doubt = cursor.as_ref().filter(|at| at.batch == sent.batch + 1).and_then(|at| sent.in_doubt(at));
        let is_copy = (identity.id, identity.incarnation) != (origin.file, origin.incarnation);
        if let Some(stored) = in_doubt.cloned() {
            self.told.change(|state| state.known += stored.jobs.len() as u64);
            let envelopes = self.made_again(known, batch, &stored).await?;
            self.acknowledged(known, batch, stored, envelopes).await?;
            known.revision = Some(revision);
        } else if batch == sent.batch && (batch == 0 || hash == sent.hash) {
            known.revision = Some(revision);
        } else if batch < sent.batch {
            tracing::warn!(
                queue = origin.queue,
                to = %self.to,
                has = batch,
                had = sent.batch,
                "the engine has lost what it had acknowledged: what is kept here is sent again"
            );
            self.send_again(known, batch, revision).await?;
        } else {
            // Another file has sent under this identity. What that has sent may be other jobs than those that were sent here.
            if !is_copy {
                known.identity = self.pond.begin_incarnation(known.origin.incarnation).await?;
            }
            return self.begin_anew(known, BTreeMap::new()).await;
        }
        // The cursor has told what became of the latest batch.
        self.told.change(|state| (state.position, state.in_doubt) = (Some(known.sent.batch), 0));
        if is_copy {
            // A backup. The engine has what the file has sent until it was copied, so these jobs are not sent again.
            let sent = known.sent.jobs.clone();
            return self.begin_anew(known, sent).await;
        }
        Ok(())
    }

    /// The envelopes of a batch that was sent before, to be kept, if they can be made again as they were: its jobs may have been
    /// changed or cancelled since.
    async fn made_again(&self, known: &Known, number: u64, batch: &Sending) -> Result<Option<Vec<Envelope>>, Failed> {
        let jobs = self.jobs(batch.jobs.iter().map(|(id, _)| JobId::new(*id)).collect()).await?;
        let envelope = |(index, job)| Envelope::of(job, &known.origin, &self.to, number, index);
        let envelopes: Vec<Envelope> = jobs.iter().enumerate().map(envelope).collect();
        let made = jobs.iter().zip(&envelopes).map(|(job, envelope)| (job.id.get(), envelope.checksum()));
        Ok(made.eq(batch.jobs.iter().copied()).then_some(envelopes))
    }

    /// The file is a copy of another one, which may go on sending: from now on its batches are numbered anew under its present identity.
    /// All jobs that it still has are sent, except `sent`.
    async fn begin_anew(&self, known: &mut Known, sent: BTreeMap<u64, u32>) -> Result<(), Failed> {
        let anew = Sent::nothing(known.identity, sent);
        rows::start_anew(&self.pond, &self.link, &anew).await?;
        tracing::warn!(
            queue = known.origin.queue,
            to = %self.to,
            incarnation = anew.incarnation,
            "this file is an older copy of one that may have sent more: jobs that it still has are sent again"
        );
        self.told.change(|state| state.file_went_back += 1);
        (known.origin.file, known.origin.incarnation) = (anew.file, anew.incarnation);
        (known.sent, known.revision) = (anew, None);
        Ok(())
    }

    /// Sends the batches again that the engine has lost. It has this one, at this revision.
    async fn send_again(&self, known: &mut Known, has: u64, mut revision: u64) -> Result<(), Failed> {
        let (mut lost, mut at) = (known.sent.batch - has, has);
        // One after another: all that are kept may be more than fits into memory.
        while let Some(kept) = rows::kept_behind(&self.pond, &self.link, at).await? {
            let Kept { number, ids, hash, envelopes, .. } = &kept;
            let batch = Batch { number: *number, ids, hash: *hash, envelopes };
            match self.log.append(&self.to, &known.origin, revision, batch).await? {
                Append::Stored(new) => (revision, lost, at) = (new, lost.saturating_sub(1), *number),
                Append::Stale => return Ok(()),
            }
        }
        if lost > 0 {
            tracing::error!(
                queue = known.origin.queue,
                lost,
                "batches that the engine has lost are not kept here any more"
            );
        }
        self.told.change(|state| {
            state.engine_went_back += 1;
            state.lost_batches += lost;
        });
        known.revision = Some(revision);
        Ok(())
    }

    /// The jobs that are in the file, in this order.
    async fn jobs(&self, ids: Vec<JobId>) -> Result<Vec<JobInfo>, millpond::Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let jobs = self.pond.read(move |pond| {
            let jobs = ids.into_iter().map(|id| pond.job(id));
            jobs.filter(|job| !matches!(job, Err(millpond::Error::NoSuchJob { .. }))).collect()
        });
        jobs.await
    }

    /// Those of these jobs that have not ended in the file.
    async fn unfinished(&self, sent: &BTreeMap<u64, u32>) -> Result<BTreeMap<u64, u32>, millpond::Error> {
        let jobs = self.jobs(sent.keys().copied().map(JobId::new).collect()).await?;
        let waits = |job: &&JobInfo| !matches!(job.state, State::Completed | State::Cancelled | State::Dead);
        let waiting = jobs.iter().filter(waits).map(|job| job.id.get());
        Ok(waiting.filter_map(|id| Some((id, *sent.get(&id)?))).collect())
    }
}
