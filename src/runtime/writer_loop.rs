//! The writer's loop: it gathers commands, has the writer commit them, and tells dispatch, callers and listeners.

use std::sync::Arc;
use std::time::Duration;

use super::commit_turn::CommitLoop;
use super::degradation::FoundAgain;
use super::engine::Engine;
use super::healing::Healing;
use super::log;
use super::maintenance::compact_before_close;
use super::regather::Regather;
use crate::error::Error;
use crate::error::panics::catch;
use crate::events::{Event, HeldEvents};
use crate::job::{Change, JobId};
use crate::sync::{MustNotWait, thread};
use crate::writer::{
    Command, Committed, Lease, Leased, Lent, Occupant, Round, StillLent, Then, Wakeup, Writer, WriterReceiver, call,
    upkeep,
};

/// The state of the loop. The thread that has the commit turn runs it.
pub(super) struct WriterLoop {
    engine: Arc<Engine>,
    writer: Writer,
    receiver: WriterReceiver,
    /// Set while the file cannot be written. Until it can, callers are refused, and ends of attempts wait in the writer.
    healing: Option<Healing>,
    regather: Regather,
    /// The commit is made on a caller's thread, which starts the jobs that it makes ready.
    is_on_callers_thread: bool,
    /// A closure has forked the process, and this is the child.
    forked: bool,
}

impl WriterLoop {
    pub fn new(engine: Arc<Engine>, writer: Writer, receiver: WriterReceiver) -> Self {
        Self {
            engine,
            writer,
            receiver,
            healing: None,
            regather: Regather::default(),
            is_on_callers_thread: false,
            forked: false,
        }
    }

    pub fn wakeup(&self) -> Wakeup {
        self.receiver.wakeup()
    }

    /// Commits what has gathered. Returns false after the last commit.
    pub fn next(&mut self) -> bool {
        let mut round = self.receiver.gathered();
        self.linger(&mut round);
        let engine = &self.engine;
        self.regather.wait(&mut self.receiver, &mut round, || engine.now().mono);
        self.run_round(round)
    }

    /// How long until the loop has something to do without a message: to try the file again, or to commit what was put off.
    pub fn runs_again_in(&self) -> Option<Duration> {
        if self.receiver.has_put_off() || self.writer.has_put_off() {
            return Some(Duration::ZERO);
        }
        let healing = self.healing.as_ref().filter(|healing| !healing.is_hopeless())?;
        Some(healing.wait(self.engine.now()))
    }

    /// Whether nothing else must be written, and no caller is expected to send anything.
    pub fn is_free(&self) -> bool {
        self.healing.is_none()
            && self.engine.config.linger.is_zero()
            && self.regather.expects_no_one()
            && self.receiver.len() == 0
            && self.writer.is_free()
    }

    /// Whether a closure has forked the process and this is the child, where the loop must do nothing any more.
    pub fn is_forked(&self) -> bool {
        self.forked
    }

    /// Makes the commit of one command on the caller's thread, which then starts the jobs that may start.
    pub fn write_for(&mut self, command: Command) {
        self.is_on_callers_thread = true;
        self.run_round(Round::of(command));
        self.is_on_callers_thread = false;
    }

    /// Receives what has gathered. `None` if there is nothing, nothing was put off, and it is not time to try the file again.
    pub fn gathered(&mut self) -> Option<Round> {
        let round = self.receiver.gathered();
        (!round.is_empty() || self.is_time_to_heal() || self.writer.has_put_off()).then_some(round)
    }

    fn linger(&mut self, round: &mut Round) {
        let linger = self.engine.config.linger;
        if !linger.is_zero() && !round.commands.is_empty() && matches!(round.then, Then::Nothing) {
            thread::sleep(linger);
            self.receiver.gather_more(round);
        }
    }

    /// Runs one round: one commit, and then what is not part of a commit. Returns false after the last one.
    ///
    /// A panic in it comes from the storage engine, which asserts what is true of every file that it has written, or is a bug
    /// of this crate. In both cases nothing in memory can be trusted: the loop continues, but only to refuse all callers.
    pub fn run_round(&mut self, round: Round) -> bool {
        // All callers wait for this thread now: code of the application that it runs must not wait for the queue.
        let _must_not_wait = MustNotWait::begin();
        catch(|| self.round(round)).unwrap_or_else(|panic| {
            let reason = self.engine.give_up("the writer", &panic);
            self.healing = Some(Healing::never(reason));
            true
        })
    }

    fn round(&mut self, round: Round) -> bool {
        let Round { commands, then } = round;
        if self.healing.is_some() {
            self.refuse(commands, &self.degraded());
        } else if !commands.is_empty() || self.writer.has_unfinished() {
            self.commit(commands);
        }
        // What is not part of a commit follows all commands that arrived before it.
        while !matches!(then, Then::Nothing) && self.healing.is_none() && self.writer.has_put_off() && !self.forked {
            self.commit(Vec::new());
        }
        match then {
            Then::Nothing => {}
            Then::Lease(lease) if self.healing.is_some() => lease.refuse(self.degraded()),
            Then::Lease(lease) => self.lend(lease),
            Then::Between(job) => job(),
            Then::Stop => return false,
        }
        self.heal_if_it_is_time();
        true
    }

    fn commit(&mut self, mut commands: Vec<Command>) {
        let begun = self.engine.now();
        if let Some(expire) = self.engine.expire_first(begun) {
            commands.insert(0, expire);
        }
        let held = self.engine.bus.hold_attempts();
        let committed = self.writer.commit(commands, begun, self.engine.bus.is_heard());
        if committed.is_forked() {
            // In the child any lock can be held for ever, by a thread that does not exist there.
            self.forked = true;
            return committed.answer();
        }
        let took = self.engine.now().mono.saturating_sub(begun.mono);
        self.regather.answered(committed.answers(), self.receiver.len(), took);
        self.publish(committed, held);
        self.admit();
    }

    /// Lends the transaction to a caller that writes with it, and commits what the caller has written.
    fn lend(&mut self, lease: Lease) {
        let now = self.engine.now();
        if let Some(expire) = self.engine.expire_first(now) {
            let held = self.engine.bus.hold_attempts();
            let expired = self.writer.commit(vec![expire], now, self.engine.bus.is_heard());
            self.publish(expired, held);
            if self.healing.is_some() {
                return lease.refuse(self.degraded());
            }
        }
        let lent = match self.writer.lend(lease, now) {
            Ok(lent) => lent,
            Err((lease, error)) => {
                let told = self.degrade(&error);
                lease.refuse(error);
                self.engine.bus.publish([told]);
                return self.reopen_for_readers();
            }
        };
        let Some(leased) = self.wait_beside_a_guard(&lent) else { return self.engine.prepare.reinstate_all() };
        let held = self.engine.bus.hold_attempts();
        let committed = self.writer.commit_lent(leased, now, self.engine.bus.is_heard());
        self.publish(committed, held);
        self.admit();
    }

    /// Waits until the guard is committed, or dropped (`None`). Callers that wait for the queue meanwhile for too long are
    /// refused: the holder of the guard may wait for one of them.
    fn wait_beside_a_guard(&mut self, lent: &Lent) -> Option<Leased> {
        let wait_max = self.engine.config.write_wait_max;
        let mut told = false;
        let returned = loop {
            match lent.wait(wait_max) {
                Ok(returned) => break returned,
                Err(StillLent) => {
                    if !std::mem::replace(&mut told, true) {
                        let reason = format!("{}: commit it or drop it", Occupant::Guard.sentence());
                        tracing::warn!(reason, "degraded: no other caller can write");
                        self.engine.health.set_unwritable(Some(reason.clone()));
                        self.engine.bus.publish([Event::Degraded { reason }]);
                    }
                    self.refuse_beside_a_guard(wait_max);
                }
            }
        };
        if told {
            self.engine.health.set_unwritable(None);
            self.engine.wake_dispatcher();
            self.engine.bus.publish([Event::Healed]);
            tracing::info!("healed: the guard has ended");
        }
        returned
    }

    fn refuse_beside_a_guard(&mut self, waited: Duration) {
        let error = Error::WriteHeld { held_by: Occupant::Guard.sentence(), waited };
        loop {
            let Round { commands, then } = self.receiver.gathered();
            let is_empty = commands.is_empty();
            self.refuse(commands, &error);
            match then {
                Then::Nothing if is_empty => return,
                Then::Nothing => {}
                Then::Lease(lease) => lease.refuse(error.share()),
                Then::Between(job) => job(),
                Then::Stop => return self.receiver.stop_later(),
            }
        }
    }

    /// Admits the callers that wait for room, as long as there is room.
    fn admit(&mut self) {
        while self.healing.is_none() && self.writer.has_made_room() {
            let held = self.engine.bus.hold_attempts();
            let committed = self.writer.commit(Vec::new(), self.engine.now(), self.engine.bus.is_heard());
            self.publish(committed, held);
        }
    }

    /// Tells the effects of a commit: first to dispatch, so that an answered caller sees them in its next call, and last to
    /// listeners. A failure of the disk is noted before any caller is answered, so that its next call is refused at once. The
    /// events of attempts are `held` until those of the commit are published.
    fn publish(&mut self, mut committed: Committed, held: HeldEvents) {
        let failure = committed.failure.take();
        let told = failure.map(|error| self.degrade(&error));
        let events = std::mem::take(&mut committed.events);
        self.engine.callers.remember(std::mem::take(&mut committed.jobs.callers));
        let cancels = std::mem::take(&mut committed.jobs.cancels);
        self.engine.cancels.note(&cancels);
        self.engine.cancels.forget_settled(&committed.jobs.changes);
        // Before a handler's job is settled: in between, the queue would seem to be at rest although a consumer has to read what the
        // handler has appended.
        self.engine.streams_have_grown(std::mem::take(&mut committed.streams));
        self.tell_dispatch(std::mem::take(&mut committed.jobs.changes));
        self.engine.prepare.reinstate_all();
        self.engine.tell_cancelled(cancels.into_iter().map(|(id, _)| id));
        let expires_sooner = self.engine.expiries.learn(committed.jobs.expiries);
        let flows_due = self.engine.flow_times.learn(committed.jobs.flows);
        if self.engine.schedule_times.learn(committed.jobs.schedules) || expires_sooner || flows_due {
            self.engine.wake_dispatcher();
        }
        let _occupation = self.engine.occupied.begin(Occupant::Callback);
        self.engine.waits.tell(std::mem::take(&mut committed.jobs.ends));
        committed.answer();
        let has_failed = told.is_some();
        self.engine.bus.publish(events.into_iter().chain(told));
        drop(held);
        if has_failed {
            self.reopen_for_readers();
        }
    }

    /// Opens the file again for reading: after an I/O error redb reads nothing, although the file can be read.
    fn reopen_for_readers(&self) {
        let is_held = self.healing.as_ref().is_some_and(|healing| healing.is_held);
        if !is_held && let Err(error) = self.engine.store.reopen_to_read() {
            tracing::debug!(%error, "the file cannot be opened again for reading");
        }
    }

    fn tell_dispatch(&self, changes: Vec<Change>) {
        let wakes = self.engine.apply(changes);
        if wakes && !self.is_on_callers_thread {
            self.engine.wake_dispatcher();
        }
    }

    // --- the disk has failed ------------------------------------------------------------------

    /// Stops all starts and refuses all commands until the file is open again. Returns the event for listeners.
    fn degrade(&mut self, error: &Error) -> Event {
        let healing = match error {
            // It would not help to open the database again.
            Error::Degraded { reason } if self.writer.went_back() => Healing::never(reason.clone()),
            error => Healing::begin(error, self.engine.now()),
        };
        let reason = healing.reason.clone();
        tracing::error!(reason, "degraded: the file could not be written");
        self.engine.scheduler().suspend();
        self.engine.health.set_unwritable(Some(reason.clone()));
        self.healing = Some(healing);
        Event::Degraded { reason }
    }

    fn degraded(&self) -> Error {
        let reason = self.healing.as_ref().map(|healing| healing.reason.clone());
        Error::Degraded { reason: reason.unwrap_or_default() }
    }

    /// Answers these commands with an error; ends of attempts are kept.
    fn refuse(&mut self, commands: Vec<Command>, error: &Error) {
        let _occupation = self.engine.occupied.begin(Occupant::Callback);
        for command in commands {
            match command {
                Command::Finish(finish) => self.writer.keep(finish),
                Command::Step(step) => step.answer(Err(error.share())),
                Command::StartMark(mark) => mark.answer(Err(error.share())),
            }
        }
    }

    fn is_time_to_heal(&self) -> bool {
        self.healing.as_ref().is_some_and(|healing| healing.wait(self.engine.now()).is_zero())
    }

    fn heal_if_it_is_time(&mut self) {
        if self.is_time_to_heal() {
            self.heal();
        }
    }

    /// Tries once to open the file again and to write what could not be written.
    fn heal(&mut self) {
        let held = self.engine.bus.hold_attempts();
        let retried = self.open_again();
        let now = self.engine.now();
        let Some(healing) = &mut self.healing else { return };
        match retried {
            Ok((committed, found)) => {
                self.healing = None;
                self.engine.resume(&found);
                self.publish(committed, held);
                self.engine.tell_cancelled_again();
                self.engine.look_for_ends();
                self.engine.wake_dispatcher();
                self.engine.bus.publish([Event::Healed]);
                tracing::info!("healed: the file is open again");
            }
            Err(error) => {
                if healing.failed_again(&error, now) {
                    tracing::warn!(reason = healing.reason, "still degraded");
                }
                self.engine.health.set_unwritable(Some(healing.reason.clone()));
            }
        }
    }

    fn open_again(&mut self) -> Result<(Committed, FoundAgain), Error> {
        if self.healing.as_ref().is_none_or(|healing| !healing.is_held) {
            self.engine.store.reopen()?;
            let ended = self.writer.reload()?;
            self.tell_dispatch(ended.into_iter().map(|id| Change::Settled { id }).collect());
        }
        let found = self.engine.find_again()?;
        let unstarted: Vec<JobId> = {
            let scheduler = self.engine.scheduler();
            self.writer.marks().filter(|id| !scheduler.is_handed_out(*id)).collect()
        };
        let (first, _answer) = call(move |batch| upkeep::begin_again(batch, &unstarted));
        let mut retried = self.writer.commit(vec![Command::Step(first)], self.engine.now(), self.engine.bus.is_heard());
        match retried.failure.take() {
            None => Ok((retried, found)),
            Some(error) => {
                retried.answer();
                if !matches!(error, Error::WriteHeld { .. }) {
                    let _ = self.engine.store.reopen_to_read();
                }
                Err(error)
            }
        }
    }

    // --- the stop -----------------------------------------------------------------------------

    /// Makes the last commits: the late ends of attempts, and the note that the file was closed in order.
    pub fn close(mut self) {
        let _must_not_wait = MustNotWait::begin();
        self.engine.store.wait_without_limit();
        // A job that was handed out before the stop and waited for its start mark can have started since.
        let engine = self.engine.clone();
        engine.release(&engine.executor.running.release_all());
        if self.healing.as_ref().is_some_and(|healing| !healing.is_hopeless()) {
            self.heal();
        }
        let late = self.receiver.leftovers();
        let (ends, others): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|command| matches!(command, Command::Finish(_)));
        if self.healing.is_none() {
            self.write_the_last(ends);
        } else {
            tracing::error!("the file cannot be written: the next open recovers");
        }
        let in_order = self.healing.is_none();
        {
            // The values that are dropped here can belong to the application.
            let _occupation = engine.occupied.begin(Occupant::Callback);
            self.writer.close();
            engine.waits.close();
            self.refuse(others, &Error::Closed);
            drop(self.writer);
        }
        if in_order {
            compact_before_close(&engine);
        }
        engine.store.close();
        // A listener that receives the end of the events may open the file again.
        let occupation = engine.occupied.begin(Occupant::Callback);
        engine.bus.close();
        engine.drop_on_dead();
        drop(occupation);
        engine.stop.close(log::closed);
        engine.wake_dispatcher();
        engine.moved.notify_waiters();
        engine.grown.notify_waiters();
    }

    fn write_the_last(&mut self, mut ends: Vec<Command>) {
        let engine = self.engine.clone();
        while !ends.is_empty() || self.writer.has_unfinished() {
            let committed = self.writer.commit(std::mem::take(&mut ends), engine.now(), engine.bus.is_heard());
            let has_failed = committed.failure.is_some();
            publish_last(&engine, committed);
            if has_failed {
                break;
            }
        }
        let buckets = engine.scheduler().bucket_states(engine.now());
        let (last, _answer) = call(move |batch| {
            for (key, state) in &buckets {
                upkeep::save_bucket(batch, key, state.as_ref())?;
            }
            upkeep::close_clean(batch)
        });
        let committed = self.writer.commit(vec![Command::Step(last)], engine.now(), engine.bus.is_heard());
        publish_last(&engine, committed);
    }
}

impl CommitLoop for WriterLoop {
    fn next(&mut self) -> bool {
        Self::next(self)
    }

    fn runs_again_in(&self) -> Option<Duration> {
        Self::runs_again_in(self)
    }

    fn is_free(&self) -> bool {
        Self::is_free(self)
    }

    fn is_forked(&self) -> bool {
        Self::is_forked(self)
    }

    fn write_for(&mut self, command: Command) {
        Self::write_for(self, command);
    }

    fn close(self: Box<Self>) {
        Self::close(*self);
    }
}

fn publish_last(engine: &Arc<Engine>, mut committed: Committed) {
    if let Some(error) = &committed.failure {
        tracing::error!(%error, "the last commit failed: the next open recovers");
    }
    let events = std::mem::take(&mut committed.events);
    // The result says whether the dispatcher has something to do. Nothing starts any more.
    let _ = engine.apply(std::mem::take(&mut committed.jobs.changes));
    let _occupation = engine.occupied.begin(Occupant::Callback);
    engine.waits.tell(std::mem::take(&mut committed.jobs.ends));
    committed.answer();
    engine.bus.publish(events);
}
