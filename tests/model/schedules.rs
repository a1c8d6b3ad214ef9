//! Compares schedules with a plain model that walks from each time to the next one: which runs there are, for which
//! times, and when the next one is. Clocks jump, and the queue is closed and killed in between.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use millpond::testing::{self, ManualClock};
use millpond::{Clock, Error, Every, JobFilter, Millpond, Misfire, NewJob, Overlap, Schedule, Scheduled, Timestamp};
use millpond_testkit::{SimDisk, one_of};

use crate::number;

const QUEUE: &str = "q";
const STEPS: usize = 60;
const SEEDS_DEFAULT: u64 = 200;
const HOUR: u64 = 3_600_000;
const YEARS_10: i64 = 10 * 365 * 24 * 3_600_000;
/// A run that is later than this is missed.
const LATE: u64 = 60_000;
/// If the clock is set back by more than this, schedules begin anew.
const SET_BACK: u64 = HOUR;

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wish {
    every: u64,
    aligned: bool,
    misfire: Misfire,
    at_most: Option<u64>,
    payload: u8,
}

impl Wish {
    fn random(rng: &mut Rng) -> Self {
        let misfires = [Misfire::Once, Misfire::Skip, Misfire::All { at_most: 3 }, Misfire::All { at_most: 50 }];
        Self {
            every: one_of(rng, &[1_000, 60_000, 600_000, HOUR, 7 * HOUR]),
            aligned: rng.u8(..3) > 0,
            misfire: misfires[rng.usize(..4)],
            at_most: (rng.u8(..4) == 0).then(|| rng.u64(1..20)),
            payload: rng.u8(..3),
        }
    }

    fn schedule(&self) -> Schedule {
        let every = Every::new(Duration::from_millis(self.every));
        let every = if self.aligned { every.aligned() } else { every };
        let schedule = Schedule::new(every, QUEUE, NewJob::raw("k", vec![self.payload]));
        let schedule = schedule.misfire(self.misfire).overlap(Overlap::Allow);
        match self.at_most {
            Some(runs) => schedule.at_most(runs),
            None => schedule,
        }
    }
}

/// A schedule as the model has it. Times are on the wall clock for aligned ones, else on the engine's line.
#[derive(Clone, Debug)]
struct Model {
    wish: Wish,
    next: Option<u64>,
    /// Times up to this one do not run any more.
    after: u64,
    anchor: u64,
    computed_at: u64,
    paused: bool,
    runs: u64,
}

/// The clocks as the engine sees them.
#[derive(Clone, Copy, Debug)]
struct Now {
    wall: u64,
    engine: u64,
}

impl Model {
    fn new(wish: Wish, now: Now) -> Self {
        let mut model = Self { wish, next: None, after: 0, anchor: 0, computed_at: 0, paused: false, runs: 0 };
        model.after = model.now(now);
        model.anchor = model.after + wish.every;
        model.look_ahead(now);
        model
    }

    fn now(&self, now: Now) -> u64 {
        if self.wish.aligned { now.wall } else { now.engine }
    }

    fn after(&self, time: u64) -> u64 {
        let mut next = if self.wish.aligned { time / self.wish.every * self.wish.every } else { self.anchor };
        if !self.wish.aligned && next <= time {
            next += (time - next) / self.wish.every * self.wish.every;
        }
        while next <= time {
            next += self.wish.every;
        }
        next
    }

    fn look_ahead(&mut self, now: Now) {
        let is_over = self.paused || self.wish.at_most.is_some_and(|most| self.runs >= most);
        self.next = (!is_over).then(|| self.after(self.after));
        self.computed_at = now.wall;
    }

    fn is_set_back(&self, now: Now) -> bool {
        self.wish.aligned && self.computed_at > now.wall + SET_BACK
    }

    /// The times that run now.
    fn fire(&mut self, now: Now) -> Vec<u64> {
        let at = self.now(now);
        let Some(next) = self.next.filter(|next| *next <= at) else { return Vec::new() };
        // At least the latest hundred.
        let mut owed = Vec::new();
        let from = at.saturating_sub(self.wish.every * 100);
        let mut time = if next >= from { next } else { self.after(from) };
        while time <= at {
            owed.push(time);
            time = self.after(time);
        }
        let latest = *owed.last().unwrap();
        let mut runs = match self.wish.misfire {
            Misfire::Skip if at - latest > LATE => Vec::new(),
            Misfire::All { at_most } => owed[owed.len().saturating_sub(at_most as usize)..].to_vec(),
            _ => vec![latest],
        };
        if let Some(most) = self.wish.at_most {
            runs.truncate((most - self.runs) as usize);
        }
        self.runs += runs.len() as u64;
        self.after = latest;
        self.look_ahead(now);
        runs
    }

    fn set_back(&mut self, now: Now) {
        if self.is_set_back(now) {
            self.after = now.wall;
            self.look_ahead(now);
        }
    }

    fn change(&mut self, wish: Wish, now: Now) -> Vec<u64> {
        let runs = if self.paused { Vec::new() } else { self.fire(now) };
        let was = std::mem::replace(&mut self.wish, wish);
        if (was.every, was.aligned) != (wish.every, wish.aligned) {
            let same_line = was.aligned == wish.aligned;
            self.anchor = if same_line { self.after } else { self.now(now) } + wish.every;
            self.after =
                if same_line && !self.is_set_back(now) { self.after.max(self.now(now)) } else { self.now(now) };
        }
        self.look_ahead(now);
        runs
    }

    fn resume(&mut self, now: Now) {
        self.paused = false;
        self.after = if self.is_set_back(now) { self.now(now) } else { self.after.max(self.now(now)) };
        self.look_ahead(now);
    }

    fn shown(&self, time: u64, now: Now) -> u64 {
        if self.wish.aligned { time } else { (now.wall + time).saturating_sub(now.engine) }
    }
}

struct World {
    rng: Rng,
    disk: SimDisk,
    clock: ManualClock,
    pond: Option<Millpond>,
    models: BTreeMap<String, Model>,
    /// What must be in the file: (schedule, time by the wall clock), in order of ids.
    expected: BTreeMap<String, Vec<u64>>,
    engine: u64,
}

fn open(disk: &SimDisk, clock: &ManualClock) -> Millpond {
    Millpond::builder().clock(clock.clone()).seed(0).open_backend(disk.clone()).expect("it opens")
}

impl World {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = Some(open(&disk, &clock));
        let engine = clock.wall().as_millis();
        let (models, expected) = Default::default();
        Self { rng: Rng::with_seed(seed), disk, clock, pond, models, expected, engine }
    }

    fn pond(&self) -> &Millpond {
        self.pond.as_ref().expect("it is open")
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.wall().as_millis(), engine: self.engine }
    }

    fn ran(&mut self, name: &str, times: Vec<u64>) {
        let now = self.now();
        let model = &self.models[name];
        let shown = times.into_iter().map(|time| model.shown(time, now)).collect::<Vec<_>>();
        self.expected.entry(name.to_owned()).or_default().extend(shown);
    }

    /// Lets everything happen that is due.
    async fn settle(&mut self) {
        testing::drain(self.pond()).await;
        let now = self.now();
        for name in self.models.keys().cloned().collect::<Vec<_>>() {
            let model = self.models.get_mut(&name).expect("it is there");
            let runs = model.fire(now);
            model.set_back(now);
            self.ran(&name, runs);
        }
    }

    fn advance(&mut self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.engine += millis;
        self.follow();
    }

    /// The engine's line follows the wall clock forward.
    fn follow(&mut self) {
        let wall = self.clock.wall().as_millis();
        if wall > self.engine + 1_000 {
            self.engine = wall;
        }
    }

    async fn step(&mut self) -> Result<(), String> {
        let name = format!("s{}", self.rng.u8(..3));
        let now = self.now();
        match self.rng.u8(..20) {
            0..=3 => {
                let same = self.models.get(&name).map(|model| model.wish).filter(|_| self.rng.u8(..4) == 0);
                let wish = same.unwrap_or_else(|| Wish::random(&mut self.rng));
                let answer = self.pond().schedule(&name, wish.schedule()).await.map_err(text)?;
                let (expected, runs) = match self.models.get_mut(&name) {
                    None => {
                        self.models.insert(name.clone(), Model::new(wish, now));
                        (Scheduled::Created, Vec::new())
                    }
                    Some(model) if model.wish == wish => (Scheduled::Unchanged, Vec::new()),
                    Some(model) => {
                        let shown = model.clone();
                        let runs = model.change(wish, now);
                        // The times that were owed are on the line that it had.
                        let runs = runs.into_iter().map(|time| shown.shown(time, now)).collect::<Vec<_>>();
                        (Scheduled::Changed, runs)
                    }
                };
                self.expected.entry(name).or_default().extend(runs);
                if answer != expected {
                    return Err(format!("{answer:?}, expected {expected:?}"));
                }
            }
            4 => {
                let answer = self.pond().schedules().pause(&name).await;
                let expected = self.models.get_mut(&name).map(|model| {
                    let changes = !model.paused;
                    if changes {
                        (model.paused, model.next) = (true, None);
                    }
                    changes
                });
                check(answer, expected)?;
            }
            5..=6 => {
                let answer = self.pond().schedules().resume(&name).await;
                let expected = self.models.get_mut(&name).map(|model| {
                    let changes = model.paused;
                    if changes {
                        model.resume(now);
                    }
                    changes
                });
                check(answer, expected)?;
            }
            7 => {
                let answer = self.pond().schedules().remove(&name).await.map_err(text)?;
                if answer != self.models.remove(&name).is_some() {
                    return Err(format!("removed: {answer}"));
                }
            }
            8 => {
                let answer = self.pond().schedules().run_now(&name).await;
                match (answer, self.models.contains_key(&name)) {
                    (Ok(_), true) => self.expected.entry(name).or_default().push(now.wall),
                    (Err(Error::NoSuchSchedule { .. }), false) => {}
                    (answer, _) => return Err(format!("run now: {answer:?}")),
                }
            }
            9..=14 => {
                let millis = one_of(&mut self.rng, &[1, 1_000, 59_999, 60_000, 600_001, HOUR, 30 * HOUR]);
                self.advance(millis);
            }
            15 => {
                let by =
                    one_of(&mut self.rng, &[-YEARS_10, -(3 * HOUR as i64), -1_800_000, 5_000, HOUR as i64, YEARS_10]);
                let wall = self.clock.wall().as_millis().saturating_add_signed(by);
                self.clock.set_wall(Timestamp::from_millis(wall));
                self.follow();
            }
            16..=17 => self.reopen(true).await,
            _ => self.reopen(false).await,
        }
        self.settle().await;
        self.compare().await
    }

    /// Closes or kills the queue, lets time pass, and opens it again.
    async fn reopen(&mut self, kill: bool) {
        // The file then knows the present time.
        self.pond().transaction(|tx| Ok(tx.list_tables().map(drop)?)).await.expect("it commits");
        let pond = self.pond.take().expect("it is open");
        if kill {
            let image = self.disk.image();
            pond.shutdown(Duration::ZERO).await.expect("it closes");
            self.disk = SimDisk::holding(image);
        } else {
            pond.shutdown(Duration::ZERO).await.expect("it closes");
        }
        let millis = one_of(&mut self.rng, &[0, 1_000, 61_000, HOUR, 50 * HOUR]);
        self.clock.advance(Duration::from_millis(millis));
        self.engine = (self.engine + millis).max(self.clock.wall().as_millis());
        self.pond = Some(open(&self.disk, &self.clock));
    }

    async fn compare(&mut self) -> Result<(), String> {
        let (mut found, mut cursor) = (BTreeMap::<String, Vec<(u64, u64)>>::new(), None);
        loop {
            let page = self.pond().jobs(&JobFilter::new().queue(QUEUE), cursor, 1_000).map_err(text)?;
            for job in page.jobs {
                let run = job.scheduled_for.ok_or("a job is of no schedule")?;
                found.entry(run.schedule).or_default().push((job.id.get(), run.at.as_millis()));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        for (name, expected) in &self.expected {
            let mut found = found.remove(name).unwrap_or_default();
            found.sort_unstable();
            let found: Vec<u64> = found.into_iter().map(|(_, at)| at).collect();
            // The engine's line can be a second away from the model's.
            let differs =
                found.len() != expected.len() || found.iter().zip(expected).any(|(a, b)| a.abs_diff(*b) > 1_000);
            if differs {
                return Err(format!("{name} ran at {found:?}, expected {expected:?}: {:?}", self.models.get(name)));
            }
        }
        if found.values().any(|runs| !runs.is_empty()) {
            return Err(format!("runs that nothing expected: {found:?}"));
        }
        let now = self.now();
        for (name, model) in &self.models {
            let info = self.pond().schedules().get(name).map_err(text)?;
            let next = model.next.map(|next| model.shown(next, now));
            let differs = match (info.next, next) {
                (Some(a), Some(b)) => a.as_millis().abs_diff(b) > 1_000,
                (a, b) => a.is_some() != b.is_some(),
            };
            if differs || info.runs != model.runs || info.paused != model.paused {
                return Err(format!("{info:?}, expected {model:?}"));
            }
        }
        let problems = self.pond().verify().await.map_err(text)?.problems;
        if problems.is_empty() { Ok(()) } else { Err(format!("{problems:?}")) }
    }
}

fn check(answer: Result<bool, Error>, expected: Option<bool>) -> Result<(), String> {
    match (&answer, expected) {
        (Ok(done), Some(expected)) if *done == expected => Ok(()),
        (Err(Error::NoSuchSchedule { .. }), None) => Ok(()),
        _ => Err(format!("{answer:?}, expected {expected:?}")),
    }
}

fn text(error: Error) -> String {
    format!("{error:?}")
}

#[test]
fn schedules_do_what_the_model_says() {
    let first = number("MODEL_SEED", 0);
    for seed in first..first + number("PROPTEST_CASES", SEEDS_DEFAULT) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lived = runtime.block_on(async {
            let mut world = World::new(seed);
            for step in 0..STEPS {
                world.step().await.map_err(|why| format!("step {step}: {why}"))?;
            }
            Ok::<(), String>(())
        });
        if let Err(why) = lived {
            panic!("MODEL_SEED={seed} PROPTEST_CASES=1 fails: {why}");
        }
    }
}
