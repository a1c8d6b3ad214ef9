//! The random operations on a queue. They name jobs by a number that is taken modulo the number of jobs
//! that exist, so that every sequence is valid and every part of one is too: this lets proptest shrink
//! them.

use millpond_testkit::{Expires, JobSpec, When};
use proptest::prelude::*;

pub const QUEUES: usize = 2;
pub const GROUPS: usize = 3;
pub const KEYS: usize = 3;
pub const STREAMS: usize = 2;
/// What a binding can lead to: the queues, and behind them the streams.
pub const DESTINATIONS: usize = QUEUES + STREAMS;
/// The patterns of bindings, and the routing keys of messages.
pub const PATTERNS: [&str; 5] = ["#", "a.*", "a.#", "*.b", ""];
pub const ROUTING_KEYS: [&str; 5] = ["", "a", "a.b", "a.b.b", "c.b"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Commits,
    Errs,
    Panics,
}

/// An entry for a stream.
#[derive(Clone, Copy, Debug)]
pub struct EntrySpec {
    pub stream: usize,
    pub key: Option<u8>,
}

#[derive(Clone, Debug)]
pub struct Tx {
    pub rows: u8,
    pub jobs: Vec<JobSpec>,
    pub entries: Vec<EntrySpec>,
    pub fate: Fate,
}

/// A job for the queues, and an entry for the streams, that are bound to the topic.
#[derive(Clone, Debug)]
pub struct Message {
    pub spec: JobSpec,
    pub key: usize,
    /// It is published in a transaction, which first makes the binding of this destination and pattern.
    pub tx: Option<(usize, usize, Fate)>,
}

#[derive(Clone, Debug)]
pub enum Call {
    Enqueue(JobSpec),
    Append(EntrySpec),
    Tx(Tx),
}

#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Done,
    /// The job is done, and writes a row in the transaction that completes it.
    DoneWithRow,
    /// The same, and that transaction also enqueues another job.
    DoneWithJob(JobSpec),
    /// The job is done, but the code that writes in its transaction returns an error after it has written.
    DoneButHookErrs,
    DoneButHookPanics,
    Fail,
    RetryAfter(u64),
    Snooze(u64),
    RateLimited(u64),
    /// For the whole queue, even if the job has a group.
    RateLimitedQueue(u64),
    Cancel,
    DeadLetter,
    Panic,
}

impl Answer {
    /// Whether the job ends as completed.
    pub fn completes(self) -> bool {
        matches!(self, Self::Done | Self::DoneWithRow | Self::DoneWithJob(_))
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Enqueue(JobSpec),
    EnqueueMany(Vec<JobSpec>),
    Tx(Tx),
    /// The caller's own transaction. Unless it is committed, it is undone.
    Guard(Tx),
    /// Calls that are made at once and share commits.
    Burst(Vec<Call>),
    /// Binds a queue or a stream to the topic with a pattern, or removes the binding.
    Bind(usize, usize, bool),
    Publish(Message),
    /// Appends entries to a stream in one call. The keys say how many.
    Append(usize, Vec<Option<u8>>),
    /// Says whether a stream keeps only the latest entry of each key, and sweeps it.
    Compact(usize, bool),
    /// Sweeps a stream while it has a limit of so many entries.
    KeepEntries(usize, usize),
    RemoveStream(usize),
    StartWorker(usize),
    StopWorker(usize),
    Answer(usize, Answer),
    PauseQueue(usize, bool),
    PauseGroup(usize, usize, bool),
    Cancel(usize),
    Update {
        job: usize,
        priority: Option<u8>,
        at: Option<i64>,
    },
    RunNow(usize),
    Redrive(usize),
    RedriveAll(usize),
    Purge(usize),
    /// Cancels all waiting jobs of a queue.
    CancelAll(usize),
    /// Removes all waiting jobs of a queue.
    Drain(usize),
    /// Removes a queue, and sets it up again.
    Obliterate(usize),
    /// Gives a queue another name, and its own one back.
    Rename(usize),
    Delete(usize),
    /// Moves a job to a queue.
    MoveTo(usize, usize),
    /// Of the queue's worker, and half of it of the queue's groups.
    SetConcurrency(usize, usize),
    SetMaxRunning(usize),
    Advance(u64),
    JumpWall(i64),
    /// Drops the queue and opens it again; running jobs go back.
    Reopen,
    Crash,
    /// Closes or kills the queue, lets so many milliseconds pass, moves the wall clock by `jump`, and opens it again.
    Away {
        kill: bool,
        down: u64,
        jump: i64,
    },
}

pub const HOUR: u64 = 3_600_000;
const YEARS_10: i64 = 10 * 365 * 24 * 3_600_000;

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(5_000), Just(60_000), Just(HOUR)]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        6 => Just(When::Now),
        2 => delay().prop_map(When::Delay),
        1 => prop_oneof![Just(-5_000i64), Just(0), Just(5_000), Just(HOUR as i64)].prop_map(When::In),
    ]
}

fn group() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![2 => Just(None), 3 => (0..GROUPS as u8).prop_map(Some)]
}

fn entry() -> impl Strategy<Value = EntrySpec> {
    (0..STREAMS, group()).prop_map(|(stream, key)| EntrySpec { stream, key })
}

pub fn spec() -> impl Strategy<Value = JobSpec> {
    let priority = prop_oneof![4 => Just(5u8), 1 => Just(0), 1 => Just(9)];
    let runs = prop_oneof![
        12 => Just((None, false)),
        4 => (1u32..3).prop_map(|max| (Some(max), false)),
        3 => Just((None, true)),
    ];
    let after = prop_oneof![Just(1u64), Just(7_000), Just(HOUR * 2)];
    let expires = prop_oneof![
        6 => Just(None),
        2 => after.clone().prop_map(|after| Some(Expires::In(after))),
        1 => after.prop_map(|after| Some(Expires::Ahead(after as i64))),
    ];
    let unique_for = prop_oneof![Just(0u64), Just(5_000), Just(300_000)];
    let key = prop_oneof![3 => Just(None), 1 => (0..KEYS, unique_for).prop_map(Some)];
    let all = (0..QUEUES, group(), priority, when(), runs, expires, key);
    all.prop_map(|(queue, group, priority, when, (max, once), expires, key)| JobSpec {
        queue,
        group,
        priority,
        when,
        max,
        once,
        expires,
        key,
        ..JobSpec::PLAIN
    })
}

fn tx() -> impl Strategy<Value = Tx> {
    let fate = prop_oneof![3 => Just(Fate::Commits), 1 => Just(Fate::Errs), 1 => Just(Fate::Panics)];
    let (jobs, entries) = (prop::collection::vec(spec(), 0..3), prop::collection::vec(entry(), 0..2));
    (0u8..3, jobs, entries, fate).prop_map(|(rows, jobs, entries, fate)| Tx { rows, jobs, entries, fate })
}

fn message() -> impl Strategy<Value = Message> {
    let fate = prop_oneof![3 => Just(Fate::Commits), 1 => Just(Fate::Errs), 1 => Just(Fate::Panics)];
    let tx = prop::option::weighted(0.3, (0..DESTINATIONS, 0..PATTERNS.len(), fate));
    (spec(), 0..ROUTING_KEYS.len(), tx).prop_map(|(spec, key, tx)| Message { spec, key, tx })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => Just(Answer::Done),
        2 => Just(Answer::DoneWithRow),
        1 => spec().prop_map(Answer::DoneWithJob),
        1 => Just(Answer::DoneButHookErrs),
        1 => Just(Answer::DoneButHookPanics),
        3 => Just(Answer::Fail),
        2 => delay().prop_map(Answer::RetryAfter),
        2 => delay().prop_map(Answer::Snooze),
        2 => delay().prop_map(Answer::RateLimited),
        1 => delay().prop_map(Answer::RateLimitedQueue),
        1 => Just(Answer::Cancel),
        2 => Just(Answer::DeadLetter),
        1 => Just(Answer::Panic),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![spec().prop_map(Call::Enqueue), entry().prop_map(Call::Append), tx().prop_map(Call::Tx)]
}

pub fn op() -> impl Strategy<Value = Op> {
    let job = || 0usize..1_000;
    let down = prop_oneof![Just(0u64), Just(1), Just(5_000), Just(60_000), Just(HOUR)];
    let jump = prop_oneof![3 => Just(0i64), 1 => Just(-YEARS_10), 1 => Just(-(HOUR as i64)), 1 => Just(YEARS_10)];
    let ahead = prop_oneof![Just(-5_000i64), Just(0), Just(5_000), Just(HOUR as i64)];
    prop_oneof![
        12 => spec().prop_map(Op::Enqueue),
        2 => prop::collection::vec(spec(), 0..5).prop_map(Op::EnqueueMany),
        3 => tx().prop_map(Op::Tx),
        2 => tx().prop_map(Op::Guard),
        3 => prop::collection::vec(call(), 2..6).prop_map(Op::Burst),
        6 => (0..DESTINATIONS, 0..PATTERNS.len(), prop::bool::weighted(0.7)).prop_map(|(to, pattern, bind)| Op::Bind(to, pattern, bind)),
        6 => message().prop_map(Op::Publish),
        4 => (0..STREAMS, prop::collection::vec(group(), 1..6)).prop_map(|(stream, keys)| Op::Append(stream, keys)),
        2 => (0..STREAMS, any::<bool>()).prop_map(|(stream, compacts)| Op::Compact(stream, compacts)),
        2 => (0..STREAMS, 1usize..6).prop_map(|(stream, most)| Op::KeepEntries(stream, most)),
        1 => (0..STREAMS).prop_map(Op::RemoveStream),
        5 => (0..QUEUES).prop_map(Op::StartWorker),
        1 => (0..QUEUES).prop_map(Op::StopWorker),
        24 => (job(), answer()).prop_map(|(job, answer)| Op::Answer(job, answer)),
        2 => (0..QUEUES, any::<bool>()).prop_map(|(queue, pause)| Op::PauseQueue(queue, pause)),
        4 => (0..QUEUES, 0..GROUPS, any::<bool>()).prop_map(|(queue, group, pause)| Op::PauseGroup(queue, group, pause)),
        3 => job().prop_map(Op::Cancel),
        4 => (job(), prop::option::of(prop_oneof![Just(0u8), Just(5), Just(9)]), prop::option::of(ahead))
            .prop_map(|(job, priority, at)| Op::Update { job, priority, at }),
        3 => job().prop_map(Op::RunNow),
        3 => job().prop_map(Op::Redrive),
        1 => (0..QUEUES).prop_map(Op::RedriveAll),
        1 => job().prop_map(Op::Purge),
        1 => (0..QUEUES).prop_map(Op::CancelAll),
        1 => (0..QUEUES).prop_map(Op::Drain),
        2 => (0..QUEUES).prop_map(Op::Obliterate),
        1 => (0..QUEUES).prop_map(Op::Rename),
        1 => job().prop_map(Op::Delete),
        2 => (job(), 0..QUEUES).prop_map(|(job, queue)| Op::MoveTo(job, queue)),
        2 => (0..QUEUES, 1usize..5).prop_map(|(queue, jobs)| Op::SetConcurrency(queue, jobs)),
        2 => (1usize..6).prop_map(Op::SetMaxRunning),
        9 => prop_oneof![Just(1u64), Just(10), Just(1_000), Just(5_000), Just(60_000), Just(HOUR)].prop_map(Op::Advance),
        3 => prop_oneof![Just(-YEARS_10), Just(-(HOUR as i64)), Just(-500), Just(500), Just(2_000), Just(HOUR as i64), Just(YEARS_10)]
            .prop_map(Op::JumpWall),
        2 => Just(Op::Reopen),
        3 => Just(Op::Crash),
        2 => (any::<bool>(), down, jump).prop_map(|(kill, down, jump)| Op::Away { kill, down, jump }),
    ]
}
