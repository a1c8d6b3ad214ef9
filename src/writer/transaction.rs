//! One try at one transaction: the gathered commands are written in it, and it is committed or undone.

use std::time::Duration;

use super::batching::{Behind, Gathered};
use super::command::{Command, all_of};
use super::committed::Committed;
use super::jobs::Jobs;
use super::state::Writer;
use super::undone::UndoneBatch;
use crate::error::Error;
use crate::metrics::CommitCost;
use crate::storage::{Batch, RawTransaction, Sealed, Store};
use crate::time::Now;

/// When a batch is made, and whether anything listens to its events.
#[derive(Clone, Copy)]
pub(super) struct When {
    pub(super) now: Now,
    pub(super) listening: bool,
}

/// The result of one try at a transaction.
enum Tried {
    Durable {
        done: Vec<Command>,
        refused: Vec<(Command, Error)>,
        put_off: Vec<Command>,
        sealed: Box<Sealed>,
        /// How long the commit took.
        took: Duration,
    },
    /// It was undone, and none of its commands was answered.
    Undone(UndoneBatch),
    Failed(Vec<Command>, Error),
}

impl Writer {
    /// Makes one transaction. Its result is added to `committed`.
    ///
    /// # Errors
    ///
    /// Returns the batch if it had to be undone.
    pub(super) fn try_once(
        &mut self,
        commands: Vec<Command>,
        behind: Behind,
        when: When,
        committed: &mut Committed,
    ) -> Result<(), Box<UndoneBatch>> {
        let store = self.store.clone();
        let jobs = std::mem::take(&mut self.jobs);
        let tried = match self.begin_write() {
            Ok(txn) => self.try_in(&store, txn, &jobs, commands, behind, when),
            Err(error) => Tried::Failed(commands, error),
        };
        self.jobs = jobs;
        match tried {
            Tried::Durable { done, refused, put_off, sealed, took } => {
                self.put_off.extend(put_off);
                self.take_over(*sealed, CommitCost { operations: done.len(), took }, committed);
                for command in done {
                    match command {
                        Command::Finish(finish) if !finish.has_hooks() => {}
                        Command::Finish(finish) => {
                            self.metrics.completed();
                            committed.answers.push((Command::Finish(finish), Ok(())));
                        }
                        command => committed.answers.push((command, Ok(()))),
                    }
                }
                committed.answers.extend(refused.into_iter().map(|(command, error)| (command, Err(error))));
            }
            Tried::Undone(undone) => return Err(Box::new(undone)),
            Tried::Failed(rest, error) => self.fail(rest, &error, committed),
        }
        Ok(())
    }

    fn try_in(
        &mut self,
        store: &Store,
        txn: RawTransaction,
        jobs: &Jobs,
        commands: Vec<Command>,
        behind: Behind,
        When { now, listening }: When,
    ) -> Tried {
        let listening = listening || self.events_to.is_some();
        let mut batch =
            Batch::new(&txn, &store.catalog, self.counters, &jobs.marks, now, listening).with_limits(self.limits);
        batch.awaited = self.prepare.ends_are_awaited();
        if let Err(error) = self.check_attached(store, &mut batch) {
            return Tried::Failed(commands, error);
        }
        let gathered = self.gather(commands, &mut batch, behind);
        if let Err(forked) = store.check_process() {
            // A closure has forked, and this is the child process: it must not touch the transaction.
            std::mem::forget(batch);
            std::mem::forget(txn);
            return Tried::Failed(gathered.commands(), forked);
        }
        match gathered {
            Gathered::All { done, refused, put_off } => {
                let sealed = match batch.writes() {
                    0 => {
                        let nothing = batch.discard();
                        store.abort(txn).map(|()| (nothing, Duration::ZERO))
                    }
                    _ => (self.keep_events(&mut batch))
                        .and_then(|()| Ok(batch.close()?))
                        .and_then(|sealed| Ok((sealed, self.make_durable(txn)?))),
                };
                match sealed {
                    Ok((sealed, took)) => Tried::Durable { done, refused, put_off, sealed: Box::new(sealed), took },
                    Err(error) => Tried::Failed(all_of(done, refused, put_off), error),
                }
            }
            Gathered::Undo(undone) => {
                drop(batch);
                match store.abort(txn) {
                    Ok(()) => Tried::Undone(undone),
                    Err(_) => {
                        let (all, error) = undone.into_storage_failure();
                        Tried::Failed(all, error)
                    }
                }
            }
            Gathered::Failed(rest, error) => Tried::Failed(rest, error),
        }
    }

    /// Makes a transaction durable, and measures how long that takes.
    pub(super) fn make_durable(&self, txn: RawTransaction) -> Result<Duration, Error> {
        let begun = self.time.mono();
        self.store.commit(txn)?;
        Ok(self.time.mono().saturating_sub(begun))
    }
}
