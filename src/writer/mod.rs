//! Makes things durable: what has gathered goes into one transaction, one commit answers everyone.
//!
//! One writer, one write transaction at a time. Refuses to decide: each command says what it wants
//! written, `job::state` has said what follows an attempt. Refuses to read a clock or to own a
//! thread: the runtime's writer thread calls [`Writer::commit`] with what it found in the inbox.

mod commands;
mod inbox;
mod step;
mod waiting_room;

pub(crate) use commands::{Enqueue, Finish, HoldBack, MarkStarts, More, Patch, Retried, Transact};
pub(crate) use commands::{control, dead_letters, upkeep};
pub(crate) use inbox::{Bell, ENQUEUE_BYTES_MAX, ENQUEUE_JOBS_MAX, Inbox, Lease, Leased, Outbox, Round, Then, inbox};
pub(crate) use step::{Refusal, Step, WaitingHandler, call};

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::error::Error;
use crate::error::panics::{drop_quietly, text_of};
use crate::events::Event;
use crate::job::{Caller, Change, JobId, Next, QueueId};
use crate::storage::{Batch, Counters, RawTransaction, Sealed, Store};
use crate::time::Now;
use crate::transaction::Prepare;
use waiting_room::{WAITERS_MAX, WaitingRoom};

/// One thing to be made durable.
pub(crate) enum Command {
    /// A job's end, the most frequent one.
    Finish(Finish),
    /// Starts that are written behind. One whose job has ended meanwhile is dropped.
    Mark(Box<MarkStarts>),
    Step(Box<dyn Step>),
}

/// What one commit has brought about, to be told to whom it concerns.
#[derive(Default)]
pub(crate) struct Committed {
    /// Something was written.
    pub is_commit: bool,
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    /// Who enqueued jobs that only the file has for now.
    pub callers: Vec<(JobId, Caller)>,
    /// Commands and what to answer them.
    answers: Vec<(Command, Result<(), Error>)>,
    /// Attempts that ended well, but whose own writes failed.
    pub completions_failed: u64,
    /// Jobs that were not stored, because one with their unique key was there.
    pub deduplicated: u64,
    /// Rows set aside because they could not be read.
    pub set_aside: u64,
    /// Ends that are not durable: they stay with the writer and go into a later commit.
    pub failure: Option<Error>,
}

impl Committed {
    /// How many there are to be answered.
    pub fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Answers everyone. Call it after the changes were applied, so that who asks again at once
    /// sees them.
    pub fn answer(self) {
        for (command, result) in self.answers {
            match command {
                Command::Step(step) => step.answer(result),
                Command::Mark(mark) => mark.answer(result),
                Command::Finish(_) => {}
            }
        }
    }
}

/// The only one who writes.
pub(crate) struct Writer {
    store: Arc<Store>,
    prepare: Arc<dyn Prepare>,
    counters: Counters,
    /// Jobs that have a row in `running`.
    marks: BTreeSet<JobId>,
    /// Callers that wait for room in a full queue.
    waiting: WaitingRoom,
    /// The last commit changed queues while somebody waits: there may be room now. They were tried
    /// before what made it, so that nobody overtakes them.
    room_made: bool,
    /// Ends whose commit failed. They must not be lost: their jobs would run again.
    unfinished: Vec<Finish>,
}

/// How one try at a transaction went, and with which commands.
enum Attempt {
    Durable(Vec<Command>, Sealed),
    Again(Vec<Command>),
    Failed(Vec<Command>, Error),
}

enum Gathered {
    All(Vec<Command>),
    Spoiled(Spoiled),
    Failed(Vec<Command>, Error),
}

/// A batch in which a command failed after it had written.
struct Spoiled {
    before: Vec<Command>,
    by: Command,
    error: Error,
    after: Vec<Command>,
}

impl Spoiled {
    /// What goes into the next try: without him, or with what his failure means.
    fn without_him(self, committed: &mut Committed) -> Vec<Command> {
        let mut rest = self.before;
        match self.by {
            // Its own writes failed, so the attempt has: that is what is written then.
            Command::Finish(mut finish) => {
                committed.completions_failed += u64::from(finish.next == Next::Complete);
                finish.fail(self.error);
                rest.push(Command::Finish(finish));
            }
            command => committed.answers.push((command, Err(self.error))),
        }
        rest.extend(self.after);
        rest
    }

    /// The disk failed under him, whatever he made of it: he is not to blame.
    fn by_the_disk(self) -> (Vec<Command>, Error) {
        let mut all = self.before;
        all.push(self.by);
        all.extend(self.after);
        let error = match self.error {
            Error::Aborted { source } => {
                let said = text_of(&*source).into();
                drop_quietly(source);
                Error::Storage { operation: "write what a closure asked for", source: said }
            }
            other => other,
        };
        (all, error)
    }
}

/// How a command fared within a batch.
enum Applied {
    Done,
    /// Refused without a trace.
    Refused(Error),
    /// Refused after it had written: the batch must be undone.
    Spoiled(Error),
    /// This queue is full and it wants to wait.
    Later(QueueId),
}

impl Writer {
    pub fn new(store: Arc<Store>, prepare: Arc<dyn Prepare>, counters: Counters) -> Self {
        Self {
            store,
            prepare,
            counters,
            marks: BTreeSet::new(),
            waiting: WaitingRoom::default(),
            room_made: false,
            unfinished: Vec::new(),
        }
    }

    /// An end that comes while nothing can be written.
    pub fn keep(&mut self, finish: Finish) {
        self.unfinished.push(finish);
    }

    /// Whether something waits that the next commit should try again.
    pub fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Nobody's commands wait for the next commit.
    pub fn is_free(&self) -> bool {
        self.unfinished.is_empty() && self.waiting.is_empty()
    }

    /// Whether those who wait for room are to be tried again, though nothing else is to be written.
    pub fn has_made_room(&self) -> bool {
        self.room_made
    }

    /// One commit for all of `commands`: all that succeed are durable together. A command that
    /// fails leaves nothing behind and does not hurt the others.
    pub fn commit(&mut self, commands: Vec<Command>, now: Now, listening: bool) -> Committed {
        let mut commands = self.join_in(commands);
        let mut committed = Committed::default();
        loop {
            match self.attempt(commands, now, listening, &mut committed) {
                Attempt::Durable(done, sealed) => {
                    self.settle(sealed, &mut committed);
                    let to_answer = done.into_iter().filter(|command| !matches!(command, Command::Finish(_)));
                    committed.answers.extend(to_answer.map(|command| (command, Ok(()))));
                    return committed;
                }
                Attempt::Again(rest) => commands = rest,
                Attempt::Failed(rest, error) => {
                    self.fail(rest, &error, &mut committed);
                    return committed;
                }
            }
        }
    }

    /// The commands, and before them what waited for this commit.
    fn join_in(&mut self, commands: Vec<Command>) -> Vec<Command> {
        let mut all: Vec<Command> = self.unfinished.drain(..).map(Command::Finish).collect();
        all.extend(self.waiting.everybody());
        all.extend(commands);
        self.drop_marks_of_the_finished(&mut all);
        all
    }

    /// A start that is written behind and the end of the same job cancel out.
    fn drop_marks_of_the_finished(&self, commands: &mut [Command]) {
        if !commands.iter().any(|command| matches!(command, Command::Mark(_))) {
            return;
        }
        let finished: HashSet<JobId> = commands
            .iter()
            .filter_map(|command| match command {
                Command::Finish(finish) => Some(finish.id()),
                _ => None,
            })
            .collect();
        for command in commands {
            if let Command::Mark(mark) = command {
                mark.drop_finished(&finished);
            }
        }
    }

    /// One try at one transaction.
    fn attempt(&mut self, commands: Vec<Command>, now: Now, listening: bool, committed: &mut Committed) -> Attempt {
        let store = self.store.clone();
        let txn = match store.begin_write() {
            Ok(txn) => txn,
            Err(error) => return Attempt::Failed(commands, error),
        };
        let marks = std::mem::take(&mut self.marks);
        let attempt = self.attempt_in(&store, txn, &marks, commands, (now, listening), committed);
        self.marks = marks;
        attempt
    }

    fn attempt_in(
        &mut self,
        store: &Store,
        txn: RawTransaction,
        marks: &BTreeSet<JobId>,
        commands: Vec<Command>,
        (now, listening): (Now, bool),
        committed: &mut Committed,
    ) -> Attempt {
        let mut batch = Batch::new(&txn, &store.catalog, self.counters, marks, now, listening);
        let gathered = self.gather(commands, &mut batch, committed);
        match gathered {
            Gathered::All(done) if batch.writes() == 0 => {
                let nothing = batch.discard();
                match store.abort(txn) {
                    Ok(()) => Attempt::Durable(done, nothing),
                    Err(error) => Attempt::Failed(done, error),
                }
            }
            Gathered::All(done) => match batch.seal().map_err(Error::from) {
                Ok(sealed) => match store.commit(txn) {
                    Ok(()) => Attempt::Durable(done, sealed),
                    Err(error) => Attempt::Failed(done, error),
                },
                Err(error) => Attempt::Failed(done, error),
            },
            Gathered::Spoiled(spoiled) => {
                drop(batch);
                match store.abort(txn) {
                    Ok(()) => Attempt::Again(spoiled.without_him(committed)),
                    Err(_) => {
                        let (all, error) = spoiled.by_the_disk();
                        Attempt::Failed(all, error)
                    }
                }
            }
            Gathered::Failed(rest, error) => Attempt::Failed(rest, error),
        }
    }

    /// Lets each command write. Those that cannot are answered or made to wait.
    fn gather(&mut self, mut commands: Vec<Command>, batch: &mut Batch<'_>, committed: &mut Committed) -> Gathered {
        if let Err(error) = take_rows_out(&mut commands, batch) {
            return Gathered::Failed(commands, error);
        }
        let mut done = Vec::with_capacity(commands.len());
        // Whoever waits already was in a try of this batch that somebody spoiled: still first in line.
        let mut full: BTreeSet<QueueId> = self.waiting.queues().collect();
        let mut rest = commands.into_iter();
        while let Some(mut command) = rest.next() {
            // Behind somebody who found no room, so that they stay in line.
            let line = match &command {
                Command::Step(step) => {
                    let line = full.iter().copied().find(|&queue| step.fills(queue));
                    line.filter(|_| step.needs_room(batch))
                }
                _ => None,
            };
            let applied = line.map_or_else(|| apply(&mut command, batch, &*self.prepare), Applied::Later);
            match applied {
                Applied::Done => done.push(command),
                Applied::Refused(error) if error.is_of_the_disk() => {
                    done.push(command);
                    done.extend(rest);
                    return Gathered::Failed(done, error);
                }
                Applied::Refused(error) => committed.answers.push((command, Err(error))),
                Applied::Later(queue) => {
                    let Command::Step(step) = command else { unreachable!("only steps fill queues") };
                    full.insert(queue);
                    self.wait_for_room(queue, step, committed);
                }
                // The storage's fault, not the command's: nobody here will fare better.
                Applied::Spoiled(error) if error.is_of_storage() => {
                    done.push(command);
                    done.extend(rest);
                    return Gathered::Failed(done, error);
                }
                Applied::Spoiled(error) => {
                    tracing::trace!("a batch is undone and made again");
                    return Gathered::Spoiled(Spoiled { before: done, by: command, error, after: rest.collect() });
                }
            }
        }
        Gathered::All(done)
    }

    fn wait_for_room(&mut self, queue: QueueId, step: Box<dyn Step>, committed: &mut Committed) {
        let may_wait = step.handler().is_none_or(|handler| self.waiting.may_wait(handler, queue));
        if may_wait && self.waiting.len() < WAITERS_MAX {
            self.waiting.enter(queue, step);
        } else {
            let queue = self.store.catalog.row(queue);
            let (jobs, bytes) = (queue.tally.unfinished(), queue.tally.bytes);
            let error = Error::QueueFull { queue: queue.name.to_string(), jobs, bytes };
            committed.answers.push((Command::Step(step), Err(error)));
        }
    }

    fn settle(&mut self, sealed: Sealed, committed: &mut Committed) {
        committed.is_commit |= sealed.writes;
        self.counters = sealed.counters;
        self.room_made = !self.waiting.is_empty() && !sealed.rows.is_empty();
        self.marks.extend(sealed.marked);
        for id in sealed.unmarked {
            self.marks.remove(&id);
        }
        self.store.catalog.committed(sealed.rows, sealed.kinds);
        committed.changes = sealed.changes;
        committed.events = sealed.events;
        committed.callers = sealed.callers;
        committed.deduplicated += sealed.deduplicated;
        committed.set_aside = sealed.set_aside;
    }

    fn fail(&mut self, commands: Vec<Command>, error: &Error, committed: &mut Committed) {
        for command in commands {
            match command {
                Command::Finish(finish) => self.unfinished.push(finish),
                other => committed.answers.push((other, Err(error.share()))),
            }
        }
        self.room_made = false;
        committed.failure = Some(error.share());
    }

    /// Hands the transaction to a caller who writes and commits by himself, as far as he knows: the
    /// writer waits for it and commits it, so that commits and what follows from them stay in order.
    pub fn lease(&mut self, lease: Lease, now: Now, listening: bool) -> Committed {
        let mut committed = Committed::default();
        let txn = match self.store.begin_write() {
            Ok(txn) => txn,
            Err(error) => {
                lease.refuse(error);
                return committed;
            }
        };
        let Some(Leased { txn, mut jobs, answer }) = lease.lend(txn, now, self.counters.next_id) else {
            return committed;
        };
        let store = self.store.clone();
        let mut batch = Batch::new(&txn, &store.catalog, self.counters, &self.marks, now, listening);
        batch.touch();
        let inserted =
            commands::check_room(&mut batch, &jobs).and_then(|()| commands::insert_all(&mut batch, &mut jobs));
        let sealed = match inserted {
            Ok(_) => batch.seal().map_err(Error::from),
            Err(error) => {
                drop(batch);
                Err(error)
            }
        };
        match sealed.and_then(|sealed| store.commit(txn).map(|()| sealed)) {
            Ok(sealed) => {
                self.settle(sealed, &mut committed);
                committed.answers.push((Command::Step(answer), Ok(())));
            }
            Err(error) => {
                if error.is_of_the_disk() {
                    committed.failure = Some(error.share());
                }
                committed.answers.push((Command::Step(answer), Err(error)));
            }
        }
        committed
    }

    /// After the file was opened again: what is in memory of it is read anew. Ends that the failed
    /// commit has made durable after all are not written once more, or what their handlers wrote along
    /// with them would be there twice: they are returned.
    pub fn reload(&mut self) -> Result<Vec<JobId>, Error> {
        let counters = Counters { clean: false, ..self.store.load()? };
        let reader = self.store.reader()?;
        let marks = reader.marked()?;
        let mut open = HashSet::new();
        for finish in &self.unfinished {
            if reader.is_as_taken(finish.queue, &finish.taken)? {
                open.insert(finish.id());
            }
        }
        (self.counters, self.marks) = (counters, marks);
        let (open, ended) =
            std::mem::take(&mut self.unfinished).into_iter().partition(|finish| open.contains(&finish.id()));
        self.unfinished = open;
        let ended: Vec<Finish> = ended;
        for finish in &ended {
            tracing::debug!(job = %finish.id(), "its end is in the file already");
        }
        Ok(ended.iter().map(Finish::id).collect())
    }

    /// Jobs that the file says a handler has.
    pub fn marks(&self) -> impl Iterator<Item = JobId> {
        self.marks.iter().copied()
    }

    /// Nobody will make room any more: whoever waits for it is sent away.
    pub fn close(&mut self) {
        for step in self.waiting.empty() {
            step.answer(Err(Error::Closed));
        }
    }
}

fn take_rows_out(commands: &mut [Command], batch: &mut Batch<'_>) -> Result<(), Error> {
    let ends = commands.iter_mut().filter_map(|command| match command {
        Command::Finish(finish) => Some(finish),
        _ => None,
    });
    commands::take_rows_out(&mut ends.collect::<Vec<_>>(), batch)
}

fn apply(command: &mut Command, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Applied {
    let (writes, changes, events) = (batch.writes(), batch.changes.len(), batch.events.len());
    let deduplicated = batch.deduplicated;
    let result = match command {
        Command::Finish(finish) => finish.apply(batch, prepare),
        Command::Mark(mark) => mark.apply(batch),
        Command::Step(step) => step.apply(batch, prepare),
    };
    match result {
        Ok(()) => Applied::Done,
        Err(refusal) if batch.writes() == writes => {
            batch.changes.truncate(changes);
            batch.events.truncate(events);
            batch.deduplicated = deduplicated;
            match refusal {
                Refusal::Error(error) => Applied::Refused(error),
                Refusal::Later(queue) => Applied::Later(queue),
            }
        }
        Err(Refusal::Error(error)) => Applied::Spoiled(error),
        Err(Refusal::Later(_)) => unreachable!("who wants to wait says so before it writes"),
    }
}
