//! What the seed decides before anything happens: the settings of the world, and how each job is made.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use millpond::{
    Capacity, CircuitBreaker, GroupPolicy, Keep, NewJob, QueueSettings, Rate, Retention, Timestamp, WhenFull,
};
use millpond_testkit::{Expires, JobSpec, When, one_of};

use crate::batches::BatchPlan;
use crate::limits::{LimitPlan, weight_of};
use crate::made::with_options;

pub const KINDS: [&str; 2] = ["even", "odd"];
/// A guest writes its group as one digit.
pub const GROUPS_MAX: u8 = if cfg!(feature = "wasm") { 10 } else { 25 };
/// A window has room for fewer than six of these.
pub const HEAVY_BYTES: usize = 400 << 10;
/// A time that no run reaches.
const NEVER: Duration = Duration::from_secs(1 << 34);

/// The name under which a plugin keeps state: one for each kind, whatever the queue.
pub fn plugin_name(kind: usize) -> String {
    format!("p{kind}")
}

pub fn queue_name(queue: usize) -> String {
    format!("q{queue}")
}

pub fn group_name(group: u8) -> String {
    format!("g{group}")
}

pub fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// A random job of a world.
pub fn random_job(rng: &mut Rng, n: u64, queues: usize, groups: u8) -> JobSpec {
    let when = match rng.u8(..10) {
        0..=6 => When::Now,
        7..=8 => When::Delay(one_of(rng, &[0, 1, 30, 1_000, 5_000, 60_000, 3_600_000])),
        _ => When::In(one_of(rng, &[-5_000, 0, 10, 5_000, 60_000, 3_600_000])),
    };
    let once = rng.u8(..8) == 0;
    JobSpec {
        n,
        queue: rng.usize(..queues),
        group: (groups > 0 && rng.u8(..5) < 3).then(|| rng.u8(..groups)),
        priority: one_of(rng, &[5, 5, 5, 5, 0, 9, 3]),
        kind: usize::from(rng.u8(..6) == 0),
        when,
        max: (rng.u8(..4) == 0 && !once).then(|| rng.u32(1..4)),
        expires: (rng.u8(..8) == 0).then(|| match (n % 3, one_of(rng, &[1, 2_000, 30_000, 7_200_000])) {
            (0, 1) => Expires::Ahead(-1),
            (0, millis) => Expires::Ahead(millis as i64),
            (_, millis) => Expires::In(millis),
        }),
        timeout: (rng.u8(..6) == 0).then(|| one_of(rng, &[1, 100, 1_000, 20_000])),
        backoff: (rng.u8(..8) == 0).then(|| one_of(rng, &[0, 1, 500, 10_000])),
        once,
        padding: one_of(rng, &[0, 0, 0, 0, 0, 100, 1_000, 5_000]),
        key: None,
    }
}

pub fn new_job(spec: &JobSpec, wall: Timestamp) -> NewJob {
    let mut payload = [spec.n.to_le_bytes(), spec.timeout.unwrap_or(0).to_le_bytes()].concat();
    if cfg!(feature = "wasm") {
        // A guest has no other way to learn these.
        payload.extend([spec.group.unwrap_or(u8::MAX), spec.queue as u8]);
    }
    payload.resize(payload.len() + spec.padding, 0);
    let job = with_options(NewJob::raw(KINDS[spec.kind], payload), spec, wall, group_name);
    let job = match weight_of(spec) {
        Some(weight) => job.weight(weight),
        None => job,
    };
    if is_keyed(spec) { job.idempotency_key(format!("call-{}", spec.n)).idempotency_for(KEY_TIME) } else { job }
}

/// For how long an idempotency key is held.
pub const KEY_TIME: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Whether the job has an idempotency key, so that its call can be made again. A job that expires has none: what is made
/// again would expire later.
pub fn is_keyed(spec: &JobSpec) -> bool {
    spec.n.is_multiple_of(3) && spec.expires.is_none()
}

/// Which ended jobs a queue keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// All of them, so that no job is allowed to be missing.
    All,
    /// All that are younger than [`KEPT`].
    Young,
    /// Two of those that have not completed.
    Few,
}

/// How long the queues with [`Keeps::Young`] keep ended jobs.
pub const KEPT: Duration = Duration::from_secs(3_600);

pub fn random_policy(rng: &mut Rng) -> GroupPolicy {
    one_of(rng, &[GroupPolicy::Block, GroupPolicy::Block, GroupPolicy::Skip, GroupPolicy::Hold])
}

fn random_breaker(rng: &mut Rng) -> CircuitBreaker {
    let open_for = Duration::from_millis(one_of(rng, &[100, 1_000, 30_000]));
    CircuitBreaker::failures(one_of(rng, &[0.5, 1.0])).of(rng.u32(1..6)).open_for(open_for)
}

/// A queue of the world and its worker.
#[derive(Clone, Debug)]
pub struct QueuePlan {
    pub capacity: Option<u64>,
    pub waits: bool,
    /// When it is full, it can be set to drop its oldest jobs.
    pub drops: bool,
    pub group_policy: GroupPolicy,
    /// How many jobs of a group can run at a time.
    pub group_concurrency: u32,
    pub keeps: Keeps,
    pub concurrency: usize,
    /// With its burst.
    pub rate: Option<(Rate, u32)>,
    pub group_rate: Option<(Rate, u32)>,
    pub breaker: Option<CircuitBreaker>,
    pub group_breaker: Option<CircuitBreaker>,
    /// The period after which its jobs count as more urgent.
    pub ages: Option<Duration>,
    pub attempts: u32,
    pub backoff: u64,
    pub timeout: Duration,
    /// Whether its worker handles both kinds.
    pub all_kinds: bool,
}

impl QueuePlan {
    fn random_rate(rng: &mut Rng) -> (Rate, u32) {
        let period = Duration::from_millis(one_of(rng, &[100, 1_000, 5_000]));
        let burst = rng.u32(1..5);
        (Rate::new(rng.u32(1..12), period).burst(burst), burst)
    }

    fn random(rng: &mut Rng) -> Self {
        let rated = rng.u8(..6);
        let capacity = (rng.u8(..3) == 0).then(|| rng.u64(3..12));
        Self {
            capacity,
            waits: rng.bool(),
            drops: capacity.is_some() && rng.bool(),
            group_policy: random_policy(rng),
            group_concurrency: 1,
            keeps: [Keeps::Few, Keeps::All, Keeps::All, Keeps::Young][usize::from(rng.u8(..4))],
            concurrency: rng.usize(1..5),
            rate: (rated == 0 || rated == 2).then(|| Self::random_rate(rng)),
            group_rate: (rated == 1 || rated == 2).then(|| Self::random_rate(rng)),
            breaker: (rng.u8(..6) == 0).then(|| random_breaker(rng)),
            group_breaker: (rng.u8(..6) == 0).then(|| random_breaker(rng)),
            ages: (rng.u8(..6) == 0).then(|| Duration::from_secs(one_of(rng, &[1, 20]))),
            attempts: rng.u32(1..5),
            backoff: one_of(rng, &[0, 50, 1_000, 20_000]),
            timeout: one_of(rng, &[NEVER, NEVER, Duration::from_secs(1), Duration::from_secs(30)]),
            all_kinds: rng.u8(..3) > 0,
        }
    }

    /// What the queue does when it is full, with or without dropping jobs.
    pub fn when_full(&self, drops: bool) -> WhenFull {
        match (drops, self.waits) {
            (true, _) => WhenFull::DropOldest,
            (false, true) => WhenFull::Wait,
            (false, false) => WhenFull::Refuse,
        }
    }

    pub fn settings(&self) -> QueueSettings {
        let (completed, others) = match self.keeps {
            Keeps::All => (Keep::FOREVER, Keep::FOREVER),
            Keeps::Young => (Keep::new(KEPT, u64::MAX), Keep::new(KEPT, u64::MAX)),
            Keeps::Few => (Keep::NOTHING, Keep::new(Duration::from_secs(60), 2)),
        };
        let retention = Retention::default().completed(completed).cancelled(others).dead(others);
        let capacity = self.capacity.map_or(Capacity::UNLIMITED, Capacity::jobs);
        QueueSettings::default()
            .retention(retention)
            .groups(self.group_policy)
            .group_concurrency(self.group_concurrency)
            .when_full(self.when_full(self.drops))
            .capacity(capacity)
    }
}

/// Which kinds plugins handle, and the limits of the plugins.
#[derive(Clone, Debug, Default)]
pub struct PluginPlan {
    /// For each queue.
    pub kinds: Vec<[bool; 2]>,
    pub time: Duration,
    pub traps_in_a_row: u32,
    pub follow_ups: u32,
    pub generations: u32,
    /// The most calls of one instance.
    pub reuse: u32,
}

impl PluginPlan {
    /// Uses a generator of its own, so that a seed's world is otherwise the same with and without plugins.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        if !cfg!(feature = "wasm") || plan.bulk {
            return Self::default();
        }
        let rng = &mut Rng::with_seed(seed ^ 0x706C_7567_696E);
        let mut kinds: Vec<[bool; 2]> = plan.queues.iter().map(|_| [rng.u8(..4) > 0, rng.bool()]).collect();
        kinds[0][0] |= kinds.iter().flatten().all(|plugin| !plugin);
        Self {
            kinds,
            time: one_of(rng, &[NEVER, NEVER, Duration::from_secs(3), Duration::from_secs(60)]),
            traps_in_a_row: one_of(rng, &[1, 2, 4, 1_000, 1_000]),
            follow_ups: rng.u32(1..5),
            generations: rng.u32(..4),
            reuse: one_of(rng, &[1, 1, 2, 5]),
        }
    }

    pub fn is_plugin(&self, queue: usize, kind: usize) -> bool {
        self.kinds.get(queue).is_some_and(|kinds| kinds[kind])
    }

    pub fn any(&self) -> bool {
        !self.kinds.is_empty()
    }
}

/// Which kinds have blocking handlers, and how many threads run them.
#[derive(Clone, Debug)]
pub struct ThreadPlan {
    /// For each queue.
    kinds: Vec<[bool; 2]>,
    pub threads: usize,
}

impl ThreadPlan {
    /// Uses a generator of its own, like [`PluginPlan`]. Half of the worlds have blocking handlers.
    fn random(seed: u64, plan: &Plan) -> Self {
        let rng = &mut Rng::with_seed(seed ^ 0x7468_7265_6164);
        let any = rng.bool() && !plan.bulk;
        let kinds = plan.queues.iter().map(|_| [any && rng.bool(), any && rng.bool()]).collect();
        Self { kinds, threads: rng.usize(1..4) }
    }

    pub fn is_blocking(&self, queue: usize, kind: usize) -> bool {
        self.kinds[queue][kind]
    }

    fn any(&self) -> bool {
        self.kinds.iter().flatten().any(|blocking| *blocking)
    }
}

/// How often each thing is done, relative to the sum.
#[derive(Clone, Debug)]
pub struct Weights {
    pub write: u32,
    pub dispatch: u32,
    pub run: u32,
    pub poll: u32,
    pub call: u32,
    pub time: u32,
    pub rest: u32,
    pub compare: u32,
    pub jump: u32,
    pub fault: u32,
    pub restart: u32,
    pub crash: u32,
    pub worker: u32,
    pub plugin: u32,
    pub thread: u32,
}

/// Everything that is decided beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    pub queues: Vec<QueuePlan>,
    pub groups: u8,
    pub max_running: usize,
    pub window: usize,
    /// The size of a window: large jobs, or even a single one, can exceed it.
    pub window_bytes: usize,
    /// How many bytes one command on many jobs moves, if not the default.
    pub batch_bytes: Option<u64>,
    /// The hook for dead jobs fails for some jobs.
    pub dead_hook_fails: bool,
    pub cache_bytes: usize,
    pub steps: u32,
    pub jobs_max: u64,
    /// Only jobs that kill end the process, and there are no other faults.
    pub poison: bool,
    pub tame: bool,
    pub bulk: bool,
    /// A few jobs fill a window by their bytes.
    pub heavy: bool,
    /// Settings are changed while the queue runs, the group policy among them.
    pub reconfigures: bool,
    /// The machine does not know the time when it begins.
    pub clock_unset: bool,
    /// The queue has a payload codec, whose key is another one after each opening.
    pub coded: bool,
    pub plugins: PluginPlan,
    pub threads: ThreadPlan,
    pub limits: LimitPlan,
    pub batches: BatchPlan,
    /// Calls change many jobs at once.
    pub selects: bool,
    pub weights: Weights,
}

impl Plan {
    pub fn new(seed: u64, rng: &mut Rng) -> Self {
        let mut plan = Self::of_closures(rng);
        plan.add_group_concurrency(seed);
        plan.plugins = PluginPlan::random(seed, &plan);
        plan.clock_unset = !plan.poison && Rng::with_seed(seed ^ 0x0063_6C6F_636B).u8(..6) == 0;
        plan.coded = Rng::with_seed(seed ^ 0x0063_6F64_6563).u8(..4) == 0;
        plan.weights.plugin = if plan.plugins.any() { 2 } else { 0 };
        plan.threads = ThreadPlan::random(seed, &plan);
        plan.limits = LimitPlan::random(seed, &plan);
        plan.batches = BatchPlan::random(seed, &plan);
        plan.add_selections(seed);
        plan.weights.thread = if plan.threads.any() { 6 } else { 0 };
        plan
    }

    /// Uses a generator of its own, so that a seed's world is otherwise the same.
    fn add_group_concurrency(&mut self, seed: u64) {
        let rng = &mut Rng::with_seed(seed ^ 0x6772_6F75_7073);
        for queue in &mut self.queues {
            queue.group_concurrency = one_of(rng, &[1, 1, 1, 2, 3]);
        }
    }

    /// A third of the worlds have calls that change many jobs at once, and half of those with more jobs than one chunk.
    fn add_selections(&mut self, seed: u64) {
        let of = if self.bulk { 2 } else { 3 };
        self.selects = Rng::with_seed(seed ^ 0x7365_6C65_6374).u8(..of) == 0;
        if self.moves() {
            // A job that is moved keeps the attempts that it has used.
            let attempts = self.queues[0].attempts;
            self.queues.iter_mut().for_each(|queue| queue.attempts = attempts);
        }
    }

    /// Jobs are moved to other queues. A guest knows its queue from the payload.
    pub fn moves(&self) -> bool {
        self.selects && !self.plugins.any() && !self.poison
    }

    fn of_closures(rng: &mut Rng) -> Self {
        let world = rng.u8(..20);
        let poison = world == 0;
        let bulk = rng.u16(..150) == 0;
        let (crashes, faults) = match world {
            0..=3 => (false, false),
            4..=8 => (true, false),
            9..=13 => (false, true),
            _ => (true, true),
        };
        let often = |rng: &mut Rng, most: u32| rng.u32(1..=most);
        let weights = Weights {
            write: often(rng, 16),
            dispatch: often(rng, 12),
            run: often(rng, 16),
            poll: often(rng, 12),
            call: often(rng, 14),
            time: often(rng, 10),
            rest: rng.u32(..4),
            compare: 1,
            jump: u32::from(!poison && rng.bool()),
            fault: if faults { 2 } else { 0 },
            restart: if poison { 0 } else { rng.u32(..2) },
            crash: u32::from(crashes),
            worker: often(rng, 3),
            plugin: 0,
            thread: 0,
        };
        let mut queues: Vec<QueuePlan> = (0..rng.usize(1..4)).map(|_| QueuePlan::random(rng)).collect();
        // Many more groups than a window has room for, each with a rate.
        let crowded = rng.u8(..5) == 0;
        if crowded {
            for queue in &mut queues {
                queue.group_rate = Some(QueuePlan::random_rate(rng));
            }
        }
        let tiny = crowded || rng.u8(..3) > 0;
        let heavy = rng.u8(..40) == 0;
        Self {
            queues,
            groups: if crowded { rng.u8(6..GROUPS_MAX) } else { rng.u8(..4) },
            max_running: rng.usize(1..8),
            window: if tiny { rng.usize(1..6) } else { 4_096 },
            window_bytes: one_of(rng, &[2 << 20, 2 << 20, 4_000, 500]),
            dead_hook_fails: rng.bool(),
            batch_bytes: (rng.u8(..3) == 0 && !bulk).then(|| one_of(rng, &[1, 100, 2_000])),
            cache_bytes: if rng.bool() { 1 << 20 } else { 64 << 10 },
            steps: rng.u32(120..280),
            jobs_max: if heavy { rng.u64(10..25) } else { rng.u64(10..70) },
            poison,
            tame: rng.u8(..6) == 0 || bulk,
            bulk,
            heavy,
            reconfigures: rng.u8(..4) == 0,
            coded: false,
            clock_unset: false,
            plugins: PluginPlan::default(),
            threads: ThreadPlan { kinds: Vec::new(), threads: 1 },
            limits: LimitPlan::default(),
            batches: BatchPlan::default(),
            selects: false,
            weights,
        }
    }
}
