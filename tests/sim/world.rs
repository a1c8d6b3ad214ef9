//! One world: a queue without threads, its disk, its clock, its callers and its workers. The seed decides what
//! happens next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use millpond::testing::{ManualClock, Stepper, open_stepped};
use millpond::{
    Aging, Circuit, Clock, Context, Event, Events, Explanation, Job, JobFilter, JobId, Millpond, Retry, Timestamp,
    Worker,
};
use millpond_testkit::{CUT_POLICIES, CutPolicy, Failure, Fault, Op, SimDisk};
use redb::{ReadTransaction, ReadableTable, TableDefinition};
use tokio::runtime::Runtime;

use crate::batches::handle_batch;
use crate::calls::Caller;
use crate::compare::{Moment, View, number_of};
use crate::flows::{Flows, is_of_flow, is_of_flows};
use crate::guest_talk;
use crate::handlers::{DEAD_ROWS, Note, ROWS, Scene, Stage, Timers, handle, handle_blocking, on_dead};
use crate::kept;
use crate::limits::LIMIT;
use crate::oracle::{Check, CircuitKey, Oracle};
use crate::paths::took;
use crate::plan::{GROUPS_MAX, KINDS, Plan, queue_name};
use crate::renames::Renames;
use crate::schedules::{Schedules, is_of_schedules, is_scheduled};
use crate::scrambled::Scrambled;
use crate::selections::Selections;
use crate::streams::{Entries, is_entry, is_of_streams};
use crate::topics::{Messages, is_message, is_of_topics};
use crate::unique::{Uniques, is_of_uniques, is_unique};

/// What a clock shows that was not set.
const UNSET: u64 = 5_000;
const YEARS_10: i64 = 10 * 365 * 24 * 3_600_000;
/// The number of rounds in which everything that needs no time must be done.
const ROUNDS_MAX: u32 = 3_000;
const TRACE_LINES: usize = 40;
/// The longest time for which a crash holds up a job that did not run at it.
const RECOVERS_MOST: Duration = Duration::from_millis(1_500);
/// A guest yields at each of its steps, also while it waits.
const TASKS_WITH_GUESTS: u32 = 192;

/// The payload codec has read something.
fn read_coded(own: u8, other: u8) {
    took("something coded was read");
    if own != other {
        took("something was read that an earlier opening had coded");
    }
}

/// What a process has open.
pub struct Open {
    pub steps: Stepper,
    pub pond: Millpond,
    pub events: Events,
    pub workers: Vec<Option<Worker>>,
    pub runtime: Runtime,
}

/// What has happened, in order: a number for all of it, and the last lines.
#[derive(Default)]
pub struct Trace {
    pub hash: u64,
    pub lines: VecDeque<String>,
    steps: u64,
    aloud: bool,
}

impl Trace {
    pub fn note(&mut self, line: String) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.steps += 1;
        if self.aloud {
            println!("{line}");
        }
        if self.lines.len() == TRACE_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

pub struct World {
    pub plan: Plan,
    pub schedules: Schedules,
    pub messages: Messages,
    pub entries: Entries,
    pub uniques: Uniques,
    pub flows: Flows,
    pub selections: Selections,
    pub renames: Renames,
    pub rng: Rng,
    /// Decides which calls are made again.
    pub repeats: Rng,
    pub clock: ManualClock,
    pub disk: SimDisk,
    /// How many milliseconds syncs have taken since this was last read.
    slowed: Arc<AtomicU64>,
    pub stage: Arc<Mutex<Stage>>,
    pub timers: Arc<Timers>,
    pub oracle: Oracle,
    pub callers: Vec<Caller>,
    pub next_call: u64,
    pub next_row: u64,
    pub trace: Trace,
    pub open: Option<Open>,
    pub step: u32,
    /// How long the dispatcher said that nothing happens unless it is woken.
    pub idle_for: Option<Duration>,
    /// The process before this one died.
    pub probation: bool,
    /// No more calls are made.
    pub silent: bool,
    /// How often the file was opened again.
    pub opened: u32,
    /// Runs that began after the stop had taken back the running attempts.
    pub late: BTreeSet<(u64, u32)>,
    wall_most: u64,
}

impl World {
    pub fn new(seed: u64, aloud: bool) -> Result<Self, String> {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(seed, &mut rng);
        let clock = ManualClock::new();
        let today = clock.wall().as_millis();
        if plan.clock_unset {
            clock.set_wall(Timestamp::from_millis(UNSET));
        }
        let wall = clock.wall().as_millis();
        let stage = Stage {
            seed,
            notes: Vec::new(),
            calm: false,
            poisons: Default::default(),
            dies: false,
            next_n: 1,
            runs: Default::default(),
            queues: plan.queues.len(),
            groups: plan.groups,
            tame: plan.tame,
        };
        let oracle = Oracle::new(&plan, wall);
        let schedules = Schedules::random(seed, &plan);
        let messages = Messages::random(seed, &plan);
        let entries = Entries::random(seed, &plan);
        let uniques = Uniques::random(seed, &plan);
        let flows = Flows::random(seed, &plan);
        let selections = Selections::random(seed, &plan);
        let stage = Arc::new(Mutex::new(stage));
        guest_talk::listen(stage.clone(), clock.clone(), plan.plugins.clone());
        let mut world = Self {
            rng,
            disk: SimDisk::new(),
            slowed: Arc::default(),
            stage,
            timers: Arc::new(Timers::new(clock.clone())),
            oracle,
            callers: Vec::new(),
            next_call: 1,
            next_row: 1,
            trace: Trace { aloud, ..Trace::default() },
            open: None,
            step: 0,
            idle_for: None,
            probation: false,
            silent: false,
            opened: 0,
            late: BTreeSet::new(),
            wall_most: today,
            clock,
            plan,
            schedules,
            messages,
            entries,
            uniques,
            flows,
            selections,
            renames: Renames::random(seed),
            repeats: Rng::with_seed(seed ^ 0x7265_7065_6174),
        };
        world.note(|world| format!("{:?}", world.plan));
        world.open_file().map_err(|error| format!("the file does not open: {error}"))?;
        world.set_up()?;
        Ok(world)
    }

    pub fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        let line = format!("[{}] {}", self.step, line(self));
        self.trace.note(line);
    }

    pub fn now(&self) -> &Open {
        self.open.as_ref().expect("it is open")
    }

    pub fn steps(&mut self) -> &mut Stepper {
        &mut self.open.as_mut().expect("it is open").steps
    }

    /// A number for everything that has happened, including what the disk did.
    pub fn hash(&self) -> (u64, u64, u32) {
        let (ops, hash) = (self.disk.asked(Some(Op::Write)), self.disk.checksum());
        (self.trace.hash, ops, hash)
    }

    // --- opening ------------------------------------------------------------------------------

    pub fn open_file(&mut self) -> Result<(), millpond::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().event_interval(1).build().unwrap();
        let builder = Millpond::builder()
            .clock(self.clock.clone())
            .seed(self.rng.u64(..))
            .runtime(runtime.handle().clone())
            .max_running(self.plan.max_running)
            .blocking_threads(self.plan.threads.threads)
            .cache_bytes(self.plan.cache_bytes)
            .window_jobs_max(self.plan.window)
            .window_bytes_max(self.plan.window_bytes)
            .limit(LIMIT, self.plan.limits.units.unwrap_or(1))
            .events_buffer(if self.plan.bulk { 8_192 } else { 1_024 });
        let (fails, opening) = (self.plan.dead_hook_fails, Arc::new(AtomicBool::new(true)));
        let opens = opening.clone();
        let builder = builder.on_dead(move |tx, dead| {
            if opens.load(Ordering::Relaxed) {
                took("the hook for dead jobs was called when the file was opened");
            }
            on_dead(tx, dead, fails)
        });
        let builder = match self.plan.batch_bytes {
            Some(bytes) => builder.batch_bytes_max(bytes),
            None => builder,
        };
        let builder = match self.plan.coded {
            true => builder.payload_codec(Scrambled { key: self.rng.u8(..), reads: read_coded }),
            false => builder,
        };
        let disk = self.disk.clone();
        let opened = open_stepped(builder, move || Ok(disk.clone()));
        opening.store(false, Ordering::Relaxed);
        self.account_for_slow_disk();
        let (pond, steps) = opened?;
        let events = pond.events_with_attempts(|_| true);
        let workers = self.plan.queues.iter().map(|_| None).collect();
        self.open = Some(Open { steps, pond, events, workers, runtime });
        self.selections.opened();
        self.note(|_| "open".into());
        Ok(())
    }

    fn set_up(&mut self) -> Check {
        for queue in 0..self.plan.queues.len() {
            let settings = self.plan.queues[queue].settings();
            let configure = self.now().pond.queue(&queue_name(queue)).unwrap().configure(settings);
            self.done(configure)?;
            if self.rng.u8(..8) > 0 {
                self.start_worker(queue);
            }
        }
        self.set_up_schedules()?;
        self.set_up_topics()?;
        self.set_up_streams()?;
        self.set_up_uniques()?;
        self.set_up_flows()
    }

    pub fn start_worker(&mut self, queue: usize) {
        let plan = self.plan.queues[queue].clone();
        let retry = Retry::fixed(Duration::from_millis(plan.backoff)).jitter(0.0).max_attempts(plan.attempts);
        let mut worker = self.now().pond.worker(&queue_name(queue)).concurrency(plan.concurrency).retry(retry);
        worker = worker.timeout(plan.timeout);
        if let Some((rate, _)) = plan.rate {
            worker = worker.rate_limit(rate);
        }
        if let Some((rate, _)) = plan.group_rate {
            worker = worker.group_rate_limit(rate);
        }
        if let Some(breaker) = plan.breaker {
            worker = worker.circuit_breaker(breaker);
        }
        if let Some(breaker) = plan.group_breaker {
            worker = worker.group_circuit_breaker(breaker);
        }
        if let Some(period) = plan.ages {
            worker = worker.aging(Aging::every(period));
        }
        let (stage, timers, clock) = (self.stage.clone(), self.timers.clone(), self.clock.clone());
        let scene = Scene { stage, timers, clock, timeout: plan.timeout };
        let kinds = if plan.all_kinds { 2 } else { 1 };
        worker = self.plan.limits.add_to(worker, queue, kinds);
        for (kind, name) in KINDS[..kinds].iter().enumerate() {
            #[cfg(feature = "wasm")]
            if self.plan.plugins.is_plugin(queue, kind) {
                worker = worker.handle_wasm(name, self.deploy(queue, kind));
                continue;
            }
            let scene = scene.clone();
            if let Some(batch) = self.plan.batches.of(queue, kind) {
                let most = self.plan.batches.most(queue, kind).unwrap_or(1);
                worker = worker.handle_batch_raw(name, batch, move |jobs| handle_batch(scene.clone(), most, jobs));
                continue;
            }
            if self.plan.threads.is_blocking(queue, kind) {
                worker = worker.handle_blocking_raw(name, move |job: Job<bytes::Bytes>, ctx: Context| {
                    handle_blocking(&scene, &job, &ctx)
                });
                continue;
            }
            worker =
                worker.handle_raw(name, move |job: Job<bytes::Bytes>, ctx: Context| handle(scene.clone(), job, ctx));
        }
        if let Ok(worker) = worker.start() {
            self.open.as_mut().expect("it is open").workers[queue] = Some(worker);
            self.oracle.plan.queues[queue].all_kinds = plan.all_kinds;
            self.oracle.set_has_worker(queue, true);
            self.selections.serves(queue);
            self.oracle.set_slots(queue, plan.concurrency);
            #[cfg(feature = "wasm")]
            self.know_version(queue);
            self.note(|_| format!("worker {queue} starts"));
        }
    }

    fn change_workers(&mut self) {
        let queue = self.rng.usize(..self.plan.queues.len());
        let choice = self.rng.u8(..8);
        let has_worker = self.now().workers[queue].is_some();
        match (has_worker, choice) {
            (false, _) => self.start_worker(queue),
            (true, 0..=1) => {
                let worker = self.open.as_mut().expect("it is open").workers[queue].take();
                worker.expect("it has one").stop();
                self.oracle.set_has_worker(queue, false);
                self.note(|_| format!("worker {queue} stops"));
            }
            (true, 2..=5) => {
                let slots = self.rng.usize(1..6);
                let worker = self.now().workers[queue].clone().expect("it has one");
                self.oracle.set_slots(queue, slots);
                worker.set_concurrency(slots).unwrap();
                self.note(|_| format!("worker {queue} has {slots} slots"));
            }
            _ if self.plan.poison => {}
            _ => {
                let jobs = self.rng.usize(1..8);
                self.oracle.set_max_running(jobs);
                self.now().pond.set_max_running(jobs).unwrap();
                self.note(|_| format!("{jobs} may run at once"));
            }
        }
    }

    // --- the parts of the engine --------------------------------------------------------------

    /// Runs one round of the writer. Returns true if there was something to do.
    pub fn write(&mut self) -> Result<bool, String> {
        self.uniques.commits(&self.oracle);
        let wrote = self.steps().write();
        self.account_for_slow_disk();
        if wrote {
            let hash = (self.disk.asked(Some(Op::Write)), self.disk.checksum());
            self.note(|_| format!("write {hash:?}"));
        }
        if self.disk.is_off() {
            took("a crash within a commit");
            self.crash()?;
            return Ok(true);
        }
        self.listen()?;
        if self.plan.bulk {
            let waiting = self.now().pond.queue("q0").unwrap().counts().scheduled;
            if waiting > 0 && waiting < crate::calls::BULK as u64 && !self.plan.selects {
                took("a promotion in several batches");
            }
        }
        if std::mem::take(&mut self.oracle.saw_healed) {
            self.compare(Moment::Healed)?;
        }
        Ok(wrote)
    }

    /// Lets the time pass that syncs have taken.
    pub fn account_for_slow_disk(&mut self) {
        let slowed = self.slowed.swap(0, Ordering::Relaxed);
        if slowed > 0 {
            self.wall_most = self.wall_most.max(self.clock.wall().as_millis());
            self.oracle.advanced(slowed);
            self.timers.fire(&mut self.rng);
        }
    }

    fn listen(&mut self) -> Check {
        let open = self.open.as_mut().expect("it is open");
        while let Some(event) = open.events.try_next() {
            let Ok(event) = event else { return Err("the simulation reads the events too slowly".into()) };
            self.trace.note(match &event {
                Event::Retrying { id, attempt, delay, .. } => format!("    told Retrying {id} {attempt} {delay:?}"),
                event => format!("    told {event:?}"),
            });
            if is_of_streams(&event) {
                continue;
            }
            if is_of_schedules(&event) || is_of_flows(&event) || is_of_topics(&event) {
                self.oracle.told_of_schedules(&event)?;
                continue;
            }
            // Faults are for the engine, not for the reads of the simulation.
            let read = |id| self.disk.without_faults(|| open.pond.job(JobId::new(id)).ok());
            if is_of_uniques(&event) {
                self.oracle.told_of_schedules(&event)?;
                self.uniques.told(&event, &self.oracle, read)?;
                continue;
            }
            if matches!(event, Event::Degraded { .. }) {
                self.uniques.is_in_doubt();
                self.oracle.circuits_in_doubt();
            }
            self.selections.told(&event);
            self.oracle.told(&event, |id| read(id).as_ref().and_then(number_of))?;
        }
        self.uniques.heard()?;
        self.oracle.drops_heard();
        self.oracle.circuits_heard()
    }

    pub fn dispatch(&mut self) {
        self.idle_for = self.steps().dispatch();
        let wait = self.idle_for;
        self.note(|_| format!("dispatch: {wait:?}"));
    }

    /// Lets so many tasks run.
    pub fn run(&mut self, tasks: u32) -> Check {
        self.now().runtime.block_on(async {
            for _ in 0..tasks {
                tokio::task::yield_now().await;
            }
        });
        self.notice()
    }

    /// Lets a thread of the pool run one blocking handler.
    pub fn thread(&mut self) -> Check {
        let (waiting, threads) = (self.now().steps.waiting_for_threads(), self.plan.threads.threads);
        if waiting > threads {
            return Err(format!("I10: {waiting} were handed out and wait for {threads} threads"));
        }
        if waiting == threads {
            took("all threads were busy");
        }
        if self.steps().run_thread() {
            took("a blocking handler ran");
        }
        self.notice()
    }

    /// Checks the notes of what handlers did.
    fn notice(&mut self) -> Check {
        self.notice_uniques()?;
        self.notice_flows()?;
        let notes = std::mem::take(&mut self.stage.lock().unwrap().notes);
        let mut blocked = false;
        for note in &notes {
            self.trace.note(format!("    {note:?}"));
            if matches!(note, Note::End { act: None, .. }) {
                took("a timeout");
            }
            blocked |= matches!(note, Note::Blocked { .. });
            self.oracle.seen(note)?;
        }
        if blocked {
            self.timers.fire(&mut self.rng);
            self.read_clock();
        }
        let mut stage = self.stage.lock().unwrap();
        let dies = std::mem::take(&mut stage.dies);
        drop(stage);
        #[cfg(feature = "wasm")]
        self.the_right_plugins_are_suspended()?;
        if dies {
            self.oracle.kills += 1;
            self.note(|_| "a job kills the process".into());
            self.crash()?;
        }
        Ok(())
    }

    // --- time ---------------------------------------------------------------------------------

    pub fn advance(&mut self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.oracle.advanced(millis);
        self.timers.fire(&mut self.rng);
        self.read_clock();
        self.note(|_| format!("{millis} ms pass"));
    }

    /// The engine's time moves when the engine reads the clock.
    fn read_clock(&mut self) {
        self.wall_most = self.wall_most.max(self.clock.wall().as_millis());
        if let Some(open) = &self.open {
            let _ = open.pond.queue("q0").unwrap().rate().available_in();
        }
    }

    pub fn set_wall(&mut self, wall: u64) {
        self.clock.set_wall(Timestamp::from_millis(wall));
        self.oracle.wall_set(wall);
        self.read_clock();
        self.note(|_| format!("the wall clock shows {wall}"));
    }

    pub fn set_wall_right(&mut self) {
        self.set_wall(self.wall_most);
    }

    /// The milliseconds until something is due.
    pub fn next_event(&self) -> u64 {
        let timers = self.timers.next().map(|at| at.saturating_sub(self.clock.monotonic()));
        let next = [timers, self.idle_for].into_iter().flatten().min().unwrap_or(Duration::from_secs(30));
        (next.as_nanos().div_ceil(1_000_000) as u64).clamp(1, 3_600_000)
    }

    fn pass_time(&mut self) {
        let choices = [1, 5, 10, 50, 200, 1_000, 5_000, 30_000, 600_000];
        let millis = if self.rng.bool() { self.next_event() } else { choices[self.rng.usize(..choices.len())] };
        self.advance(millis);
    }

    fn jump(&mut self) {
        if self.rng.u8(..6) == 0 {
            let wall = if self.oracle.wall < self.wall_most / 2 { self.wall_most } else { UNSET };
            took(if wall == UNSET { "the wall clock was lost" } else { "the machine learned the time" });
            return self.set_wall(wall);
        }
        let by = [500, 900, 2_000, 3_600_000, 86_400_000, YEARS_10][self.rng.usize(..6)];
        let by = if self.rng.bool() { by } else { -by };
        if by.abs() == YEARS_10 {
            took(if by > 0 {
                "the wall clock was set forward ten years"
            } else {
                "the wall clock was set back ten years"
            });
        }
        self.set_wall(self.clock.wall().as_millis().saturating_add_signed(by));
    }

    // --- the disk -----------------------------------------------------------------------------

    fn change_disk(&mut self) {
        if self.disk.is_faulty() && self.rng.u8(..3) > 0 {
            self.repair_disk();
            return;
        }
        self.oracle.harmed = true;
        match self.rng.u8(..8) {
            0 => self.disk.cut_power_after(Some(self.rng.u64(..14))),
            1 => {
                let time = Duration::from_millis([5, 700, 61_000][self.rng.usize(..3)]);
                let (clock, slowed) = (self.clock.clone(), self.slowed.clone());
                self.disk.on_sync(Some(Arc::new(move || {
                    clock.advance(time);
                    slowed.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
                })));
                took("a slow disk");
            }
            2 => self.disk.on_sync(None),
            _ => {
                // A failed sync is the only way to a commit that is durable although its callers are told that its outcome is
                // unknown: so it is chosen more often than the others.
                let kinds: [&[Op]; 8] = [
                    &[Op::Write],
                    &[Op::Write, Op::SetLen],
                    &[Op::SetLen],
                    &[Op::Sync],
                    &[Op::Sync],
                    &[Op::Sync],
                    &[Op::Read],
                    &[Op::Read, Op::Write, Op::SetLen, Op::Sync],
                ];
                let ops = kinds[self.rng.usize(..kinds.len())];
                let (lasts, full) = (self.rng.bool(), self.rng.bool() && !ops.contains(&Op::Read));
                let failure = if full { Failure::NoSpace } else { Failure::Io };
                let (after, times) = (self.rng.u64(..12), if lasts { u64::MAX } else { 1 });
                let fault = Fault { ops, failure, after, times };
                self.disk.fail(fault);
                took(if lasts { "a lasting fault" } else { "a one-shot fault" });
                self.note(|_| format!("{fault:?}"));
            }
        }
    }

    pub fn repair_disk(&mut self) {
        self.disk.repair();
        self.disk.on_sync(None);
        self.note(|_| "the disk is repaired".into());
    }

    // --- comparing ----------------------------------------------------------------------------

    pub fn compare(&mut self, moment: Moment) -> Check {
        let degraded = self.now().pond.degraded().is_some();
        let view = if degraded { None } else { self.disk.without_faults(|| self.view(moment)) };
        let Some(view) = view else {
            self.oracle.blind = true;
            self.uniques.is_in_doubt();
            self.oracle.circuits_in_doubt();
            return Ok(());
        };
        self.note(|_| format!("compare: {moment:?}, {} jobs, {} rows", view.jobs.len(), view.rows.len()));
        self.see_rates();
        self.see_circuits(moment);
        self.oracle.compare(moment, &view)?;
        self.uniques.compare(moment, &view.uniques)?;
        self.compare_flows()?;
        self.compare_topics()?;
        self.compare_streams()?;
        self.compare_schedules()
    }

    fn view(&self, moment: Moment) -> Option<View> {
        let pond = &self.now().pond;
        let (mut jobs, mut uniques, mut cursor) = (Vec::new(), Vec::new(), None);
        loop {
            let mut page = pond.jobs(&JobFilter::new(), cursor, 1_000).ok()?;
            for job in &mut page.jobs {
                job.queue = self.renames.own_name(std::mem::take(&mut job.queue));
            }
            let (with_keys, others): (Vec<_>, Vec<_>) = page.jobs.into_iter().partition(is_unique);
            uniques.extend(with_keys);
            jobs.extend(
                others
                    .into_iter()
                    .filter(|job| !is_scheduled(job) && !is_of_flow(job) && !is_message(job) && !is_entry(job)),
            );
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let read = pond.begin_read().ok()?;
        let (rows, dead_rows) = (counted(&read, ROWS)?, counted(&read, DEAD_ROWS)?);
        let queues = || (0..self.plan.queues.len()).map(|queue| pond.queue(&self.renames.name_of(queue)).unwrap());
        let kept = kept::rows(&read)?;
        let counts = queues().map(|queue| queue.counts()).collect();
        let paused = queues().map(|queue| queue.is_paused()).collect();
        let mut held = Vec::new();
        for queue in queues().filter(|_| moment != Moment::Running) {
            let groups = queue.groups(None, GROUPS_MAX.into()).ok()?.groups;
            let of_queue = groups.into_iter().filter(|group| group.held_by.is_some());
            held.extend(of_queue.map(|group| (queue.name().to_owned(), group.name)));
        }
        Some(View { jobs, uniques, rows, dead_rows, counts, paused, held, kept })
    }

    /// What an operator sees of a circuit.
    fn circuit(&self, (queue, group): CircuitKey) -> Circuit {
        let handle = self.now().pond.queue(&self.renames.name_of(queue)).unwrap();
        group.map_or_else(|| handle.circuit(), |group| handle.group_circuit(&crate::plan::group_name(group)).unwrap())
    }

    /// A circuit of which events may have been missed is what the engine says.
    fn see_circuits(&mut self, moment: Moment) {
        if moment != Moment::Running || self.oracle.blind {
            self.oracle.circuits_in_doubt();
            for key in self.oracle.circuit_keys() {
                let shown = self.circuit(key);
                self.oracle.circuit_is(key, shown);
            }
        }
    }

    fn see_rates(&self) {
        for queue in 0..self.plan.queues.len() {
            let handle = self.now().pond.queue(&self.renames.name_of(queue)).unwrap();
            let pending = handle.counts().pending > 0;
            if pending && self.plan.queues[queue].rate.is_some() && handle.rate().available_in().is_some() {
                took("a rate held a queue back");
            }
            for group in 0..self.plan.groups {
                let rate = handle.group_rate(&crate::plan::group_name(group)).unwrap();
                if pending && self.plan.queues[queue].group_rate.is_some() && rate.available_in().is_some() {
                    took("a rate held a group back");
                }
            }
        }
    }

    // --- steps --------------------------------------------------------------------------------

    /// What a few worlds begin with.
    pub fn begin(&mut self) -> Check {
        if self.plan.bulk {
            self.store_bulk();
        }
        Ok(())
    }

    /// Runs all steps of the seed, up to the phase in which everything must end.
    pub fn live(&mut self) -> Check {
        while self.step < self.plan.steps {
            self.step += 1;
            self.one_step()?;
        }
        Ok(())
    }

    fn one_step(&mut self) -> Check {
        let weights = self.plan.weights.clone();
        let weights = [
            weights.write,
            weights.dispatch,
            weights.run,
            weights.poll,
            weights.call,
            weights.time,
            weights.rest,
            weights.compare,
            weights.jump,
            weights.fault,
            weights.restart,
            weights.crash,
            weights.worker,
            weights.plugin,
            weights.thread,
        ];
        let mut left = self.rng.u32(..weights.iter().sum::<u32>());
        let mut choice = 0;
        while left >= weights[choice] {
            left -= weights[choice];
            choice += 1;
        }
        match choice {
            0 => self.write().map(drop),
            1 => {
                self.dispatch();
                Ok(())
            }
            2 => {
                let tasks = [1, 1, 2, 3, 8, 64][self.rng.usize(..6)];
                self.run(tasks)
            }
            3 => self.poll_one(),
            4 => self.call(),
            5 => {
                self.pass_time();
                Ok(())
            }
            6 => self.rest().map(drop),
            7 => self.compare(Moment::Running),
            8 => {
                self.jump();
                Ok(())
            }
            9 => {
                self.change_disk();
                Ok(())
            }
            10 if self.rng.u8(..3) == 0 => self.abandon(),
            10 => self.restart(),
            11 => self.crash(),
            12 => {
                self.change_workers();
                Ok(())
            }
            #[cfg(feature = "wasm")]
            13 => self.change_plugins(),
            _ => self.thread(),
        }
    }

    /// Runs everything that needs no time. Returns false if that does not end.
    ///
    /// The dispatcher runs once, and then only if it is woken: as long as no time passes, it would go on sleeping.
    pub fn rest(&mut self) -> Result<bool, String> {
        let (mut quiet, mut dispatched_at) = (0, None);
        for _ in 0..ROUNDS_MAX {
            let before = self.trace.steps;
            let wrote = self.write()?;
            let (opened, now) = (self.opened, Some((self.opened, self.clock.monotonic())));
            let dispatches =
                self.now().steps.is_woken() || self.idle_for == Some(Duration::ZERO) || dispatched_at != now;
            if dispatches {
                self.dispatch();
                dispatched_at = now;
            }
            self.run(if self.plan.plugins.any() { TASKS_WITH_GUESTS } else { 64 })?;
            self.thread()?;
            self.poll_all()?;
            let moved = wrote || self.trace.steps > before || self.opened > opened;
            quiet = if moved { 0 } else { quiet + 1 };
            if quiet == 3 {
                self.at_rest()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// At rest every call is answered unless it waits for room, and no job waits that could start.
    fn at_rest(&mut self) -> Check {
        if self.now().pond.degraded().is_some() || self.disk.is_faulty() {
            return Ok(());
        }
        self.answered_at_rest()?;
        self.oracle.rested();
        self.selections.rested();
        if self.now().steps.is_closed() {
            return Ok(());
        }
        self.oracle.no_job_outlives_its_expiry()?;
        self.no_schedule_is_due()?;
        self.oracle.circuits_are_as_told(|key| self.circuit(key))?;
        self.uniques.rested(&self.oracle, |id| {
            let info = self.disk.without_faults(|| self.now().pond.job(JobId::new(id)));
            info.ok().map(|info| info.state)
        })?;
        if let Err(why) = self.oracle.no_job_was_passed_by() {
            return Err(format!("{why}; {}", self.left_over()));
        }
        // In the final phase every job is explained, before that a few.
        let mut ids = self.oracle.open_ids();
        if !self.stage.lock().unwrap().calm {
            self.rng.shuffle(&mut ids);
            ids.truncate(4);
        }
        for id in ids {
            self.waits_for_a_reason(id)?;
        }
        Ok(())
    }

    fn waits_for_a_reason(&self, id: u64) -> Check {
        let why = self.disk.without_faults(|| self.now().pond.explain(JobId::new(id)));
        let job = self.oracle.by_id(id);
        match why {
            Ok(why @ Explanation::Waiting { ahead: 0, .. }) => {
                Err(format!("I12: job {id} could start and does not: {why:?}, {job:?}"))
            }
            Ok(Explanation::Recovering { wait, .. }) => {
                took("a job waited because the process had died");
                let was_there = job.is_some_and(|job| job.suspect || job.crashes > 0);
                match wait > RECOVERS_MOST && !was_there || !self.probation {
                    true => Err(format!("I18: a crash holds it up for {wait:?}: {job:?}")),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// What a crash leaves of the unsynced writes: often all of them, as when only the process dies.
    pub fn choose_left(&mut self) -> CutPolicy {
        match self.rng.usize(..CUT_POLICIES.len() + 3) {
            at if at < CUT_POLICIES.len() => CUT_POLICIES[at],
            _ => CutPolicy::All,
        }
    }
}

/// The rows of a table that counts, if they can be read.
fn counted(read: &ReadTransaction, table: TableDefinition<'_, u64, u64>) -> Option<BTreeMap<u64, u64>> {
    match read.open_table(table) {
        Ok(table) => table.iter().ok()?.map(|row| row.map(|(row, count)| (row.value(), count.value())).ok()).collect(),
        Err(redb::TableError::TableDoesNotExist(_)) => Some(BTreeMap::new()),
        Err(_) => None,
    }
}
