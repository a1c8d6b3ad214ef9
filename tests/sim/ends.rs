//! How a process ends, and how everything ends.

use std::time::Duration;

use millpond_testkit::ON_PURPOSE;

use crate::compare::Moment;
use crate::guest_talk;
use crate::handlers::Note;
use crate::oracle::Check;
use crate::paths::took;
use crate::plan::{KEPT, KINDS, Keeps, group_name, queue_name};
use crate::unique::UNIQUE;
use crate::world::{Open, World};

/// Everything must end within this many milliseconds of the simulated clock once no fault is left.
const LIVELY: u64 = 24 * 3_600_000;

/// And with at most this many moves of the clock.
const MOVES_MAX: u32 = 20_000;

impl World {
    // --- the process dies ---------------------------------------------------------------------

    pub fn crash(&mut self) -> Check {
        let left = self.choose_left();
        self.note(|_| format!("crash, which leaves {left:?}"));
        if left != millpond_testkit::CutPolicy::All {
            took("a crash that lost unsynced writes");
        }
        if self.open.as_ref().is_some_and(|open| open.pond.degraded().is_some()) {
            took("a crash while degraded");
        }
        // Commits that were reported, but whose results were not observed before the crash, do not count.
        let image = self.disk.after_power_cut(left, &mut self.rng);
        self.drop_process()?;
        self.disk = image;
        self.open_again(Moment::Crashed)
    }

    /// Drops everything that belonged to the process.
    fn drop_process(&mut self) -> Check {
        self.all_gone()?;
        if let Some(Open { steps, pond, events, workers, runtime }) = self.open.take() {
            drop((events, workers, pond, steps));
            drop(runtime);
        }
        self.account_for_slow_disk();
        guest_talk::forget();
        self.uniques.forget();
        let mut stage = self.stage.lock().unwrap();
        stage.notes.clear();
        stage.dies = false;
        Ok(())
    }

    fn open_again(&mut self, mut moment: Moment) -> Check {
        self.opened += 1;
        loop {
            if moment == Moment::Crashed && self.plan.weights.crash > 0 && self.rng.u8(..4) == 0 {
                self.oracle.harmed = true;
                self.disk.cut_power_after(Some(self.rng.u64(..10)));
            }
            let Err(error) = self.open_file() else { break };
            self.note(|_| format!("it does not open: {error:?}"));
            if !self.oracle.harmed {
                return Err(format!("I1: nothing happened to the disk, and the file does not open: {error:?}"));
            }
            moment = Moment::Crashed;
            if self.disk.is_off() {
                took("a crash within recovery");
                let left = self.choose_left();
                self.disk = self.disk.after_power_cut(left, &mut self.rng);
            } else if self.disk.is_faulty() {
                self.repair_disk();
            } else if self.open.is_none() && self.disk.failed() == 0 {
                return Err(format!("I1: the disk works, and the file does not open: {error:?}"));
            }
        }
        self.probation = moment == Moment::Crashed;
        self.oracle.opened(moment == Moment::Crashed);
        self.see_renames();
        self.compare(moment)?;
        let opened = self.opened;
        self.rename_back()?;
        if self.opened != opened {
            return Ok(());
        }
        self.start_unique_worker();
        self.start_flow_worker();
        for queue in 0..self.plan.queues.len() {
            if self.rng.u8(..8) > 0 || self.stage.lock().unwrap().calm {
                self.start_worker(queue);
            }
        }
        Ok(())
    }

    // --- the stop -----------------------------------------------------------------------------

    pub fn restart(&mut self) -> Check {
        let opened = self.opened;
        self.note(|_| "a stop begins".into());
        self.oracle.failures_may_not_count();
        let (failed, degraded) = (self.disk.failed(), self.now().pond.degraded().is_some());
        self.steps().begin_stop();
        for _ in 0..self.rng.u32(..12) {
            self.while_stopping()?;
            if self.opened != opened {
                return Ok(());
            }
        }
        if self.rng.bool() {
            self.note(|_| "handlers are told to stop".into());
            self.steps().cancel_running();
            for _ in 0..self.rng.u32(..8) {
                self.while_stopping()?;
                if self.opened != opened {
                    return Ok(());
                }
            }
        }
        self.note(|_| "the attempts that still run are taken back".into());
        self.oracle.taken_back();
        self.uniques.is_in_doubt();
        self.steps().take_back();
        self.close_down(opened, failed, degraded)
    }

    /// The last handle is dropped without a shutdown: by a transaction's closure while it runs, or together with the
    /// closure. The attempts that run are taken back at that moment.
    pub fn abandon(&mut self) -> Check {
        let opened = self.opened;
        let (failed, degraded) = (self.disk.failed(), self.now().pond.degraded().is_some());
        let last = std::sync::Mutex::new(Some(self.now().pond.testing().last_handle()));
        let (while_it_runs, fails) = (self.rng.bool(), self.rng.bool());
        self.note(|_| format!("the last handle is in a closure: dropped while it runs {while_it_runs}, fails {fails}"));
        let call = self.now().pond.transaction(move |tx| {
            // Like a closure that writes and fails: its batch is undone.
            drop(tx.open_table(crate::handlers::ROWS)?);
            if while_it_runs {
                last.lock().unwrap().take();
            }
            if fails { Err(ON_PURPOSE.into()) } else { Ok(()) }
        });
        took("the last handle was dropped in a closure");
        self.oracle.taken_back();
        self.uniques.is_in_doubt();
        self.oracle.abandoned = true;
        self.ask_for_the_end(call);
        for _ in 0..200 {
            self.poll_all()?;
            if self.now().pond.testing().is_stopping() {
                return self.close_down(opened, failed, degraded);
            }
            self.write()?;
            if self.opened != opened {
                return Ok(());
            }
        }
        Err("I23: the last handle is not dropped".into())
    }

    fn close_down(&mut self, opened: u32, failed: u64, degraded: bool) -> Check {
        for _ in 0..200 {
            if self.now().steps.is_closed() {
                break;
            }
            if self.rng.u8(..3) == 0 {
                self.run_after_the_stop()?;
            }
            self.poll_all()?;
            self.write_to_close()?;
            if self.opened != opened {
                return Ok(());
            }
        }
        if !self.now().steps.is_closed() {
            return Err("I23: the queue does not close".into());
        }
        self.late.clear();
        self.oracle.taken_back();
        self.uniques.is_in_doubt();
        self.all_answered()?;
        let in_order = !degraded && self.disk.failed() == failed && !self.disk.is_off();
        match in_order {
            true => took("a clean close"),
            false => took("it was closed while degraded"),
        }
        self.drop_process()?;
        self.open_again(if in_order { Moment::Closed } else { Moment::Crashed })
    }

    fn while_stopping(&mut self) -> Check {
        if self.plan.weights.thread > 0 && self.rng.u8(..6) == 0 {
            return self.thread();
        }
        match self.rng.u8(..6) {
            0 => self.write().map(drop),
            1 => {
                self.dispatch();
                Ok(())
            }
            2 => self.run(8),
            3 => self.poll_one(),
            4 => {
                let millis = [1, 50, 1_000][self.rng.usize(..3)];
                self.advance(millis);
                Ok(())
            }
            _ if self.silent => Ok(()),
            _ => self.call(),
        }
    }

    /// Attempts that were given up can still do anything: it has no effect. But an attempt that was handed out earlier,
    /// and begins only now because its start mark had to be durable first, was not given up.
    fn run_after_the_stop(&mut self) -> Check {
        self.now().runtime.block_on(async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        });
        let notes = std::mem::take(&mut self.stage.lock().unwrap().notes);
        for note in notes {
            if let Note::Start { n, run, .. } = note {
                self.late.insert((n, run));
            }
            let is_late = match note {
                Note::Start { n, run, .. } | Note::End { n, run, .. } | Note::Child { n, run, .. } => {
                    self.late.contains(&(n, run))
                }
                Note::Told { .. }
                | Note::Read { .. }
                | Note::Reused { .. }
                | Note::Unseen { .. }
                | Note::Wrong(_)
                | Note::Blocked { .. } => false,
            };
            if is_late {
                self.trace.note(format!("    late {note:?}"));
                self.oracle.seen(&note)?;
            } else {
                self.trace.note(format!("    given up {note:?}"));
            }
        }
        Ok(())
    }

    fn write_to_close(&mut self) -> Check {
        self.write().map(drop)
    }

    // --- everything ends ----------------------------------------------------------------------

    /// Removes all faults and limits: every job must then end.
    pub fn end(&mut self) -> Check {
        self.note(|_| "from now on there are no faults".into());
        self.plan.weights.crash = 0;
        self.disk.cut_power_after(None);
        self.repair_disk();
        self.set_wall_right();
        self.heal()?;
        self.stage.lock().unwrap().calm = true;
        for queue in &mut self.plan.queues {
            queue.all_kinds = true;
        }
        self.restart()?;
        self.disk.cut_power_after(None);
        self.heal()?;
        for queue in 0..self.plan.queues.len() {
            let worker = self.open.as_mut().expect("it is open").workers[queue].take();
            if let Some(worker) = worker {
                worker.stop();
            }
            self.start_worker(queue);
            self.resume(queue)?;
        }
        self.start_last_consumer()?;
        let begun = self.clock.monotonic_millis();
        for _ in 0..MOVES_MAX {
            if !self.rest()? {
                return Err("I19: work does not stop although no time passes".into());
            }
            if self.is_over() {
                return self.over();
            }
            if self.clock.monotonic_millis() - begun > LIVELY {
                break;
            }
            // The jobs behind a dead letter go on without it.
            for (queue, group) in self.oracle.held_groups() {
                let handle = self.now().pond.queue(&queue_name(queue)).unwrap();
                self.done(handle.resume_group(&group_name(group)))?;
            }
            let next = self.next_event();
            self.advance(next);
        }
        Err(format!("I6: not everything ends: {}", self.left_over()))
    }

    fn heal(&mut self) -> Check {
        for _ in 0..20 {
            self.rest()?;
            if self.now().pond.degraded().is_none() {
                return Ok(());
            }
            self.advance(1_000);
        }
        Err(format!("I24: the disk works, and the queue does not heal: {:?}", self.now().pond.degraded()))
    }

    fn resume(&mut self, queue: usize) -> Check {
        let handle = self.now().pond.queue(&queue_name(queue)).unwrap();
        self.done(handle.resume())?;
        for kind in KINDS {
            self.done(handle.resume_kind(kind))?;
        }
        self.oracle.kinds_resumed(queue);
        for group in 0..self.plan.groups {
            self.done(handle.resume_group(&group_name(group)))?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let unfinished = |queue: &str| self.now().pond.queue(queue).unwrap().counts().unfinished();
        let all = (0..self.plan.queues.len()).all(|queue| unfinished(&queue_name(queue)) == 0);
        self.callers.is_empty() && all && unfinished(UNIQUE) == 0 && self.flows_are_over() && self.streams_are_over()
    }

    fn over(&mut self) -> Check {
        self.verify();
        self.rest()?;
        self.compare(Moment::Running)?;
        self.uniques.over()?;
        self.flows_ended()?;
        self.streams_ended()?;
        self.nothing_is_kept_for_too_long()?;
        let kills_max: u32 = self.oracle.poisons.iter().map(|n| self.oracle.deaths_max(*n)).sum();
        if self.oracle.kills > kills_max {
            return Err(format!("I18: poisons struck {} times, at most {kills_max} are due", self.oracle.kills));
        }
        self.silent = true;
        self.restart()?;
        if self.is_over() { Ok(()) } else { Err(format!("I7: everything had ended: {}", self.left_over())) }
    }

    /// Jobs that queues keep for a time must be gone after that time, once retention has run.
    fn nothing_is_kept_for_too_long(&mut self) -> Check {
        for millis in [KEPT.as_millis() as u64, 31_000, 31_000] {
            self.advance(millis);
            self.rest()?;
        }
        for queue in (0..self.plan.queues.len()).filter(|queue| self.plan.queues[*queue].keeps == Keeps::Young) {
            let counts = self.now().pond.queue(&queue_name(queue)).unwrap().counts();
            if counts.completed + counts.cancelled + counts.dead > 0 {
                return Err(format!("I20: queue {queue} keeps ended jobs for too long: {counts:?}"));
            }
        }
        self.compare(Moment::Running)
    }

    pub fn left_over(&self) -> String {
        let why = |id: u64| self.disk.without_faults(|| self.now().pond.explain(millpond::JobId::new(id)));
        let jobs =
            self.oracle.open_ids().into_iter().map(|id| format!("{id} {:?}: {:?}", why(id), self.oracle.by_id(id)));
        let jobs = jobs.collect::<Vec<_>>().join("\n  ");
        let unfinished = |queue: usize| self.now().pond.queue(&queue_name(queue)).unwrap().counts().unfinished();
        let counted: Vec<u64> = (0..self.plan.queues.len()).map(unfinished).collect();
        let uniques = self.now().pond.queue(UNIQUE).unwrap().counts().unfinished();
        let others = format!("{uniques} with unique keys; {}; {}", self.flows_left_over(), self.streams_left_over());
        format!("{} callers wait; the queues have {counted:?} jobs; {others};\n  {jobs}", self.callers.len())
    }
}

trait Millis {
    fn monotonic_millis(&self) -> u64;
}

impl<C: millpond::Clock> Millis for C {
    fn monotonic_millis(&self) -> u64 {
        let time: Duration = self.monotonic();
        time.as_millis() as u64
    }
}
