//! A process forks while it has the file open. The child has a copy of the queue and none of its threads: its calls get a
//! typed error, write nothing and never hang, and the parent continues.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millpond::{Counts, Error, JobFilter, JobPatch, MetricsSnapshot, Millpond, NewJob, Pace, QueueSettings};
use redb::TableDefinition;

use crate::all_jobs::all_jobs;
use crate::child::{self, setting};

/// The number of rounds in one run; every third round forks twice.
const FORKS: usize = 30;
/// A forked process that has not ended after this many seconds hangs.
const HANGS_AFTER: u32 = 20;
const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

/// Runs `test` in a fork of this process, and returns whether it returned true. An alarm ends a fork that hangs.
fn in_a_fork(test: impl FnOnce() -> bool) -> bool {
    match fork_and_return() {
        0 => exit_with(std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).unwrap_or(false)),
        child => wait_for(child),
    }
}

fn is_forked<T>(answer: Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Forked { opened_by, .. }) if opened_by != std::process::id())
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task)
}

fn job() -> NewJob {
    NewJob::raw("k", "")
}

/// What the parent had before it forked.
struct Had {
    pond: Millpond,
    earlier: millpond::Commit<millpond::Enqueued>,
    queue: millpond::Queue,
    rate: millpond::RateHandle,
    worker: millpond::Worker,
    events: millpond::Events,
    heard: millpond::Events,
}

impl Had {
    fn before_the_fork(pond: &Millpond, worker: &millpond::Worker) -> Self {
        let queue = pond.queue("q").unwrap();
        Self {
            pond: pond.clone(),
            earlier: pond.enqueue("q", job()),
            rate: queue.rate(),
            queue,
            worker: worker.clone(),
            events: pond.events(),
            heard: pond.events(),
        }
    }
}

/// Checks that every call that could write, wait, read or take a lock is refused.
fn all_is_refused(had: Had) -> bool {
    let Had { pond, earlier, queue, rate, worker, events: mut earlier_events, heard } = had;
    let id = millpond::JobId::new(1);
    let mut events = pond.events();
    let (letters, aside) = (pond.dead_letters(), pond.quarantine());
    let filter = JobFilter::new;
    let answers = [
        is_forked(pond.enqueue("q", job()).wait()),
        is_forked(block_on(pond.enqueue("q", job()))),
        is_forked(earlier.wait()),
        is_forked(pond.enqueue_many("q", [job(), job()]).wait()),
        is_forked(pond.transaction(|tx| Ok(tx.enqueue("q", job())?)).wait()),
        is_forked(block_on(pond.transaction(|tx| Ok(tx.enqueue("q", job())?)))),
        is_forked(pond.begin_write()),
        is_forked(pond.begin_read()),
        is_forked(pond.job(id)),
        is_forked(pond.jobs(&JobFilter::new(), None, 10)),
        is_forked(pond.explain(id)),
        is_forked(pond.queue("q")),
        is_forked(pond.cancel(id, "x").wait()),
        is_forked(pond.dead_letters().redrive_all(&JobFilter::new(), Pace::default()).wait()),
        is_forked(pond.verify().wait()),
        is_forked(pond.backup("/nonexistent/copy.redb").wait()),
        is_forked(pond.worker("w").handle_blocking_raw("k", |_: millpond::Job<bytes::Bytes>| Ok(())).start()),
        is_forked(pond.shutdown(std::time::Duration::ZERO).wait()),
        matches!(events.next_blocking(), Ok(None)),
        matches!(earlier_events.next_blocking(), Ok(None)),
        earlier_events.try_next().is_none() && events.try_next().is_none(),
        pond.degraded().is_some_and(|reason| reason.contains("forked")),
        pond.queues().is_empty(),
        pond.metrics() == MetricsSnapshot::default(),
        is_forked(pond.set_max_running(5)),
        is_forked(pond.quarantined()),
        is_forked(pond.run_now(id).wait()),
        is_forked(pond.update(id, JobPatch::new()).wait()),
        is_forked(pond.enqueue_all([("q", job())]).wait()),
        queue.settings() == QueueSettings::default(),
        !queue.is_paused(),
        queue.counts() == Counts::default(),
        is_forked(queue.enqueue(job()).wait()),
        is_forked(queue.configure(QueueSettings::default()).wait()),
        is_forked(queue.pause().wait()),
        is_forked(queue.resume().wait()),
        is_forked(queue.pause_group("g").wait()),
        is_forked(queue.resume_group("g").wait()),
        rate.available() == 0.0,
        rate.available_in().is_none(),
        is_forked(rate.take(1).wait()),
        is_forked(rate.reset().wait()),
        worker.running() == 0,
        is_forked(worker.set_concurrency(3)),
        format!("{worker:?} {queue:?} {rate:?} {pond:?} {letters:?} {aside:?}").contains("idle"),
        is_forked(letters.list(&filter(), None, 10)),
        is_forked(letters.count(&filter())),
        is_forked(letters.redrive(id).wait()),
        is_forked(letters.redrive_some([id], Pace::default()).wait()),
        is_forked(letters.edit(id, job()).wait()),
        is_forked(letters.purge(id).wait()),
        is_forked(letters.purge_all(&filter()).wait()),
        is_forked(aside.count()),
        is_forked(aside.list(0, 10)),
        is_forked(aside.purge(1).wait()),
        is_forked(aside.restore(1).wait()),
    ];
    worker.stop();
    drop((heard, events, earlier_events, queue, rate, letters, aside));
    // Dropping it neither stops the parent's queue nor waits for threads that do not exist here.
    drop(pond);
    for (n, refused) in answers.into_iter().enumerate() {
        if !refused {
            println!("fork: call {n} was not refused");
        }
    }
    answers.iter().all(|refused| *refused)
}

/// Opens the file and forks again and again while other threads enqueue.
pub fn child() {
    let file = PathBuf::from(setting::<String>("FILE"));
    let pond = Millpond::open(&file).unwrap();
    let worker = pond.worker("idle").handle_blocking_raw("k", |_: millpond::Job<bytes::Bytes>| Ok(())).start().unwrap();
    let ends = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let enqueuers: Vec<_> = (0..2)
            .map(|n| {
                let (pond, ends) = (pond.clone(), &ends);
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    while !ends.load(Ordering::SeqCst) || ids.len() < 100 {
                        let id = match n {
                            0 => pond.enqueue("q", job()).wait(),
                            _ => block_on(pond.enqueue("q", job())),
                        };
                        ids.push(id.unwrap().id.get());
                    }
                    ids
                })
            })
            .collect();
        for fork in 0..FORKS {
            let passed = match fork % 3 {
                0 => {
                    let had = Had::before_the_fork(&pond, &worker);
                    in_a_fork(move || all_is_refused(had))
                }
                1 => forks_beside_a_guard(&pond),
                _ => forks_inside_a_closure(&pond),
            };
            println!("fork {fork} {}", if passed { "passed" } else { "failed" });
            // What the parent is told stays true.
            let id = pond.enqueue("q", job()).wait().unwrap();
            println!("ack {id}");
        }
        ends.store(true, Ordering::SeqCst);
        enqueuers.into_iter().flat_map(|enqueuer| enqueuer.join().unwrap()).collect::<Vec<_>>()
    });
    acknowledged.iter().for_each(|id| println!("ack {id}"));
    // Once more when no other thread runs.
    let had = Had::before_the_fork(&pond, &worker);
    let passed = in_a_fork(move || all_is_refused(had)) && forks_inside_a_closure(&pond);
    // Once more while another thread holds the locks: in the child no thread ever releases them.
    let had = Had::before_the_fork(&pond, &worker);
    let passed = passed && forks_beside_locks_that_are_held(&pond, move || in_a_fork(move || all_is_refused(had)));
    println!("alone {}", if passed { "passed" } else { "failed" });
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    drop(pond);
    println!("closed");
}

fn forks_beside_locks_that_are_held(pond: &Millpond, forks: impl FnOnce() -> bool) -> bool {
    let (held, is_held) = std::sync::mpsc::channel();
    let (let_go, told) = std::sync::mpsc::channel::<()>();
    let driver = pond.testing();
    let holder = thread::spawn(move || {
        driver.with_locks_held(|| {
            held.send(()).unwrap();
            let _ = told.recv();
        });
    });
    is_held.recv().unwrap();
    let passed = forks();
    let_go.send(()).unwrap();
    holder.join().unwrap();
    passed
}

/// The child has a copy of the guard too. Neither committing nor dropping it writes anything.
fn forks_beside_a_guard(pond: &Millpond) -> bool {
    let mut passed = true;
    for commits in [true, false] {
        let mut guard = pond.begin_write().unwrap();
        guard.open_table(ROWS).unwrap().insert(1, 1).unwrap();
        let id = guard.enqueue("q", job()).unwrap();
        let mut guard = Some(guard);
        passed &= in_a_fork(|| {
            let guard = guard.take().unwrap();
            match commits {
                true => is_forked(guard.commit()),
                false => {
                    drop(guard);
                    true
                }
            }
        });
        guard.take().unwrap().commit().unwrap();
        println!("ack {id}");
    }
    passed
}

/// In the child the forked thread is the one that commits. If it is the caller's, the call returns an error; if it is the
/// writer's, there is no caller to tell, and the child ends.
fn forks_inside_a_closure(pond: &Millpond) -> bool {
    let forked = std::sync::Arc::new(std::sync::Mutex::new(None));
    let parent = std::process::id();
    let outcome = forked.clone();
    let answer = pond
        .transaction(move |tx| {
            let id = tx.enqueue("q", job())?;
            let mut outcome = outcome.lock().unwrap();
            if outcome.is_none() {
                // In the child this returns too, into the queue's own code.
                *outcome = Some(fork_and_return());
            }
            Ok(id)
        })
        .wait();
    if std::process::id() != parent {
        exit_with(is_forked(answer));
    }
    println!("ack {}", answer.unwrap());
    let child = forked.lock().unwrap().take().unwrap();
    wait_for(child)
}

/// Returns 0 in the child, which an alarm ends if it hangs.
#[allow(unsafe_code)]
fn fork_and_return() -> i32 {
    // Sound for what the child does: its only thread was not inside the allocator when it forked.
    match unsafe { libc::fork() } {
        -1 => panic!("could not fork: {}", std::io::Error::last_os_error()),
        0 => {
            unsafe { libc::alarm(HANGS_AFTER) };
            0
        }
        child => child,
    }
}

#[allow(unsafe_code)]
fn exit_with(passed: bool) -> ! {
    unsafe { libc::_exit(i32::from(!passed)) }
}

#[allow(unsafe_code)]
fn wait_for(child: i32) -> bool {
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[test]
fn a_forked_process_is_refused_and_its_parent_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    let (lines, status) = child::start("fork", &[("FILE", file.display().to_string())]).end();
    assert!(status.success(), "{status}: {lines:#?}");
    let failed: Vec<_> =
        lines.iter().filter(|line| line.ends_with(" failed") || line.contains("not refused")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(lines.iter().filter(|line| line.ends_with(" passed")).count(), FORKS + 1);
    assert!(lines.iter().any(|line| line.ends_with("closed")), "{lines:#?}");
    holds(&file, &lines);
}

fn holds(file: &Path, lines: &[String]) {
    let acknowledged: Vec<u64> = lines
        .iter()
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(what, _)| what.ends_with("ack"))
        .map(|(_, id)| id.parse().unwrap())
        .collect();
    let distinct: BTreeSet<u64> = acknowledged.iter().copied().collect();
    assert!(acknowledged.len() > 200 && distinct.len() == acknowledged.len(), "each is a job of its own");
    let pond = Millpond::open(file).unwrap();
    let there: BTreeSet<u64> = all_jobs(&pond).iter().map(|job| job.id.get()).collect();
    assert_eq!(there, distinct);
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
}
