//! The channel to the writer. Permits bound what callers from outside the engine can put into it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::command::Command;
use super::lease::Lease;
use crate::error::Error;
use crate::job::ENQUEUE_BYTES_MAX;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{self, Receiver, Sender, TryRecvError, unbounded};

/// How many KiB may wait for the writer. A burst beyond it makes producers wait.
const WAITING_KIB_MAX: u32 = 64 << 10;

/// The least that one submission counts as, in KiB, so that at most 4,096 wait at once.
const SUBMISSION_KIB_MIN: u32 = WAITING_KIB_MAX / 4_096;

/// One call must not use up all permits.
const _: () = assert!(ENQUEUE_BYTES_MAX <= (WAITING_KIB_MAX as usize / 2) << 10);

/// How many commands one commit takes. Further commands wait for the next commit. The ends of a batch, which belong together, may
/// exceed it.
const ROUND_COMMANDS_MAX: usize = 4_096;

/// A message for the writer thread.
enum Message {
    /// From outside; the permit is returned when the message is received.
    Submitted(Command, #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
    /// From the engine itself.
    Internal(Command),
    /// From the engine itself, for one commit.
    Together(Vec<Command>),
    Lease(Lease),
    /// A function to run between two commits.
    Between(Box<dyn FnOnce() + Send>),
    Stop,
}

/// Sends messages to the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WriterSender {
    sender: Sender<Message>,
    permits: Arc<Semaphore>,
    closed: Arc<AtomicBool>,
}

/// The writer's end of the channel.
pub(crate) struct WriterReceiver {
    receiver: Receiver<Message>,
    held: Option<Message>,
}

/// Waits until there is a message for the writer.
pub(crate) struct Wakeup(Receiver<Message>);

/// What the writer does next: one commit, and then perhaps something that is not part of a commit.
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
    // The channel itself is unbounded, its content is not: submissions hold permits, and the engine sends at most one
    // message for each job that was handed out, whose number the scheduler bounds.
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

    /// Sends a command of the engine itself, without a permit. Returns false if the writer is gone.
    pub fn send(&self, command: Command) -> bool {
        self.sender.send(Message::Internal(command)).is_ok()
    }

    /// Sends commands of the engine itself that belong to one commit.
    pub fn send_together(&self, commands: Vec<Command>) {
        if !commands.is_empty() {
            let _ = self.sender.send(Message::Together(commands));
        }
    }

    /// Whether no message waits for the writer. It can still be busy with messages that it has received.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    /// Whether no submission from outside waits for the writer.
    pub fn is_quiet(&self) -> bool {
        self.permits.available_permits() == WAITING_KIB_MAX as usize
    }

    /// How many messages wait for the writer.
    pub fn len(&self) -> usize {
        self.sender.len()
    }

    pub fn lease(&self, lease: Lease) -> Result<(), Error> {
        self.message(Message::Lease(lease))
    }

    /// Runs `job` on the writer's thread, between two commits.
    pub fn between(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.message(Message::Between(Box::new(job)))
    }

    /// Refuses further submissions; the writer commits what it has and stops.
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
        // A message behind the stop is answered when the receiver is dropped.
        self.sender.send(message).map_err(|_| Error::Closed)
    }
}

impl Wakeup {
    /// Waits until there is a message, no longer than `at_most`.
    pub fn wait(&self, at_most: Option<Duration>) {
        channel::wait_for_message(&self.0, at_most);
    }
}

impl WriterReceiver {
    pub fn wakeup(&self) -> Wakeup {
        Wakeup(self.receiver.clone())
    }

    /// Receives the messages that have gathered, without waiting.
    pub fn gathered(&mut self) -> Round {
        let first = self.held.take().or_else(|| self.receiver.try_recv().ok());
        self.gather(first)
    }

    fn gather(&mut self, mut next: Option<Message>) -> Round {
        let mut round = Round { commands: Vec::new(), then: Then::Nothing };
        while let Some(message) = next {
            match message {
                Message::Submitted(command, _) | Message::Internal(command) => round.commands.push(command),
                Message::Together(commands) => round.commands.extend(commands),
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

    /// Whether a received message waits for the next round.
    pub fn has_put_off(&self) -> bool {
        self.held.is_some()
    }

    /// How many messages have gathered.
    pub fn len(&self) -> usize {
        self.receiver.len() + usize::from(self.held.is_some())
    }

    /// Adds more commands that have gathered to a round. Stops at a message that is not a command.
    pub fn gather_more(&mut self, round: &mut Round) {
        while self.held.is_none() && round.commands.len() < ROUND_COMMANDS_MAX {
            match self.receiver.try_recv() {
                Ok(Message::Submitted(command, _) | Message::Internal(command)) => round.commands.push(command),
                Ok(Message::Together(together)) => round.commands.extend(together),
                Ok(other) => self.held = Some(other),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    /// Puts the stop back for the next round. Messages behind it are not received before that.
    pub fn stop_later(&mut self) {
        self.held = Some(Message::Stop);
    }

    /// Receives the commands behind the stop.
    pub fn leftovers(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for message in self.held.take().into_iter().chain(self.receiver.try_iter()) {
            match message {
                Message::Submitted(command, _) | Message::Internal(command) => commands.push(command),
                Message::Together(together) => commands.extend(together),
                Message::Lease(lease) => lease.refuse(Error::Closed),
                Message::Between(_) | Message::Stop => {}
            }
        }
        commands
    }
}
