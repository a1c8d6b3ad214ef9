//! The writer's loop: gathers, has it committed, tells everyone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::healing::Healing;
use super::maintenance::compact_before_close;
use super::returning::Returning;
use crate::error::Error;
use crate::events::Event;
use crate::job::{Change, JobId};
use crate::sync::thread;
use crate::writer::{Bell, Command, Committed, Outbox, Round, Then, Writer, call, upkeep};

/// What the writer's thread owns.
pub(super) struct WriterLoop {
    engine: Arc<Engine>,
    writer: Writer,
    outbox: Outbox,
    /// The file could not be written. Until it can be again callers are turned away, and ended jobs
    /// wait in the writer.
    healing: Option<Healing>,
    returning: Returning,
    /// The commit is made by a caller's thread, which starts what it has made ready.
    led: bool,
}

impl WriterLoop {
    pub fn new(engine: Arc<Engine>, writer: Writer, outbox: Outbox) -> Self {
        Self { engine, writer, outbox, healing: None, returning: Returning::default(), led: false }
    }

    pub fn bell(&self) -> Bell {
        self.outbox.bell()
    }

    /// What has gathered, as one commit. False after the last one.
    pub fn next(&mut self) -> bool {
        let mut round = self.outbox.gathered();
        self.linger(&mut round);
        let engine = &self.engine;
        self.returning.wait(&mut self.outbox, &mut round, || engine.now().mono);
        self.turn(round)
    }

    /// When there is something to do, though nobody rings: to look at the disk again, or what was put off.
    pub fn looks_again_in(&self) -> Option<Duration> {
        if self.outbox.has_put_off() {
            return Some(Duration::ZERO);
        }
        let healing = self.healing.as_ref().filter(|healing| !healing.is_hopeless())?;
        Some(healing.wait(self.engine.now()))
    }

    /// Nobody else has or expects anything to be written.
    pub fn is_free(&self) -> bool {
        self.healing.is_none()
            && self.engine.config.linger.is_zero()
            && self.returning.expects_nobody()
            && self.outbox.len() == 0
            && self.writer.is_free()
    }

    /// Makes a caller's own commit. Who calls sees to what may start then.
    pub fn write_for(&mut self, command: Command) {
        self.led = true;
        self.turn(Round::of(command));
        self.led = false;
    }

    /// What has gathered by now, if anything has or if it is time to look whether the disk is back.
    pub fn gathered(&mut self) -> Option<Round> {
        let round = self.outbox.gathered();
        let is_time = self.healing.as_ref().is_some_and(|healing| healing.wait(self.engine.now()).is_zero());
        (!round.is_empty() || is_time).then_some(round)
    }

    fn linger(&mut self, round: &mut Round) {
        let linger = self.engine.config.linger;
        if !linger.is_zero() && !round.commands.is_empty() && matches!(round.then, Then::Nothing) {
            thread::sleep(linger);
            self.outbox.gather_more(round);
        }
    }

    /// One round: one commit, and what stands alone. False after the last one.
    ///
    /// A panic in it comes from the storage engine, which asserts what holds of every file it has
    /// written, or is a mistake of ours. Either way nothing in memory can be trusted: the loop goes on,
    /// but only to turn everybody away.
    pub fn turn(&mut self, round: Round) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.round(round))).unwrap_or_else(|panic| {
            let reason = self.engine.give_up("the writer", &*panic);
            self.healing = Some(Healing::never(reason));
            true
        })
    }

    fn round(&mut self, round: Round) -> bool {
        let Round { commands, then } = round;
        if self.healing.is_some() {
            self.turn_away(commands);
        } else if !commands.is_empty() || self.writer.has_unfinished() {
            self.commit(commands);
        }
        match then {
            Then::Nothing => {}
            Then::Lease(lease) if self.healing.is_some() => lease.refuse(self.degraded()),
            Then::Lease(lease) => {
                let committed = self.writer.lease(lease, self.engine.now(), self.engine.bus.is_heard());
                self.settle(committed);
                self.admit();
            }
            Then::Between(job) => job(),
            Then::Stop => return false,
        }
        self.heal_if_it_is_time();
        true
    }

    fn commit(&mut self, commands: Vec<Command>) {
        let begun = self.engine.now();
        let committed = self.writer.commit(commands, begun, self.engine.bus.is_heard());
        let took = self.engine.now().mono.saturating_sub(begun.mono);
        self.returning.answered(committed.answers(), self.outbox.len(), took);
        self.settle(committed);
        self.admit();
    }

    /// Lets those in who wait for room, as long as there is some.
    fn admit(&mut self) {
        while self.healing.is_none() && self.writer.has_made_room() {
            let committed = self.writer.commit(Vec::new(), self.engine.now(), self.engine.bus.is_heard());
            self.settle(committed);
        }
    }

    /// Dispatch first, so that who is answered and asks again sees it; listeners last. That the disk
    /// has failed is known before anybody is answered: who asks again at once is told so.
    fn settle(&mut self, mut committed: Committed) {
        let failure = committed.failure.take();
        let told = failure.map(|error| self.degrade(&error));
        let events = std::mem::take(&mut committed.events);
        self.tell_dispatch(std::mem::take(&mut committed.changes));
        if committed.is_commit {
            self.engine.metrics.committed();
        }
        self.engine.metrics.completions_failed(committed.completions_failed);
        self.engine.metrics.deduplicated(committed.deduplicated);
        self.engine.metrics.quarantined(committed.set_aside);
        committed.answer();
        self.engine.bus.publish(events.into_iter().chain(told));
    }

    fn tell_dispatch(&self, changes: Vec<Change>) {
        let wakes = self.engine.apply(changes);
        if wakes && !self.led {
            self.engine.wake_dispatcher();
        }
    }

    // --- the disk has failed ------------------------------------------------------------------

    /// Nothing starts and nothing is taken in until the file is open again. Returns what listeners are
    /// to hear.
    fn degrade(&mut self, error: &Error) -> Event {
        let healing = Healing::begin(error, self.engine.now());
        let reason = healing.reason.clone();
        tracing::error!(reason, "degraded: the file could not be written");
        self.engine.scheduler().suspend();
        self.engine.set_health(Some(reason.clone()));
        self.healing = Some(healing);
        Event::Degraded { reason }
    }

    fn degraded(&self) -> Error {
        let reason = self.healing.as_ref().map(|healing| healing.reason.clone());
        Error::Degraded { reason: reason.unwrap_or_default() }
    }

    /// Callers who came before they could be told hear it now; ended jobs are kept.
    fn turn_away(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Finish(finish) => self.writer.keep(finish),
                Command::Step(step) => step.answer(Err(self.degraded())),
                Command::Mark(mark) => mark.answer(Err(self.degraded())),
            }
        }
    }

    fn heal_if_it_is_time(&mut self) {
        let now = self.engine.now();
        if self.healing.as_ref().is_some_and(|healing| healing.wait(now).is_zero()) {
            self.heal();
        }
    }

    /// One try at opening the file again and writing what could not be written.
    fn heal(&mut self) {
        let retried = self.open_again();
        let now = self.engine.now();
        let Some(healing) = &mut self.healing else { return };
        match retried {
            Ok((committed, suspects_gone)) => {
                self.healing = None;
                self.engine.resume(&suspects_gone);
                self.settle(committed);
                self.engine.wake_dispatcher();
                self.engine.bus.publish([Event::Healed]);
                tracing::info!("healed: the file is open again");
            }
            Err(error) => {
                healing.failed_again(&error, now);
                self.engine.set_health(Some(healing.reason.clone()));
                tracing::warn!(reason = healing.reason, "still degraded");
            }
        }
    }

    fn open_again(&mut self) -> Result<(Committed, Vec<JobId>), Error> {
        self.engine.store.reopen()?;
        let ended = self.writer.reload()?;
        self.tell_dispatch(ended.into_iter().map(|id| Change::Settled { id }).collect());
        let suspects_gone = self.engine.suspects_gone()?;
        let unstarted: Vec<JobId> = {
            let scheduler = self.engine.scheduler();
            self.writer.marks().filter(|id| !scheduler.is_flying(*id)).collect()
        };
        let (first, _answer) = call(move |batch| upkeep::begin_again(batch, &unstarted));
        let mut retried = self.writer.commit(vec![Command::Step(first)], self.engine.now(), self.engine.bus.is_heard());
        match retried.failure.take() {
            None => Ok((retried, suspects_gone)),
            Some(error) => {
                retried.answer();
                Err(error)
            }
        }
    }

    // --- the stop -----------------------------------------------------------------------------

    /// The last commits: what came late, and that the file was closed in order.
    pub fn close(mut self) {
        // What was handed out before the stop and waited for its start to be durable may have begun since.
        let engine = self.engine.clone();
        engine.release(&engine.executor.runs.release_all());
        if self.healing.as_ref().is_some_and(|healing| !healing.is_hopeless()) {
            self.heal();
        }
        let late = self.outbox.leftovers();
        let (mine, theirs): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|command| matches!(command, Command::Finish(_)));
        if self.healing.is_none() {
            self.write_the_last(mine);
        } else {
            tracing::error!("the file cannot be written: the next open recovers");
        }
        self.writer.close();
        for command in theirs {
            match command {
                Command::Step(step) => step.answer(Err(Error::Closed)),
                Command::Mark(mark) => mark.answer(Err(Error::Closed)),
                Command::Finish(_) => {}
            }
        }
        let in_order = self.healing.is_none();
        drop(self.writer);
        if in_order {
            compact_before_close(&engine);
        }
        engine.bus.close();
        engine.store.close();
        engine.set_closed();
    }

    fn write_the_last(&mut self, ends: Vec<Command>) {
        let engine = self.engine.clone();
        if !ends.is_empty() || self.writer.has_unfinished() {
            let committed = self.writer.commit(ends, engine.now(), engine.bus.is_heard());
            settle_last(&engine, committed);
        }
        let buckets = engine.scheduler().bucket_states(engine.now());
        let (last, _answer) = call(move |batch| {
            for (key, state) in &buckets {
                upkeep::save_bucket(batch, key, state.as_ref())?;
            }
            upkeep::close_clean(batch)
        });
        let committed = self.writer.commit(vec![Command::Step(last)], engine.now(), engine.bus.is_heard());
        settle_last(&engine, committed);
    }
}

fn settle_last(engine: &Arc<Engine>, mut committed: Committed) {
    if let Some(error) = &committed.failure {
        tracing::error!(%error, "the last commit failed: the next open recovers");
    }
    engine.metrics.quarantined(committed.set_aside);
    let events = std::mem::take(&mut committed.events);
    // Nothing starts any more.
    let _ = engine.apply(std::mem::take(&mut committed.changes));
    committed.answer();
    engine.bus.publish(events);
}
