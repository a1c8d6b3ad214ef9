//! Many threads enqueue while the disk fails and is repaired. Each call is answered, and each answer is true
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond::{Context, Error, Job, Kind, Millpond, NewJob, Outcome};
use millpond_testkit::{Fault, SimDisk};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::child::number;

/// The number of a job -> how often it was completed.
const DONE: TableDefinition<u64, u64> = TableDefinition::new("done");
/// The number of a job -> how often a transaction wrote a row with it.
const WRITTEN: TableDefinition<u64, u64> = TableDefinition::new("written");

/// Set in the numbers of jobs that a transaction enqueued.
const OF_TRANSACTION: u64 = 1 << 60;

const PRODUCERS: u64 = 6;
/// How many times the disk fails and is repaired.
const FAILURES: u64 = 15;
/// The number of jobs of one call that is all or nothing.
const BULK: u64 = 3;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Work {
    number: u64,
}

impl Kind for Work {
    const KIND: &'static str = "work";
}

#[derive(Default)]
struct Answers {
    there: Vec<u64>,
    not_there: Vec<u64>,
    /// The jobs of calls with an unknown outcome, each call all or nothing.
    either: Vec<Vec<u64>>,
    told_degraded: usize,
}

fn count(tx: &millpond::Transaction<'_>, table: TableDefinition<u64, u64>, n: u64) -> Result<(), millpond::BoxError> {
    let mut table = tx.open_table(table)?;
    let before = table.get(n)?.map_or(0, |count| count.value());
    table.insert(n, before + 1)?;
    Ok(())
}

fn rows(pond: &Millpond, table: TableDefinition<u64, u64>) -> BTreeMap<u64, u64> {
    let read = pond.begin_read().unwrap();
    let Ok(table) = read.open_table(table) else { return BTreeMap::new() };
    table.iter().unwrap().map(|row| row.unwrap()).map(|(n, count)| (n.value(), count.value())).collect()
}

/// What the producers have been answered so far, all together.
#[derive(Default)]
struct Seen {
    taken: AtomicU64,
    refused_calls: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    fn one_more(count: &AtomicU64) {
        let before = count.load(Ordering::SeqCst);
        while count.load(Ordering::SeqCst) == before {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

fn produce(pond: &Millpond, first: u64, seen: &Seen) -> Answers {
    let mut answers = Answers::default();
    let mut n = first;
    while !seen.stop.load(Ordering::SeqCst) {
        let (numbers, answer) = match n % 3 {
            0 => (vec![n], pond.enqueue("q", Work { number: n }).wait().map(drop)),
            1 => {
                let numbers: Vec<u64> = (n..n + BULK).collect();
                let jobs = numbers.iter().map(|&number| NewJob::new(Work { number }).group(format!("g{}", n % 7)));
                let answer = pond.enqueue_many("q", jobs).wait().map(drop);
                (numbers, answer)
            }
            _ => {
                let n = n | OF_TRANSACTION;
                let written = pond.transaction(move |tx| {
                    count(tx, WRITTEN, n)?;
                    tx.enqueue("q", Work { number: n })?;
                    Ok(())
                });
                (vec![n], written.wait())
            }
        };
        // The next kind of call, and numbers that this one has not used.
        n += 4;
        match answer {
            Ok(()) => {
                seen.taken.fetch_add(1, Ordering::SeqCst);
                answers.there.extend(numbers);
            }
            Err(Error::OutcomeUnknown { .. }) => answers.either.push(numbers),
            Err(Error::Degraded { .. }) => {
                answers.told_degraded += 1;
                answers.not_there.extend(numbers);
                seen.refused_calls.fetch_add(1, Ordering::SeqCst);
                // A refusal comes at once: without a pause the producers would do nothing else.
                thread::sleep(Duration::from_micros(100));
            }
            Err(Error::StorageFull | Error::Storage { .. }) => answers.not_there.extend(numbers),
            Err(error) => panic!("{error:?}"),
        }
    }
    answers
}

fn hammer(failure: Fault, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let disk = SimDisk::new();
    let again = disk.clone();
    let builder = Millpond::builder().runtime(runtime.handle().clone()).seed(seed);
    let pond = builder.open_backend_with(move || Ok(again.clone())).unwrap();
    let ends = Arc::new(AtomicU64::new(0));
    let ended = ends.clone();
    let handler = move |job: Job<Work>, ctx: Context| {
        ended.fetch_add(1, Ordering::SeqCst);
        async move {
            let n = job.number;
            ctx.on_complete(move |tx| count(tx, DONE, n));
            Ok(Outcome::Done(None))
        }
    };
    pond.worker("q").concurrency(8).handle(handler).start().unwrap();

    let seen = Seen::default();
    let answers: Vec<Answers> = thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (pond, seen) = (&pond, &seen);
                scope.spawn(move || produce(pond, producer << 32, seen))
            })
            .collect();
        for _ in 0..FAILURES {
            // The disk fails while jobs run, and is repaired while callers are refused.
            let before = ends.load(Ordering::SeqCst);
            while ends.load(Ordering::SeqCst) < before + rng.u64(1..60) {
                thread::sleep(Duration::from_micros(200));
            }
            disk.fail(failure);
            Seen::one_more(&seen.refused_calls);
            thread::sleep(Duration::from_millis(rng.u64(..20)));
            disk.repair();
            Seen::one_more(&seen.taken);
        }
        seen.stop.store(true, Ordering::SeqCst);
        producers.into_iter().map(|producer| producer.join().unwrap()).collect()
    });
    while pond.queue("q").unwrap().counts().unfinished() > 0 {
        thread::sleep(Duration::from_millis(2));
    }
    runtime.block_on(pond.testing().idle());
    check(&pond, &answers, failure);
    pond.shutdown(Duration::from_secs(1)).wait().unwrap();
}

fn check(pond: &Millpond, answers: &[Answers], failure: Fault) {
    let (done, mut written) = (rows(pond, DONE), rows(pond, WRITTEN));
    let mut all: BTreeSet<u64> = BTreeSet::new();
    for Answers { there, not_there, either, .. } in answers {
        for n in there {
            assert_eq!(done.get(n), Some(&1), "{failure:?}: job {n} was acknowledged");
        }
        for n in not_there {
            assert_eq!(done.get(n), None, "{failure:?}: job {n} was refused");
        }
        for call in either {
            let found = call.iter().filter(|n| done.contains_key(n)).count();
            assert!(found == 0 || found == call.len(), "{failure:?}: {found} jobs of {call:?}");
        }
        all.extend(there.iter().chain(either.iter().flatten()));
    }
    for (n, times) in &done {
        assert!(all.contains(n) && *times == 1, "{failure:?}: job {n} ran {times} times");
        if n & OF_TRANSACTION != 0 {
            assert_eq!(written.remove(n), Some(1), "{failure:?}: the row of job {n}");
        }
    }
    assert_eq!(written, BTreeMap::new(), "{failure:?}: rows without their jobs");
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    let sum = |count: fn(&Answers) -> usize| answers.iter().map(count).sum::<usize>();
    let (there, refused) = (sum(|a| a.there.len()), sum(|a| a.not_there.len()));
    let (unknown, degraded) = (sum(|a| a.either.len()), sum(|a| a.told_degraded));
    println!("{failure:?}: {there} there, {refused} refused ({degraded} calls as Degraded), {unknown} calls unknown");
    assert!(there > 0 && degraded > 0, "{failure:?}");
}

#[test]
fn every_answer_is_true_while_the_disk_fails_and_comes_back() {
    let seed = number("KILL_SEED", 1);
    println!("KILL_SEED={seed}");
    for failure in [Fault::FULL, Fault::SYNC] {
        hammer(failure, seed);
    }
}
