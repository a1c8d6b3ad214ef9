//! An idempotency key names a call: the same call again gets the answer of the first, whatever became of its job.

use std::time::Duration;

use millpond::{
    CancelOutcome, Capacity, EnqueueStatus, Enqueued, Error, Event, Millpond, NewJob, QueueSettings, Unique, WhenFull,
};
use redb::{ReadableTableMetadata, TableDefinition};

use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

const KEYS: TableDefinition<(u32, u8, &str), &[u8]> = TableDefinition::new("millpond/timed_keys");
const UNTIL: TableDefinition<(u64, u32, u8, &str), ()> = TableDefinition::new("millpond/timed_keys_until");

fn call(n: u64) -> NewJob {
    work(n).idempotency_key("call")
}

/// Enqueues a job into queue `q`.
pub async fn put(pond: &Millpond, job: NewJob) -> Enqueued {
    let answer = pond.enqueue("q", job).await.unwrap();
    assert_sound(pond).await;
    answer
}

/// The rows of the two tables of keys.
fn rows(pond: &Millpond) -> (u64, u64) {
    let read = pond.begin_read().unwrap();
    (read.open_table(KEYS).unwrap().len().unwrap(), read.open_table(UNTIL).unwrap().len().unwrap())
}

fn assert_repeats(again: Enqueued, first: Enqueued) {
    assert_eq!((again.id, again.status), (first.id, EnqueueStatus::Duplicate));
}

/// Lets a job of queue `q` meet one of the fates that a key outlives.
pub async fn meet(pond: &Millpond, job: Enqueued, fate: &str) {
    match fate {
        "ends" => {
            record(pond, "q", 1);
            drained(pond).await;
        }
        "cancelled" => assert_eq!(pond.cancel(job, "no").await.unwrap(), CancelOutcome::Cancelled),
        "deleted" => pond.delete(job).await.unwrap(),
        "moved" => assert!(pond.move_to(job, "other").await.unwrap()),
        _ => assert_eq!(fate, "waits"),
    }
}

#[tokio::test]
async fn the_same_call_gets_the_first_ones_id_for_a_day_whatever_became_of_the_job() {
    for fate in ["waits", "ends", "cancelled", "deleted", "moved"] {
        let (clock, pond) = memory();
        let first = put(&pond, call(1)).await;
        meet(&pond, first, fate).await;
        assert_repeats(put(&pond, call(2)).await, first);
        clock.advance(DAY - Duration::from_millis(1));
        assert_repeats(put(&pond, call(3)).await, first);
        clock.advance(Duration::from_millis(1));
        let next = put(&pond, call(4)).await;
        assert!(next.is_stored() && next > first, "{fate}");
    }
}

#[tokio::test]
async fn a_key_is_held_for_the_time_that_the_first_call_says() {
    let (clock, pond) = memory();
    let first = put(&pond, call(1).idempotency_for(HOUR)).await;
    clock.advance(HOUR / 2);
    assert_repeats(put(&pond, call(2).idempotency_for(HOUR * 9)).await, first);
    clock.advance(HOUR / 2);
    assert!(put(&pond, call(3)).await.is_stored());
}

#[tokio::test]
async fn the_key_belongs_to_the_queue_and_is_no_unique_key() {
    let (_clock, pond) = memory();
    let first = put(&pond, call(1)).await;
    assert!(pond.enqueue("other", call(1)).await.unwrap().is_stored());
    let unique = put(&pond, work(2).unique_key("call")).await;
    assert!(unique.is_stored());
    assert_repeats(put(&pond, call(3)).await, first);
    assert_repeats(put(&pond, work(4).unique_key("call")).await, unique);
    let info = pond.job(first).unwrap();
    assert_eq!((info.idempotency_key.as_deref(), info.unique_key), (Some("call"), None));
}

#[tokio::test]
async fn a_call_that_found_a_unique_key_held_gets_the_same_answer_again() {
    let (_clock, pond) = memory();
    let mode = Unique::until_ended().replace();
    let holder = put(&pond, work(1).unique("key", mode)).await;
    let replaced = put(&pond, call(2).unique("key", mode)).await;
    assert_eq!((replaced.id, replaced.status), (holder.id, EnqueueStatus::Replaced));
    put(&pond, work(3).unique("key", mode)).await;
    assert_repeats(put(&pond, call(2).unique("key", mode)).await, holder);
    assert_eq!(pond.job(holder).unwrap().payload.decode::<Work>().unwrap().n, 3, "it does not replace twice");
    pond.delete(holder).await.unwrap();
    assert_repeats(put(&pond, call(2).unique("key", mode)).await, holder);
}

#[tokio::test]
async fn calls_in_one_batch_a_transaction_and_a_guard_get_one_job() {
    let (_clock, pond) = memory();
    let many = pond.enqueue_many("q", [call(1), work(2), call(3)]).await.unwrap();
    assert_repeats(many[2], many[0]);
    let in_tx = pond.transaction(|tx| Ok([tx.enqueue("q", call(4))?, tx.enqueue("new", call(5))?])).await.unwrap();
    assert_repeats(in_tx[0], many[0]);
    assert!(in_tx[1].is_stored());
    let mut guard = pond.begin_write().unwrap();
    assert_repeats(guard.enqueue("q", call(6)).unwrap(), many[0]);
    let staged = guard.enqueue("q", work(7).idempotency_key("other")).unwrap();
    assert_repeats(guard.enqueue("q", work(8).idempotency_key("other")).unwrap(), staged);
    guard.commit().unwrap();
    assert_eq!(pond.job(staged).unwrap().payload.decode::<Work>().unwrap().n, 7);
    assert_repeats(put(&pond, work(9).idempotency_key("other")).await, staged);
}

#[tokio::test]
async fn a_transaction_that_is_undone_holds_no_key() {
    let (_clock, pond) = memory();
    let undone = pond.transaction(|tx| {
        tx.enqueue("q", call(1))?;
        Err::<(), _>("undone".into())
    });
    assert!(undone.await.is_err());
    assert_eq!(rows(&pond), (0, 0));
    assert!(put(&pond, call(2)).await.is_stored());
}

#[tokio::test]
async fn a_full_queue_returns_the_first_answer() {
    for when_full in [WhenFull::Refuse, WhenFull::Wait] {
        let (_clock, pond) = memory();
        let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(when_full);
        pond.queue("q").unwrap().configure(settings).await.unwrap();
        let first = put(&pond, call(1)).await;
        assert_repeats(put(&pond, call(2)).await, first);
    }
}

#[tokio::test]
async fn keys_whose_time_has_passed_are_swept_and_survive_a_crash_until_then() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let first = put(&pond, call(1)).await;
    let crashed = disk.crashed("crashed.redb");
    assert_repeats(put(&crashed, call(2)).await, first);
    assert_eq!(rows(&crashed), (1, 1));
    // The first sweep comes 30 seconds after the upkeep has begun, so that begins before the clock moves.
    settled(&crashed).await;
    disk.clock.advance(DAY + Duration::from_secs(31));
    settled(&crashed).await;
    assert_eq!(rows(&crashed), (0, 0));
    assert_sound(&crashed).await;
}

#[tokio::test]
async fn listeners_hear_of_a_repeated_call() {
    let (_clock, pond) = memory();
    let mut events = pond.events();
    let first = put(&pond, call(1)).await;
    put(&pond, call(2)).await;
    settled(&pond).await;
    let told = heard(&mut events).into_iter().find_map(|event| match event {
        Event::Deduplicated { id, key, .. } => Some((id, key.to_string())),
        _ => None,
    });
    assert_eq!(told, Some((first.id, "call".into())));
    assert_eq!(pond.metrics().deduplicated_total, 1);
}

#[tokio::test]
async fn a_job_can_be_enqueued_again_from_a_clone_also_if_it_cannot_be_written() {
    let (_clock, pond) = memory();
    let job = call(1);
    let first = put(&pond, job.clone()).await;
    assert_repeats(put(&pond, job).await, first);

    let bad = NewJob::json("bad", &std::collections::HashMap::from([((1, 2), 3)]));
    for job in [bad.clone(), bad] {
        let refused = pond.enqueue("q", job).await.unwrap_err();
        let Error::Unencodable { source, .. } = refused else { panic!("{refused:?}") };
        assert!(source.to_string().contains("key must be a string"), "{source}");
    }
}

#[tokio::test]
async fn keys_and_times_that_cannot_work_are_refused() {
    let (_clock, pond) = memory();
    let long = "k".repeat(1_025);
    for key in ["", &long] {
        let refused = pond.enqueue("q", work(1).idempotency_key(key)).await;
        assert!(matches!(refused, Err(Error::InvalidKey { .. })), "{refused:?}");
    }
    for job in [
        work(1).idempotency_for(HOUR),
        call(1).idempotency_for(Duration::ZERO),
        call(1).idempotency_for(DAY * 30 + Duration::from_secs(1)),
    ] {
        let refused = pond.enqueue("q", job).await;
        assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{refused:?}");
    }
    assert!(put(&pond, work(1).idempotency_key("k".repeat(1_024)).idempotency_for(DAY * 30)).await.is_stored());
}
