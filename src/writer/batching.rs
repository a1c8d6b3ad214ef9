//! Fills a batch: each command writes, waits for room in a full queue, waits for another batch, or fails.

use std::collections::BTreeSet;

use super::command::{Command, all_of};
use super::jobs::take_rows_out;
use super::occupied::Occupant;
use super::state::Writer;
use super::step::{Refusal, Step};
use super::undone::UndoneBatch;
use crate::error::Error;
use crate::error::panics::drop_quietly;
use crate::job::QueueId;
use crate::storage::Batch;
use crate::transaction::Prepare;

/// What happens to the commands behind the one because of which a batch is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// The commands that run code of the application are called, to find out which of them fail too.
    Called,
    /// None of them is called.
    Left,
}

/// The result of filling a batch.
pub(super) enum Gathered {
    /// Every command was handled: it has written, was refused before it wrote, or was put off.
    All {
        done: Vec<Command>,
        refused: Vec<(Command, Error)>,
        /// Commands for which the batch had no room.
        put_off: Vec<Command>,
    },
    Undo(UndoneBatch),
    Failed(Vec<Command>, Error),
}

impl Gathered {
    pub(super) fn commands(self) -> Vec<Command> {
        match self {
            Self::All { done, refused, put_off } => all_of(done, refused, put_off),
            Self::Undo(undone) => undone.into_storage_failure().0,
            Self::Failed(commands, _) => commands,
        }
    }
}

/// The result of one command in a batch.
enum Applied {
    Done,
    /// Refused, and nothing of it is in the batch.
    Refused(Error),
    /// Refused after it had written: the batch must be undone.
    FailedAfterWrites(Error),
    /// This queue is full, and the caller wants to wait.
    Later(QueueId),
}

impl Writer {
    /// Lets each command write. A command that finds its queue full waits for room.
    pub(super) fn gather(&mut self, mut commands: Vec<Command>, batch: &mut Batch<'_>, behind: Behind) -> Gathered {
        if let Err(error) = take_rows_out(&mut commands, batch) {
            return Gathered::Failed(commands, error);
        }
        let mut done = Vec::with_capacity(commands.len());
        let (mut refused, mut put_off) = (Vec::new(), Vec::new());
        // Callers that wait already were in a try of this batch that was undone: they stay first in order.
        let mut full: BTreeSet<QueueId> = self.waiting.queues().collect();
        let mut rest = commands.into_iter();
        while let Some(mut command) = rest.next() {
            if command.waits_for_another(batch) {
                tracing::trace!("a command waits for the next batch");
                put_off.push(command);
                continue;
            }
            // A command waits behind one that found the same queue full, so that callers stay in order.
            let full_queue = match &command {
                Command::Step(step) => step.fills(&full).filter(|_| step.needs_room(batch, &*self.prepare)),
                _ => None,
            };
            let applied = full_queue.map_or_else(|| self.apply(&mut command, batch), Applied::Later);
            match applied {
                Applied::Done => done.push(command),
                Applied::Refused(error) if error.is_of_the_disk() => {
                    done.push(command);
                    put_off.extend(rest);
                    return Gathered::Failed(all_of(done, refused, put_off), error);
                }
                Applied::Refused(error) => refused.push((command, error)),
                Applied::Later(queue) => {
                    let Command::Step(step) = command else { unreachable!("only steps fill queues") };
                    full.insert(queue);
                    if let Some(no_wait) = self.wait_for_room(queue, step, batch) {
                        refused.push(no_wait);
                    }
                }
                // The storage has failed, so the other commands would fail too.
                Applied::FailedAfterWrites(error) if error.is_of_storage() => {
                    done.push(command);
                    put_off.extend(rest);
                    return Gathered::Failed(all_of(done, refused, put_off), error);
                }
                Applied::FailedAfterWrites(error) => {
                    tracing::trace!("a batch is undone and made again");
                    // The reason for which others were refused may be undone with the batch, so they are tried again.
                    let others = all_of(done, refused, put_off);
                    let mut undone = UndoneBatch { by: command, error, to_retry: Vec::new(), others };
                    if behind == Behind::Left {
                        undone.to_retry.extend(rest);
                        return Gathered::Undo(undone);
                    }
                    return self.try_the_rest(undone, rest, batch);
                }
            }
        }
        Gathered::All { done, refused, put_off }
    }

    /// Finds out which other commands fail in a batch that will be undone, so that it need not be undone for each of them.
    /// Their results do not count, because they run on the writes of the command that failed. Commands without code of the
    /// application do not fail after they have written, and are left for the next try.
    fn try_the_rest(
        &self,
        mut undone: UndoneBatch,
        rest: impl Iterator<Item = Command>,
        batch: &mut Batch<'_>,
    ) -> Gathered {
        let mut rest = rest;
        while let Some(mut command) = rest.next() {
            let applied = match command.runs_application_code() {
                true => self.apply(&mut command, batch),
                false => Applied::Done,
            };
            match applied {
                Applied::Done | Applied::Later(_) => undone.others.push(command),
                Applied::Refused(error) | Applied::FailedAfterWrites(error) if error.is_of_storage() => {
                    let (mut all, _) = undone.into_storage_failure();
                    all.push(command);
                    all.extend(rest);
                    return Gathered::Failed(all, error);
                }
                Applied::Refused(error) | Applied::FailedAfterWrites(error) => {
                    drop_quietly(error);
                    undone.to_retry.push(command);
                }
            }
        }
        Gathered::Undo(undone)
    }

    fn apply(&self, command: &mut Command, batch: &mut Batch<'_>) -> Applied {
        let _occupation = command.runs_application_code().then(|| self.occupied.begin(Occupant::Closure));
        apply(command, batch, &*self.prepare)
    }

    /// Lets a caller wait for room in a full queue. Returns the command with its error if it may not wait. The error is valid
    /// only once the jobs that fill the queue are committed.
    fn wait_for_room(
        &mut self,
        queue: QueueId,
        step: Box<dyn Step>,
        batch: &mut Batch<'_>,
    ) -> Option<(Command, Error)> {
        let may_wait = step.handler().is_none_or(|handler| self.waiting.may_wait(handler, queue));
        if may_wait && self.waiting.has_room_for(&*step) {
            self.waiting.add(queue, step);
            return None;
        }
        Some((Command::Step(step), batch.full(queue)))
    }
}

fn apply(command: &mut Command, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Applied {
    let (writes, changes, events) = (batch.writes(), batch.changes.len(), batch.events.len());
    let (deduplicated, publishes, names) = (batch.deduplicated, batch.publishes, batch.new_names());
    let result = match command {
        Command::Finish(finish) => finish.apply(batch, prepare),
        Command::StartMark(mark) => mark.apply(batch),
        Command::Step(step) => step.apply(batch, prepare),
    };
    match result {
        Ok(()) => Applied::Done,
        Err(refusal) if batch.writes() == writes => {
            batch.changes.truncate(changes);
            batch.events.truncate(events);
            (batch.deduplicated, batch.publishes) = (deduplicated, publishes);
            batch.forget_names_since(names);
            match refusal {
                Refusal::Error(error) => Applied::Refused(error),
                Refusal::Later(queue) => Applied::Later(queue),
            }
        }
        Err(Refusal::Error(error)) => Applied::FailedAfterWrites(error),
        Err(Refusal::Later(_)) => unreachable!("a command that wants to wait says so before it writes"),
    }
}
