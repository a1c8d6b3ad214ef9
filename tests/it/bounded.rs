//! What must not grow with the backlog, and what must not happen while nothing is due. `cargo bench --bench bounds`
//! measures it; the tests here check the causes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond::testing::{ManualClock, Stepper, open_stepped};
use millpond::{Job, Millpond, NewJob};
use millpond_testkit::SimDisk;
use redb::StorageBackend;
use tokio::runtime::Runtime;

use crate::support::{Log, SECOND, Work, work};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A disk in memory that counts the bytes that are read.
#[derive(Clone, Debug)]
struct CountedDisk {
    memory: SimDisk,
    read: Arc<AtomicU64>,
}

impl StorageBackend for CountedDisk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

fn open(disk: &CountedDisk, clock: &ManualClock, runtime: &Runtime) -> (Millpond, Stepper) {
    let builder = Millpond::builder().clock(clock.clone()).seed(0).runtime(runtime.handle().clone());
    let disk = disk.clone();
    open_stepped(builder, move || Ok(disk.clone())).unwrap()
}

/// Fills a disk in memory with this many waiting jobs and closes it.
fn filled(jobs: u64) -> CountedDisk {
    let (memory, clock) = (SimDisk::new(), ManualClock::new());
    let pond = Millpond::builder().clock(clock).seed(0).open_backend(memory.clone()).unwrap();
    for batch in 0..jobs / 1_000 {
        pond.enqueue_many("q", (0..1_000).map(|n| work(batch * 1_000 + n))).wait().unwrap();
    }
    drop(pond);
    CountedDisk { memory, read: Arc::default() }
}

/// The bytes that are read from before the open until the first handler has started.
fn read_until_the_first_start(disk: &CountedDisk) -> u64 {
    let (clock, runtime) = (ManualClock::new(), tokio::runtime::Builder::new_current_thread().build().unwrap());
    let (pond, mut steps) = open(disk, &clock, &runtime);
    let started = Log::new();
    let log = started.clone();
    let handler = move |job: Job<Work>| {
        let log = log.clone();
        async move {
            log.push(job.n);
            Ok(())
        }
    };
    let _worker = pond.worker("q").concurrency(1).handle(handler).start().unwrap();
    while started.len() == 0 {
        steps.write();
        steps.dispatch();
        runtime.block_on(tokio::task::yield_now());
    }
    disk.read.load(Ordering::Relaxed)
}

#[test]
fn opening_a_backlog_twenty_times_as_long_reads_no_more_bytes() {
    let [short, long] = [10_000, 200_000].map(|jobs| read_until_the_first_start(&filled(jobs)));
    assert!(long <= short + short / 4, "{short} bytes were read with 10,000 waiting, {long} with 200,000");
}

#[test]
fn while_nothing_is_due_nothing_is_written_and_the_dispatcher_sleeps() {
    let (clock, runtime) = (ManualClock::new(), tokio::runtime::Builder::new_current_thread().build().unwrap());
    let disk = CountedDisk { memory: SimDisk::new(), read: Arc::default() };
    let (pond, mut steps) = open(&disk, &clock, &runtime);
    let _worker = pond.worker("q").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    let far = pond.enqueue_many("q", (0..1_000).map(|n| NewJob::new(Work { n }).delay(YEAR)));
    let waiter = std::thread::spawn(move || far.wait().unwrap().len());
    while !waiter.is_finished() {
        steps.write();
        steps.dispatch();
    }
    assert_eq!(waiter.join().unwrap(), 1_000);
    let step_until_idle = |steps: &mut Stepper| {
        for _ in 0..8 {
            steps.write();
            steps.dispatch();
            runtime.block_on(tokio::task::yield_now());
        }
    };
    step_until_idle(&mut steps);
    clock.advance(SECOND);
    step_until_idle(&mut steps);

    let (commits, read) = (pond.metrics().commits_total, disk.read.load(Ordering::Relaxed));
    let (mut rounds, mut slept) = (0, Duration::ZERO);
    while slept < 60 * SECOND {
        let wait = steps.dispatch().unwrap_or(60 * SECOND);
        assert!(wait > Duration::ZERO, "the dispatcher would run again at once");
        clock.advance(wait);
        slept += wait;
        rounds += 1;
        assert!(!steps.write(), "there is something to write");
    }
    assert!(rounds <= 12, "{rounds} rounds in a minute");
    assert_eq!(pond.metrics().commits_total, commits);
    assert_eq!(disk.read.load(Ordering::Relaxed), read);
}

/// Steps everything until there is nothing left to do.
fn run_dry(runtime: &Runtime, steps: &mut Stepper) {
    loop {
        let has_written = steps.write();
        steps.dispatch();
        runtime.block_on(async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        });
        if !has_written && steps.inbox() == 0 && !steps.is_woken() {
            return;
        }
    }
}

#[test]
fn the_sweep_of_ended_jobs_asks_the_writer_for_one_step_however_many_queues_there_are() {
    const QUEUES: u64 = 1_000;
    let disk = CountedDisk { memory: SimDisk::new(), read: Arc::default() };
    let (clock, runtime) = (ManualClock::new(), tokio::runtime::Builder::new_current_thread().build().unwrap());
    // A stepped engine has no thread that commits while a caller waits.
    let pond = Millpond::builder().clock(clock.clone()).seed(0).open_backend(disk.memory.clone()).unwrap();
    for n in 0..QUEUES {
        let id = pond.enqueue(&format!("q{n}"), work(n)).wait().unwrap();
        pond.cancel(id, "not needed").wait().unwrap();
    }
    drop(pond);
    let (pond, mut steps) = open(&disk, &clock, &runtime);
    run_dry(&runtime, &mut steps);
    let cancelled = |pond: &Millpond| pond.queues().iter().map(|queue| queue.counts().cancelled).sum::<u64>();
    assert_eq!(cancelled(&pond), QUEUES);
    clock.advance(YEAR);
    steps.dispatch();
    let mut most = steps.inbox();
    // A second sweep does not begin while the first one runs.
    clock.advance(SECOND * 60);
    steps.dispatch();
    while steps.inbox() > 0 {
        most = most.max(steps.inbox());
        steps.write();
    }
    assert!(most <= 5, "{most} steps were asked for at once");
    run_dry(&runtime, &mut steps);
    assert_eq!(cancelled(&pond), 0, "all are older than the retention");
}
