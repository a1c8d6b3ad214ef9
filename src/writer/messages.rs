//! The way to the writer: bounded by permits for whoever comes from outside.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Command;
use super::occupied::Occupation;
use super::step::Step;
use crate::error::Error;
use crate::job::ENQUEUE_BYTES_MAX;
use crate::storage::{Prepared, RawTransaction};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel;
use crate::time::Now;

/// Bytes that may wait for the writer, in KiB: a burst beyond it makes producers wait.
const WAITING_KIB_MAX: u32 = 64 << 10;

/// What the smallest submission counts as, so that at most 4,096 wait at once.
const SUBMISSION_KIB_MIN: u32 = WAITING_KIB_MAX / 4_096;

/// One call must not fill it.
const _: () = assert!(ENQUEUE_BYTES_MAX <= (WAITING_KIB_MAX as usize / 2) << 10);

/// Commands in one commit, at most: what has gathered beyond them is the next one's.
const ROUND_COMMANDS_MAX: usize = 4_096;

/// Something for the writer thread.
enum Message {
    /// From outside; the permit is given back when it is taken out.
    Submitted(Command, #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
    /// From the engine itself.
    Internal(Command),
    Lease(Lease),
    /// To be done between two commits.
    Between(Box<dyn FnOnce() + Send>),
    Stop,
}

/// Hands things to the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WriterSender {
    sender: Sender<Message>,
    permits: Arc<Semaphore>,
    closed: Arc<AtomicBool>,
}

/// The writer's end.
pub(crate) struct WriterReceiver {
    receiver: Receiver<Message>,
    held: Option<Message>,
}

/// Tells when something waits for the writer.
pub(crate) struct Wakeup(Receiver<Message>);

/// What the writer does next: one commit, and then perhaps something that stands alone.
pub(crate) struct Round {
    pub commands: Vec<Command>,
    pub then: Then,
}

pub(crate) enum Then {
    Nothing,
    Lease(Lease),
    Between(Box<dyn FnOnce() + Send>),
    Stop,
}

impl Round {
    pub fn of(command: Command) -> Self {
        Self { commands: vec![command], then: Then::Nothing }
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && matches!(self.then, Then::Nothing)
    }
}

pub(crate) fn writer_channel() -> (WriterSender, WriterReceiver) {
    // Unbounded by type, bounded by what goes in: submissions hold permits, and of the engine's own
    // there is at most one per job that was handed out, whose number the scheduler bounds.
    let (sender, receiver) = unbounded();
    let permits = Arc::new(Semaphore::new(WAITING_KIB_MAX as usize));
    (WriterSender { sender, permits, closed: Arc::default() }, WriterReceiver { receiver, held: None })
}

impl WriterSender {
    /// Waits for room and submits.
    pub async fn submit(&self, command: Command, bytes: usize) -> Result<(), Error> {
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(SUBMISSION_KIB_MIN, WAITING_KIB_MAX);
        let permit = self.permits.clone().acquire_many_owned(kib).await.map_err(|_| Error::Closed)?;
        self.message(Message::Submitted(command, permit))
    }

    /// Submits on the engine's behalf. False if the writer is gone.
    pub fn send(&self, command: Command) -> bool {
        self.sender.send(Message::Internal(command)).is_ok()
    }

    /// Nothing waits for the writer. It may be busy with what it took out.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    /// Nothing that came from outside waits for the writer.
    pub fn is_quiet(&self) -> bool {
        self.permits.available_permits() == WAITING_KIB_MAX as usize
    }

    /// So much waits for the writer.
    pub fn len(&self) -> usize {
        self.sender.len()
    }

    pub fn lease(&self, lease: Lease) -> Result<(), Error> {
        self.message(Message::Lease(lease))
    }

    /// Has `job` done by the writer's thread, between two commits.
    pub fn between(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.message(Message::Between(Box::new(job)))
    }

    /// No more submissions; the writer finishes what it has and stops.
    pub fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.permits.close();
            let _ = self.sender.send(Message::Stop);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn message(&self, message: Message) -> Result<(), Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        // What is sent after the stop is answered by the writer's end being dropped.
        self.sender.send(message).map_err(|_| Error::Closed)
    }
}

impl Wakeup {
    /// Waits until there is something to do, no longer than `at_most`.
    pub fn wait(&self, at_most: Option<Duration>) {
        channel::wait_for_message(&self.0, at_most);
    }
}

impl WriterReceiver {
    pub fn wakeup(&self) -> Wakeup {
        Wakeup(self.receiver.clone())
    }

    /// What has gathered, without waiting.
    pub fn gathered(&mut self) -> Round {
        let first = self.held.take().or_else(|| self.receiver.try_recv().ok());
        self.gather(first)
    }

    fn gather(&mut self, mut next: Option<Message>) -> Round {
        let mut round = Round { commands: Vec::new(), then: Then::Nothing };
        while let Some(message) = next {
            match message {
                Message::Submitted(command, _) | Message::Internal(command) => round.commands.push(command),
                Message::Lease(lease) => round.then = Then::Lease(lease),
                Message::Between(job) => round.then = Then::Between(job),
                Message::Stop => round.then = Then::Stop,
            }
            if !matches!(round.then, Then::Nothing) || round.commands.len() >= ROUND_COMMANDS_MAX {
                break;
            }
            next = self.receiver.try_recv().ok();
        }
        round
    }

    /// Something was taken out that stands alone, and waits for the next round.
    pub fn has_put_off(&self) -> bool {
        self.held.is_some()
    }

    /// So much has gathered.
    pub fn len(&self) -> usize {
        self.receiver.len() + usize::from(self.held.is_some())
    }

    /// More of what has gathered, for a round that lingers. Stops at whatever stands alone.
    pub fn gather_more(&mut self, round: &mut Round) {
        while self.held.is_none() && round.commands.len() < ROUND_COMMANDS_MAX {
            match self.receiver.try_recv() {
                Ok(Message::Submitted(command, _) | Message::Internal(command)) => round.commands.push(command),
                Ok(other) => self.held = Some(other),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    /// Puts the stop back: it is for the next round. Nothing is taken out behind it.
    pub fn stop_later(&mut self) {
        self.held = Some(Message::Stop);
    }

    /// What came after the stop.
    pub fn leftovers(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for message in self.held.take().into_iter().chain(self.receiver.try_iter()) {
            match message {
                Message::Submitted(command, _) | Message::Internal(command) => commands.push(command),
                Message::Lease(lease) => lease.refuse(Error::Closed),
                Message::Between(_) | Message::Stop => {}
            }
        }
        commands
    }
}

type Loan = (RawTransaction, Now, u64, Sender<Option<Leased>>);

/// A request for the write transaction itself.
pub(crate) struct Lease {
    give: oneshot::Sender<Result<Loan, Error>>,
}

/// A transaction that comes back to be committed.
pub(crate) struct Leased {
    pub txn: RawTransaction,
    pub jobs: Vec<Prepared>,
    pub answer: Box<dyn Step>,
}

impl Lease {
    pub fn new() -> (Self, oneshot::Receiver<Result<Loan, Error>>) {
        let (give, take) = oneshot::channel();
        (Self { give }, take)
    }

    pub fn refuse(self, error: Error) {
        let _ = self.give.send(Err(error));
    }

    /// Gives the transaction away.
    pub fn lend(self, txn: RawTransaction, now: Now, next_id: u64, occupation: Occupation) -> Lent {
        let (back, returned) = channel::bounded(1);
        // A caller that no longer waits drops the transaction, and with it the way back.
        let _ = self.give.send(Ok((txn, now, next_id, back)));
        Lent { returned, _occupation: occupation }
    }
}

/// A transaction that a caller has.
pub(crate) struct Lent {
    returned: Receiver<Option<Leased>>,
    _occupation: Occupation,
}

impl Lent {
    /// Waits until it comes back: to be committed, or undone (`None`).
    ///
    /// # Errors
    /// That it did not within this time.
    pub fn wait(&self, at_most: Duration) -> Result<Option<Leased>, StillLent> {
        match self.returned.recv_timeout(at_most) {
            Ok(leased) => Ok(leased),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(StillLent),
        }
    }
}

/// The caller still has it.
pub(crate) struct StillLent;
