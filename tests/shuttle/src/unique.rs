//! Enqueues with a unique key that is held, beside the start and the end of the job that holds it, and beside a restart:
//! each job runs once, with one payload, and the answers of all callers say with which.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{EnqueueStatus, Enqueued, Job, Millpond, Unique};
use millpond_testkit::SimDisk;
use shuttle::sync::Mutex;
use shuttle::thread::{self, JoinHandle};

use crate::support::{beside, explore, is_sound, job, noting, open, until_drained, waiting};

/// The payloads of one caller's calls and their answers, in order.
type Calls = Vec<(u8, Enqueued)>;

fn enqueue(pond: &Millpond, n: u8, unique: Unique) -> (u8, Enqueued) {
    (n, pond.enqueue("q", job(n).unique("key", unique)).wait().unwrap())
}

fn caller(pond: &Millpond, jobs: [u8; 2], unique: Unique) -> JoinHandle<Calls> {
    beside(pond, move |pond| jobs.map(|n| enqueue(pond, n, unique)).into())
}

/// The payloads with which the job of this answer can run: not the one that it was stored with, if it was replaced, and of
/// each caller only the last one.
fn can_run_with(callers: &[Calls], of: Enqueued) -> Vec<u8> {
    let gave = |calls: &Calls, status| {
        let last = calls.iter().rev().find(|(_, answer)| answer.id == of.id && answer.status == status);
        last.map(|(n, _)| *n)
    };
    let replaced: Vec<u8> = callers.iter().filter_map(|calls| gave(calls, EnqueueStatus::Replaced)).collect();
    if !replaced.is_empty() {
        return replaced;
    }
    callers.iter().filter_map(|calls| gave(calls, EnqueueStatus::Stored)).collect()
}

/// Each job that was stored has run once, with a payload that the answers allow, and nothing else has run.
fn ran_as_answered(callers: &[Calls], ran: &[u8]) {
    let stored = callers.iter().flatten().filter(|(_, answer)| answer.is_stored());
    let mut left: Vec<u8> = ran.to_vec();
    for &(_, answer) in stored {
        let possible = can_run_with(callers, answer);
        let at = left.iter().position(|n| possible.contains(n));
        let at = at.unwrap_or_else(|| panic!("{answer:?} runs with one of {possible:?}: {ran:?}, {callers:?}"));
        left.remove(at);
    }
    assert!(left.is_empty(), "{left:?} must not run: {ran:?}, {callers:?}");
}

/// How often calls were answered that a job was stored, replaced, or there already.
struct Met([AtomicUsize; 3]);

impl Met {
    const fn new() -> Self {
        Self([const { AtomicUsize::new(0) }; 3])
    }

    fn note(&self, callers: &[Calls]) {
        for (_, answer) in callers.iter().flatten() {
            self.0[answer.status as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has(&self, status: EnqueueStatus) -> bool {
        self.0[status as usize].load(Ordering::Relaxed) > 0
    }
}

/// Two callers replace a job while the dispatcher starts it.
fn replacements_beside_a_start(unique: Unique, met: &'static Met) {
    explore(move || {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let first = vec![enqueue(&pond, 1, unique)];
        let callers = [caller(&pond, [2, 3], unique), caller(&pond, [12, 13], unique)];
        let (_worker, ran) = noting(&pond, "q", 1);
        let mut calls = vec![first];
        calls.extend(callers.map(|caller| caller.join().unwrap()));
        until_drained(&pond);
        ran_as_answered(&calls, &ran.so_far());
        met.note(&calls[1..]);
        is_sound(&pond);
    });
}

#[test]
fn a_replacement_beside_the_start_of_its_job_takes_its_place_or_is_a_duplicate() {
    static MET: Met = Met::new();
    replacements_beside_a_start(Unique::until_ended().replace(), &MET);
    assert!(MET.has(EnqueueStatus::Replaced), "no call ever came before the start");
    assert!(MET.has(EnqueueStatus::Duplicate), "no call ever came after the start");
    assert!(MET.has(EnqueueStatus::Stored), "no call ever came after the end");
}

#[test]
fn a_replacement_beside_the_start_of_a_job_that_holds_its_key_until_then_takes_its_place_or_is_the_next_one() {
    static MET: Met = Met::new();
    replacements_beside_a_start(Unique::until_started().replace(), &MET);
    assert!(MET.has(EnqueueStatus::Replaced), "no call ever came before the start");
    assert!(MET.has(EnqueueStatus::Stored), "no call ever came after the start");
    assert!(!MET.has(EnqueueStatus::Duplicate), "the change was lost");
}

/// Notes its jobs, and that no two of them run at a time, in a queue that could run two.
fn alone(pond: &Millpond, ran: &Arc<Mutex<Vec<u8>>>) -> millpond::Worker {
    let (log, running) = (ran.clone(), Arc::new(AtomicUsize::new(0)));
    let handler = move |job: Job<Bytes>| {
        let (log, running) = (log.clone(), running.clone());
        async move {
            assert_eq!(running.fetch_add(1, Ordering::Relaxed), 0, "two jobs of one key run");
            shuttle::future::yield_now().await;
            log.lock().unwrap().push(job[0]);
            running.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        }
    };
    pond.worker("q").concurrency(2).no_timeout().handle_raw("work", handler).start().unwrap()
}

#[test]
fn the_latest_job_beside_the_end_of_the_one_that_runs_is_the_next_one() {
    static MET: Met = Met::new();
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let ran = Arc::default();
        let _worker = alone(&pond, &ran);
        let callers = [[1, 2], [11, 12]].map(|jobs| caller(&pond, jobs, Unique::keep_latest()));
        let calls = callers.map(|caller| caller.join().unwrap());
        until_drained(&pond);
        let ran = ran.lock().unwrap().clone();
        ran_as_answered(&calls, &ran);
        // The two calls that came last of each caller: one of them was the last of all.
        assert!([2, 12].contains(ran.last().unwrap()), "the latest change was lost: {ran:?}, {calls:?}");
        MET.note(&calls);
        is_sound(&pond);
    });
    assert!(MET.has(EnqueueStatus::Replaced), "no call ever came while one waited");
    assert!(!MET.has(EnqueueStatus::Duplicate), "a change was lost");
}

/// The process is killed while a job runs, others take each other's place as the next one, and the first one ends.
#[test]
fn the_latest_job_beside_a_restart_runs_last() {
    static NEXT_IS_LEFT: AtomicUsize = AtomicUsize::new(0);
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        let before = Arc::default();
        let _worker = alone(&pond, &before);
        let answered: Arc<Mutex<Calls>> = Arc::default();
        let caller = {
            let (pond, answered) = (pond.clone(), answered.clone());
            thread::spawn(move || {
                for n in 1..=3 {
                    let call = enqueue(&pond, n, Unique::keep_latest());
                    answered.lock().unwrap().push(call);
                }
            })
        };
        let killer = {
            let (disk, answered, before) = (disk.clone(), answered.clone(), before.clone());
            thread::spawn(move || {
                let answered = answered.lock().unwrap().last().map(|(n, _)| *n);
                let killed = disk.after_kill();
                (answered, before.lock().unwrap().clone(), killed)
            })
        };
        let (answered, before_the_kill, killed) = killer.join().unwrap();
        caller.join().unwrap();
        until_drained(&pond);
        assert_eq!(before.lock().unwrap().last(), Some(&3));
        drop(pond);

        let pond = open(&killed, &clock);
        let left = waiting(&pond);
        let latest = left.iter().chain(&before_the_kill).max().copied();
        assert!(latest >= answered, "{answered:?} was acknowledged: left {left:?}, ran {before_the_kill:?}");
        // Nothing runs yet, so the last of those that are left is the next one, and holds the key.
        let (_, again) = enqueue(&pond, 4, Unique::keep_latest());
        let kept = left.len().saturating_sub(1);
        assert_eq!(again.is_stored(), left.is_empty(), "left {left:?}, then {again:?}");
        let after = Arc::default();
        let _worker = alone(&pond, &after);
        until_drained(&pond);
        let after = after.lock().unwrap().clone();
        let expected: Vec<u8> = left[..kept].iter().copied().chain([4]).collect();
        assert_eq!(after, expected, "left {left:?}, then {again:?}");
        NEXT_IS_LEFT.fetch_add(usize::from(left.len() == 2), Ordering::Relaxed);
        is_sound(&pond);
    });
    assert!(NEXT_IS_LEFT.load(Ordering::Relaxed) > 0, "no kill ever left a job that runs and the next one");
}
