//! Makes things durable: what has gathered goes into one transaction, one commit answers everyone.
//!
//! One writer, one write transaction at a time. Refuses to decide: each command says what it wants
//! written, `job::life` has said what follows an attempt. Refuses to read a clock or to own a
//! thread: the runtime's writer thread calls [`Writer::commit`] with what has gathered.

mod commands;
mod messages;
mod occupied;
mod step;
#[cfg(test)]
mod tests;
mod waiting_room;

pub(crate) use commands::{
    Enqueue, Finish, HoldBack, MarkStarts, More, Patch, Retried, Transact, Transacted, expire_passed,
};
pub(crate) use commands::{control, dead_letters, upkeep};
pub(crate) use messages::{
    Lease, Leased, Lent, Round, StillLent, Then, Wakeup, WriterReceiver, WriterSender, writer_channel,
};
pub(crate) use occupied::{Occupant, Occupied};
pub(crate) use step::{Answer, Refusal, Step, WaitingHandler, call};

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::error::Error;
use crate::error::panics::{self, drop_quietly, text_of};
use crate::events::Event;
use crate::job::{Caller, Change, JobId, QueueId};
use crate::metrics::Metrics;
use crate::storage::{Batch, BatchLimits, Counters, NotedExpiries, RawTransaction, Sealed, Store};
use crate::time::Now;
use crate::transaction::Prepare;
use waiting_room::WaitingRoom;

/// One thing to be made durable.
pub(crate) enum Command {
    /// A job's end, the most frequent one.
    Finish(Finish),
    /// Starts that are written behind. One whose job has ended meanwhile is dropped.
    StartMark(Box<MarkStarts>),
    Step(Box<dyn Step>),
}

impl Command {
    /// Whether it runs code of the application in the batch, which may fail after it has written.
    fn runs_application_code(&self) -> bool {
        match self {
            Self::Finish(finish) => finish.has_hooks(),
            Self::StartMark(_) => false,
            Self::Step(step) => step.runs_application_code(),
        }
    }

    /// Whether it has to wait for another batch, because this one has moved enough. Ends and starts are small, and never
    /// wait.
    fn waits_for_another(&self, batch: &Batch<'_>) -> bool {
        let max = match self {
            Self::Finish(finish) if finish.has_hooks() => batch.limits.shared,
            Self::Finish(_) | Self::StartMark(_) => return false,
            Self::Step(step) if step.is_in_bulk() => batch.limits.shared_in_bulk,
            Self::Step(_) => batch.limits.shared,
        };
        batch.moved_bytes() >= max
    }
}

/// What commits have brought about, to be told to whom it concerns.
#[derive(Default)]
pub(crate) struct Committed {
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    /// Who enqueued the jobs that were stored.
    pub callers: Vec<(JobId, Caller)>,
    /// Commands and what to answer them.
    answers: Vec<(Command, Result<(), Error>)>,
    /// When jobs that they have stored expire.
    pub expiries: NotedExpiries,
    /// Ends that are not durable: they stay with the writer and go into a later commit.
    pub failure: Option<Error>,
}

impl Committed {
    /// The process was forked in the middle of it, and this is the child: all that is left to do is to tell the caller.
    pub fn is_forked(&self) -> bool {
        matches!(self.failure, Some(Error::Forked { .. }))
    }

    /// How many callers there are to be answered.
    pub fn answers(&self) -> usize {
        self.answers.iter().filter(|(command, _)| !matches!(command, Command::Finish(_))).count()
    }

    /// Answers everyone. Call it after the changes were applied, so that a caller that asks again at
    /// once sees them.
    pub fn answer(self) {
        for (command, result) in self.answers {
            let answer = || match command {
                Command::Step(step) => step.answer(result),
                Command::StartMark(mark) => mark.answer(result),
                Command::Finish(_) => {}
            };
            // Nobody may wait for what a closure holds any more: then it is dropped here, and code of the application
            // must not keep the others from being answered.
            if panics::catch(answer).is_err() {
                tracing::error!(
                    "a value of the application panicked when it was dropped, or a waker when it was woken"
                );
            }
        }
    }
}

/// The only part of the crate that writes.
pub(crate) struct Writer {
    store: Arc<Store>,
    prepare: Arc<dyn Prepare>,
    limits: BatchLimits,
    counters: Counters,
    /// The counters that the last commit wrote.
    in_file: Counters,
    /// The attached database went back to an earlier state, so nothing in memory fits it any more.
    went_back: bool,
    /// Jobs that have a row in `running`.
    marks: BTreeSet<JobId>,
    /// Callers that wait for room in a full queue.
    waiting: WaitingRoom,
    /// The last commit changed queues while somebody waits: there may be room now. They were tried
    /// before what made it, so that nobody overtakes them.
    room_made: bool,
    /// Ends whose commit failed. They must not be lost: their jobs would run again.
    unfinished: Vec<Finish>,
    /// Commands that the last batch had no room for, in order: they go into the next one first.
    put_off: Vec<Command>,
    /// Commands that run code of the application and failed, or were not called, in a batch that was undone for another
    /// one. They are tried again a commit later, so that nobody else waits for them.
    doubtful: Vec<Command>,
    metrics: Arc<Metrics>,
    occupied: Occupied,
}

/// When a batch is made, and whether anybody hears of its events.
#[derive(Clone, Copy)]
struct When {
    now: Now,
    listening: bool,
}

/// What is done with the commands behind the one for which a batch is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// Those that run code of the application are called, to find out which of them fail too.
    Called,
    /// They are left alone.
    Left,
}

/// How often those that failed for another one are tried again before others get a turn, at most. There is one commit among
/// these at most; the others are undone.
const TRIES_BETWEEN_COMMITS: usize = 64;

/// What a batch has come to.
enum Gathered {
    /// Those that have written or need not, and those that were refused without a trace.
    All {
        done: Vec<Command>,
        refused: Vec<(Command, Error)>,
        /// Those that the batch had no room for.
        put_off: Vec<Command>,
    },
    Spoiled(Spoiled),
    Failed(Vec<Command>, Error),
}

impl Gathered {
    fn commands(self) -> Vec<Command> {
        match self {
            Self::All { done, refused, put_off } => all_of(done, refused, put_off),
            Self::Spoiled(spoiled) => spoiled.by_the_disk().0,
            Self::Failed(commands, _) => commands,
        }
    }
}

/// A batch in which a command failed after it had written, so that all of it must be undone: redb has no rollback within a
/// transaction.
struct Spoiled {
    /// The first one that failed. No other that failed had written before it, so what it says stands.
    by: Command,
    error: Error,
    /// Those behind it that failed too, perhaps for what it had left behind, or were not called.
    doubtful: Vec<Command>,
    /// All others.
    others: Vec<Command>,
}

impl Spoiled {
    /// The disk failed under it, whatever it made of that: nobody in the batch is to blame.
    fn by_the_disk(self) -> (Vec<Command>, Error) {
        let mut all = self.others;
        all.push(self.by);
        all.extend(self.doubtful);
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

/// How one try at a transaction went.
enum Tried {
    Durable {
        done: Vec<Command>,
        refused: Vec<(Command, Error)>,
        put_off: Vec<Command>,
        sealed: Box<Sealed>,
    },
    /// It was undone, and nothing of it was answered.
    Undone(Spoiled),
    Failed(Vec<Command>, Error),
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
    pub fn new(
        store: Arc<Store>,
        prepare: Arc<dyn Prepare>,
        limits: BatchLimits,
        counters: Counters,
        metrics: Arc<Metrics>,
        occupied: Occupied,
    ) -> Self {
        Self {
            store,
            prepare,
            limits,
            counters,
            in_file: counters,
            went_back: false,
            marks: BTreeSet::new(),
            waiting: WaitingRoom::default(),
            room_made: false,
            unfinished: Vec::new(),
            put_off: Vec::new(),
            doubtful: Vec::new(),
            metrics,
            occupied,
        }
    }

    /// An end that comes while nothing can be written.
    pub fn keep(&mut self, finish: Finish) {
        self.unfinished.push(finish);
    }

    /// Whether something waits that the next commit should try again.
    pub fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty() || self.has_put_off()
    }

    /// Whether commands that the last commit has left wait for the next one.
    pub fn has_put_off(&self) -> bool {
        !self.put_off.is_empty() || !self.doubtful.is_empty()
    }

    /// Nobody's commands wait for the next commit.
    pub fn is_free(&self) -> bool {
        !self.has_unfinished() && self.waiting.is_empty()
    }

    /// Whether those who wait for room are to be tried again, though nothing else is to be written.
    pub fn has_made_room(&self) -> bool {
        self.room_made
    }

    /// Commits `commands`, as a rule all of them together. A command that fails leaves nothing behind and does not hurt
    /// the others: each is answered as if they had run one after another, in some order, and the failed ones not at all.
    ///
    /// A batch in which a command fails after it has written is undone and made again. So that this costs few calls of
    /// each closure, however many of them fail, all of them are called before the batch is undone: the first one that
    /// failed is answered, all that did not fail share the next transaction, and those that failed behind the first one are
    /// tried again with the next commit, after everybody else ([`Self::try_again`]).
    ///
    /// If one fails now that did not before, because it relied on what a failed one had written, it is answered. What had
    /// succeeded before it shares the next transaction with all that cannot fail, and the closures behind it are tried
    /// again with the next commit too.
    pub fn commit(&mut self, commands: Vec<Command>, now: Now, listening: bool) -> Committed {
        let when = When { now, listening };
        let doubtful = std::mem::take(&mut self.doubtful);
        let mut commands = self.join_in(commands);
        let mut committed = Committed::default();
        self.room_made = false;
        let mut tries = 0;
        // Without commands there may be ends to be written.
        while !commands.is_empty() || (tries == 0 && doubtful.is_empty()) {
            let behind = if tries == 0 { Behind::Called } else { Behind::Left };
            let Err(spoiled) = self.attempt(commands, behind, when, &mut committed) else { break };
            tries += 1;
            commands = self.sort_out(*spoiled, tries, &mut committed);
        }
        self.try_again(doubtful, when, &mut committed);
        committed
    }

    /// Answers the one for which a batch was undone, for the `tries`th time. Returns what is to be tried at once; what may
    /// fail again waits for the next commit.
    fn sort_out(&mut self, spoiled: Spoiled, tries: usize, committed: &mut Committed) -> Vec<Command> {
        let Spoiled { by, error, doubtful, others } = spoiled;
        let (closures, plain): (Vec<_>, Vec<_>) = doubtful.into_iter().partition(Command::runs_application_code);
        self.doubtful.extend(closures);
        let mut next = others;
        if tries > 2 {
            // What has succeeded twice fails by itself, now and then.
            let (closures, plain): (Vec<_>, Vec<_>) = next.into_iter().partition(Command::runs_application_code);
            self.doubtful.extend(closures);
            next = plain;
        }
        next.extend(plain);
        next.extend(failed(by, error, committed, &self.metrics));
        next
    }

    /// Tries commands again that failed behind another one, in one transaction as far as they succeed. The first one that
    /// fails is answered: it ran on what succeeded. Those before it are made durable without it, and those behind it have
    /// their turn after that, with the next commit. So there is one commit at most here, and all who come meanwhile are
    /// in the batch before the next one.
    fn try_again(&mut self, doubtful: Vec<Command>, when: When, committed: &mut Committed) {
        let (mut next, mut later) = (doubtful, Vec::new());
        let (mut tries, mut is_owed) = (0, false);
        while !next.is_empty() && committed.failure.is_none() && (is_owed || tries < TRIES_BETWEEN_COMMITS) {
            tries += 1;
            let Err(spoiled) = self.attempt(std::mem::take(&mut next), Behind::Left, when, committed) else { break };
            let Spoiled { by, error, doubtful: mut behind, others: before } = *spoiled;
            self.put_off.extend(failed(by, error, committed, &self.metrics));
            // The answer rests on what was there before it, which is to be made durable before anything else.
            is_owed = !before.is_empty();
            if before.is_empty() {
                next = behind;
            } else {
                next = before;
                behind.append(&mut later);
                later = behind;
            }
        }
        next.append(&mut later);
        next.append(&mut self.doubtful);
        self.doubtful = next;
        if let Some(error) = committed.failure.as_ref().map(Error::share) {
            self.fail(Vec::new(), &error, committed);
        }
    }

    /// The commands, and before them what waited for this commit.
    fn join_in(&mut self, commands: Vec<Command>) -> Vec<Command> {
        let mut all: Vec<Command> = self.unfinished.drain(..).map(Command::Finish).collect();
        all.extend(self.waiting.everybody());
        all.append(&mut self.put_off);
        all.extend(commands);
        self.drop_marks_of_the_finished(&mut all);
        all
    }

    /// A start that is written behind and the end of the same job cancel out.
    fn drop_marks_of_the_finished(&self, commands: &mut [Command]) {
        if !commands.iter().any(|command| matches!(command, Command::StartMark(_))) {
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
            if let Command::StartMark(mark) = command {
                mark.drop_finished(&finished);
            }
        }
    }

    /// Begins the transaction. In a database that the application has attached it may have to wait for one of the
    /// application's own.
    fn begin_write(&self) -> Result<RawTransaction, Error> {
        let _occupation = self.occupied.begin(Occupant::Transaction);
        self.store.begin_write()
    }

    /// One try at one transaction. What comes of it is in `committed`, unless it had to be undone.
    fn attempt(
        &mut self,
        commands: Vec<Command>,
        behind: Behind,
        when: When,
        committed: &mut Committed,
    ) -> Result<(), Box<Spoiled>> {
        let store = self.store.clone();
        let marks = std::mem::take(&mut self.marks);
        let attempt = match self.begin_write() {
            Ok(txn) => self.attempt_in(&store, txn, &marks, commands, behind, when),
            Err(error) => Tried::Failed(commands, error),
        };
        self.marks = marks;
        match attempt {
            Tried::Durable { done, refused, put_off, sealed } => {
                self.put_off.extend(put_off);
                self.take_over(*sealed, committed);
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
            Tried::Undone(spoiled) => return Err(Box::new(spoiled)),
            Tried::Failed(rest, error) => self.fail(rest, &error, committed),
        }
        Ok(())
    }

    fn attempt_in(
        &mut self,
        store: &Store,
        txn: RawTransaction,
        marks: &BTreeSet<JobId>,
        commands: Vec<Command>,
        behind: Behind,
        When { now, listening }: When,
    ) -> Tried {
        let mut batch = Batch::new(&txn, &store.catalog, self.counters, marks, now, listening).with_limits(self.limits);
        if let Err(error) = self.check_attached(store, &mut batch) {
            return Tried::Failed(commands, error);
        }
        let gathered = self.gather(commands, &mut batch, behind);
        if let Err(forked) = store.check_process() {
            // A closure has forked, and this is the child: nothing of the transaction is to be touched any more.
            std::mem::forget(batch);
            std::mem::forget(txn);
            return Tried::Failed(gathered.commands(), forked);
        }
        match gathered {
            Gathered::All { done, refused, put_off } => {
                let sealed = match batch.writes() {
                    0 => {
                        let nothing = batch.discard();
                        store.abort(txn).map(|()| nothing)
                    }
                    _ => batch.seal().map_err(Error::from).and_then(|sealed| store.commit(txn).map(|()| sealed)),
                };
                match sealed {
                    Ok(sealed) => Tried::Durable { done, refused, put_off, sealed: Box::new(sealed) },
                    Err(error) => Tried::Failed(all_of(done, refused, put_off), error),
                }
            }
            Gathered::Spoiled(spoiled) => {
                drop(batch);
                match store.abort(txn) {
                    Ok(()) => Tried::Undone(spoiled),
                    Err(_) => {
                        let (all, error) = spoiled.by_the_disk();
                        Tried::Failed(all, error)
                    }
                }
            }
            Gathered::Failed(rest, error) => Tried::Failed(rest, error),
        }
    }

    /// Checks that an attached database is as the last commit left it. Its application can restore a savepoint, which
    /// takes our tables back as well. Then ids would be given out twice and counts would be wrong. Every commit
    /// changes the counters, so comparing them is enough.
    fn check_attached(&mut self, store: &Store, batch: &mut Batch<'_>) -> Result<(), Error> {
        if !store.is_attached() || batch.counters_in_file()? == Some(self.in_file) {
            return Ok(());
        }
        self.went_back = true;
        let reason = "the attached database went back to an earlier state, because the application restored a savepoint: \
                      shut this queue down and attach the database again";
        Err(Error::Degraded { reason: reason.into() })
    }

    /// Whether the attached database went back to an earlier state.
    pub fn went_back(&self) -> bool {
        self.went_back
    }

    /// Lets each command write. One that finds no room is made to wait.
    fn gather(&mut self, mut commands: Vec<Command>, batch: &mut Batch<'_>, behind: Behind) -> Gathered {
        if let Err(error) = take_rows_out(&mut commands, batch) {
            return Gathered::Failed(commands, error);
        }
        let mut done = Vec::with_capacity(commands.len());
        let (mut refused, mut put_off) = (Vec::new(), Vec::new());
        // Whoever waits already was in a try of this batch that was undone: still first in line.
        let mut full: BTreeSet<QueueId> = self.waiting.queues().collect();
        let mut rest = commands.into_iter();
        while let Some(mut command) = rest.next() {
            if command.waits_for_another(batch) {
                tracing::trace!("a command waits for the next batch");
                put_off.push(command);
                continue;
            }
            // Behind somebody who found no room, so that they stay in line.
            let line = match &command {
                Command::Step(step) => step.fills(&full).filter(|_| step.needs_room(batch)),
                _ => None,
            };
            let applied = line.map_or_else(|| self.apply(&mut command, batch), Applied::Later);
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
                    if let Some(sent_away) = self.wait_for_room(queue, step, batch) {
                        refused.push(sent_away);
                    }
                }
                // The storage's fault, not the command's: nobody here will fare better.
                Applied::Spoiled(error) if error.is_of_storage() => {
                    done.push(command);
                    put_off.extend(rest);
                    return Gathered::Failed(all_of(done, refused, put_off), error);
                }
                Applied::Spoiled(error) => {
                    tracing::trace!("a batch is undone and made again");
                    // What the refused ones were refused for may be undone with it.
                    let others = all_of(done, refused, put_off);
                    let mut spoiled = Spoiled { by: command, error, doubtful: Vec::new(), others };
                    if behind == Behind::Left {
                        spoiled.doubtful.extend(rest);
                        return Gathered::Spoiled(spoiled);
                    }
                    return self.try_the_rest(spoiled, rest, batch);
                }
            }
        }
        Gathered::All { done, refused, put_off }
    }

    /// A batch is to be undone: finds out who else in it would fail, so that it need not be undone for each of them. What
    /// they say does not stand, because they run on what is left of the one that failed. What is the queue's own does not
    /// fail after it has written, and is left for the next try.
    fn try_the_rest(
        &self,
        mut spoiled: Spoiled,
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
                Applied::Done | Applied::Later(_) => spoiled.others.push(command),
                Applied::Refused(error) | Applied::Spoiled(error) if error.is_of_storage() => {
                    let (mut all, _) = spoiled.by_the_disk();
                    all.push(command);
                    all.extend(rest);
                    return Gathered::Failed(all, error);
                }
                Applied::Refused(error) | Applied::Spoiled(error) => {
                    drop_quietly(error);
                    spoiled.doubtful.push(command);
                }
            }
        }
        Gathered::Spoiled(spoiled)
    }

    fn apply(&self, command: &mut Command, batch: &mut Batch<'_>) -> Applied {
        let _occupation = command.runs_application_code().then(|| self.occupied.begin(Occupant::Closure));
        apply(command, batch, &*self.prepare)
    }

    /// Lets a caller wait for room in a full queue. One that may not wait comes back with what it is to be told, which counts
    /// only with the commit of what has filled the queue.
    fn wait_for_room(
        &mut self,
        queue: QueueId,
        step: Box<dyn Step>,
        batch: &mut Batch<'_>,
    ) -> Option<(Command, Error)> {
        let may_wait = step.handler().is_none_or(|handler| self.waiting.may_wait(handler, queue));
        if may_wait && self.waiting.has_room_for(&*step) {
            self.waiting.enter(queue, step);
            return None;
        }
        Some((Command::Step(step), batch.full(queue)))
    }

    fn take_over(&mut self, sealed: Sealed, committed: &mut Committed) {
        // Before anybody can see what was committed: whoever sees it finds it counted.
        if sealed.writes {
            self.metrics.committed();
        }
        self.metrics.deduplicated(sealed.deduplicated);
        self.metrics.quarantined(sealed.set_aside);
        self.metrics.pruned(sealed.pruned);
        self.counters = sealed.counters;
        if sealed.writes {
            self.in_file = sealed.counters;
        }
        self.room_made |= !self.waiting.is_empty() && !sealed.rows.is_empty();
        self.marks.extend(sealed.marked);
        for id in sealed.unmarked {
            self.marks.remove(&id);
        }
        self.store.catalog.committed(sealed.rows, &sealed.kinds);
        self.store.catalog.recent.note(&sealed.changes);
        committed.expiries = committed.expiries.and_then(sealed.expiries);
        committed.callers.extend(sealed.callers);
        committed.changes.extend(sealed.changes);
        committed.events.extend(sealed.events);
    }

    /// Nothing can be written for now: nobody is left waiting for a later commit.
    fn fail(&mut self, commands: Vec<Command>, error: &Error, committed: &mut Committed) {
        let left = std::mem::take(&mut self.put_off).into_iter().chain(std::mem::take(&mut self.doubtful));
        for command in commands.into_iter().chain(left) {
            match command {
                Command::Finish(finish) => self.unfinished.push(finish),
                other => committed.answers.push((other, Err(error.share()))),
            }
        }
        self.room_made = false;
        committed.failure = Some(error.share());
    }

    /// Lends the transaction to a caller that writes with it. To the caller it looks as if it commits by itself. In fact
    /// the writer waits for the transaction and commits it, so that commits and what follows from them stay in order.
    ///
    /// # Errors
    /// That there is none to be had. The caller has not been told yet.
    pub fn lend(&mut self, lease: Lease, now: Now) -> Result<Lent, (Lease, Error)> {
        let begun = self.begin_write().and_then(|txn| {
            let store = self.store.clone();
            let marks = BTreeSet::new();
            self.check_attached(&store, &mut Batch::new(&txn, &store.catalog, self.counters, &marks, now, false))?;
            Ok(txn)
        });
        match begun {
            Ok(txn) => Ok(lease.lend(txn, now, self.counters.next_id, self.occupied.begin(Occupant::Guard))),
            Err(error) => Err((lease, error)),
        }
    }

    /// Commits what the holder of a guard has written.
    pub fn commit_lent(&mut self, leased: Leased, now: Now, listening: bool) -> Committed {
        let mut committed = Committed::default();
        let Leased { txn, mut jobs, answer } = leased;
        let store = self.store.clone();
        let mut batch = Batch::new(&txn, &store.catalog, self.counters, &self.marks, now, listening);
        batch.touch();
        let inserted = (jobs.iter_mut().try_for_each(|job| batch.resolve(job)))
            .and_then(|()| commands::check_room(&mut batch, &jobs))
            .and_then(|()| commands::insert_all(&mut batch, &mut jobs));
        let sealed = match inserted {
            Ok(_) => batch.seal().map_err(Error::from),
            Err(error) => {
                drop(batch);
                Err(error)
            }
        };
        self.room_made = false;
        match sealed.and_then(|sealed| store.commit(txn).map(|()| sealed)) {
            Ok(sealed) => {
                self.take_over(sealed, &mut committed);
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
        let in_file = self.store.load()?;
        let counters = Counters { clean: false, ..in_file };
        let reader = self.store.reader()?;
        let marks = reader.marked()?;
        let mut open = HashSet::new();
        for finish in &self.unfinished {
            if reader.is_as_taken(finish.queue, &finish.taken)? {
                open.insert(finish.id());
            }
        }
        (self.counters, self.in_file, self.marks) = (counters, in_file, marks);
        let (open, ended) =
            std::mem::take(&mut self.unfinished).into_iter().partition(|finish| open.contains(&finish.id()));
        self.unfinished = open;
        let ended: Vec<Finish> = ended;
        for finish in &ended {
            tracing::debug!(job = %finish.id(), "its end is in the file already");
            if finish.has_hooks() {
                self.metrics.completed();
            }
        }
        Ok(ended.iter().map(Finish::id).collect())
    }

    /// Jobs that the file says a handler has.
    pub fn marks(&self) -> impl Iterator<Item = JobId> {
        self.marks.iter().copied()
    }

    /// Nobody will make room any more: whoever waits for it is sent away.
    pub fn close(&mut self) {
        let left = std::mem::take(&mut self.put_off).into_iter().chain(std::mem::take(&mut self.doubtful));
        let left = left.filter_map(|command| match command {
            Command::Step(step) => Some(step),
            Command::Finish(_) | Command::StartMark(_) => None,
        });
        for step in self.waiting.empty().into_iter().chain(left) {
            step.answer(Err(Error::Closed));
        }
    }
}

/// The queue's own code does not need to know which of them were refused.
fn all_of(mut done: Vec<Command>, refused: Vec<(Command, Error)>, put_off: Vec<Command>) -> Vec<Command> {
    done.extend(refused.into_iter().map(|(command, _)| command));
    done.extend(put_off);
    done
}

/// What is to be made durable of a command that has failed by itself: nothing, and its caller is answered, unless it is the
/// end of an attempt whose own writes failed. Then the attempt has failed, and that is written.
fn failed(command: Command, error: Error, committed: &mut Committed, metrics: &Metrics) -> Option<Command> {
    match command {
        Command::Finish(finish) if finish.is_given_up() => {
            tracing::error!(job = %finish.id(), %error, "the end of an attempt cannot be written: the next open recovers");
            None
        }
        Command::Finish(mut finish) => {
            if finish.has_hooks() {
                metrics.failed();
            }
            finish.fail(error);
            Some(Command::Finish(finish))
        }
        command => {
            committed.answers.push((command, Err(error)));
            None
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
    let (deduplicated, names) = (batch.deduplicated, batch.new_names());
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
            batch.deduplicated = deduplicated;
            batch.forget_names_since(names);
            match refusal {
                Refusal::Error(error) => Applied::Refused(error),
                Refusal::Later(queue) => Applied::Later(queue),
            }
        }
        Err(Refusal::Error(error)) => Applied::Spoiled(error),
        Err(Refusal::Later(_)) => unreachable!("a command that wants to wait says so before it writes"),
    }
}
