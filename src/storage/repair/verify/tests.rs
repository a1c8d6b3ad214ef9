//! `tests/it/verification.rs` tests what a verification finds. These tests count the work that it takes.

use std::collections::BTreeSet;
use std::time::Duration;

use redb::backends::InMemoryBackend;

use super::*;
use crate::job::{JobId, Priority, QueueId, Record, State, Transition};
use crate::storage::life::verifier::PROBLEMS_MAX;
use crate::storage::life::{Move, NewHome};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::place::Place;
use crate::storage::rows::prepared::{KeyTimes, Prepared};
use crate::storage::rows::start_mark::StartMark;
use crate::storage::{Opening, Store};
use crate::time::{Due, Now, Timestamp};

/// A job's row leads to its index entry, its key and its place in line, and each of those rows leads back.
const LOOKUPS_PER_ROW_MAX: u64 = 2;

fn now() -> Now {
    Now::default()
}

fn job(queue: QueueId, set: impl FnOnce(&mut Record)) -> Prepared {
    // The first kind of the file.
    let mut record = Record { kind: 0, ..Record::plain() };
    set(&mut record);
    Prepared::new(queue, record, None)
}

/// Verifies a file with this number of each: ready jobs, half of them marked as running; groups with a ready head;
/// groups with a head that is due later; jobs with a unique key; dead letters.
fn looked_at(each: u64) -> (Verification, Work) {
    let store = Store::in_memory();
    let counters = store.load().unwrap();
    let txn = store.begin_write().unwrap();
    let none = BTreeSet::new();
    let mut batch = Batch::new(&txn, &store.catalog, counters, &none, now(), false);
    let kind = batch.kind_named("kind").unwrap();
    assert_eq!(kind, 0);
    batch.stored_kind(kind);
    let later = Due::wall(Timestamp::from_millis(1_000));
    for n in 0..each {
        let queue = batch.queue_named(&format!("q{}", n % 7)).unwrap();
        let id = batch.insert(&mut job(queue, |_| {})).unwrap();
        if n % 2 == 0 {
            let mark = StartMark {
                queue,
                priority: 5,
                position: id.get(),
                attempt: 1,
                max_attempts: 5,
                started_at: now().wall,
                alone: false,
            };
            batch.hand_out(id, &mark).unwrap();
        }
        for due in [None, Some(later)] {
            let group = format!("g{n}-{}", due.is_some());
            batch
                .insert(&mut job(queue, |record| {
                    record.extra_mut().group = Some(group.as_str().into());
                    record.extra_mut().due = due;
                    record.state = if due.is_some() { State::Scheduled } else { State::Pending };
                }))
                .unwrap();
        }
        let mut keyed = job(queue, |record| record.extra_mut().unique_key = Some(format!("k{n}")));
        keyed.claim_keys_for(KeyTimes { unique: Some(Duration::from_secs(60)), ..KeyTimes::default() });
        batch.insert(&mut keyed).unwrap();
        let ended = job(queue, |record| record.state = State::Dead);
        let id = batch.insert(&mut job(queue, |_| {})).unwrap();
        let priority = Priority::default().get();
        let stored = batch.stored(queue, id, Place::Ready { priority }).unwrap().unwrap();
        let (transition, to) = (Transition::End(State::Dead), NewHome::Ended { record: ended.record(), kept: true });
        batch.apply(Move { id, queue, transition, from: stored.from(), to }).unwrap();
    }
    let sealed = batch.close().unwrap();
    store.commit(txn).unwrap();
    store.catalog.committed(sealed.rows, &sealed.kinds, &[]);
    verify_counted(&store.reader().unwrap()).unwrap()
}

#[test]
fn each_row_is_read_once_and_looked_up_a_few_times_however_many_there_are() {
    for each in [1, 10, 300] {
        let (found, Work { rows, lookups }) = looked_at(each);
        assert_eq!(found.problems, Vec::<String>::new());
        assert_eq!(found.jobs, 5 * each);
        assert!(lookups <= LOOKUPS_PER_ROW_MAX * rows, "{each}: {lookups} lookups for {rows} rows");
        // Five jobs, and their index entries, marks, pointers, groups, heads and keys.
        assert!(rows <= 20 + 20 * each, "{each}: {rows}");
    }
}

#[test]
fn a_file_that_is_wrong_all_over_is_told_of_in_so_many_words() {
    let (opening, each) = (Opening { cache_bytes: 1 << 20, adopt: true, check: false }, 3_000);
    let store = Store::with_backend(InMemoryBackend::new(), opening).unwrap();
    let counters = store.load().unwrap();
    let txn = store.begin_write().unwrap();
    let none = BTreeSet::new();
    let mut batch = Batch::new(&txn, &store.catalog, counters, &none, now(), false);
    for id in 1..=each {
        batch.index(JobId::new(id), 0, Place::Dead { at: now().wall }).unwrap();
    }
    batch.close().unwrap();
    store.commit(txn).unwrap();
    let found = verify(&store.reader().unwrap()).unwrap();
    assert_eq!((found.problems.len(), found.problems_left_out), (PROBLEMS_MAX, each - PROBLEMS_MAX as u64));
}
