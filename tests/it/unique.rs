//! A unique key allows one job: a later call with the same key gets the id of the existing job.

use std::time::Duration;

use millpond::testing::Unguarded;
use millpond::{
    Capacity, Clock, Context, Error, Event, Job, JobId, JobPatch, Millpond, NewJob, Outcome, QueueSettings, Retry,
    State, WhenFull,
};
use redb::{ReadableTableMetadata, TableDefinition};

use crate::support::*;

const MINUTE: Duration = Duration::from_secs(60);
const FIVE_MINUTES: Duration = Duration::from_secs(300);

const UNIQUE: TableDefinition<(u32, &str), &[u8]> = TableDefinition::new("millpond/unique");
const UNIQUE_ENDED: TableDefinition<(u64, u32, &str), ()> = TableDefinition::new("millpond/unique_ended");

fn keyed(n: u64) -> NewJob {
    work(n).unique_key("key")
}

fn while_open(n: u64) -> NewJob {
    keyed(n).unique_for(Duration::ZERO)
}

async fn put(pond: &Millpond, job: NewJob) -> JobId {
    let id = pond.enqueue("q", job).await.unwrap();
    assert_sound(pond).await;
    id.id
}

/// The rows of the two tables of keys.
fn rows(pond: &Millpond) -> (u64, u64) {
    let read = pond.begin_read().unwrap();
    (read.open_table(UNIQUE).unwrap().len().unwrap(), read.open_table(UNIQUE_ENDED).unwrap().len().unwrap())
}

fn stored(pond: &Millpond) -> u64 {
    pond.queues().iter().map(|queue| queue.counts().enqueued_total).sum()
}

fn answering(pond: &Millpond, outcome: fn() -> Outcome) {
    let handler = move |_: Job<Work>| async move { Ok(outcome()) };
    pond.worker("q").retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(2)).handle(handler).start().unwrap();
}

#[tokio::test]
async fn no_second_job_is_stored_while_a_job_with_its_key_waits_or_runs() {
    let (_clock, pond) = memory();
    let id = put(&pond, while_open(1)).await;
    assert_eq!(put(&pond, while_open(2)).await, id);
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    assert_eq!(keeper.entered().await, 1);
    assert_eq!(put(&pond, while_open(3)).await, id);
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(stored(&pond), 1);
    keeper.let_go(1);
    assert!(put(&pond, while_open(4)).await > id);
}

#[tokio::test]
async fn an_ended_job_holds_its_key_until_five_minutes_after_its_enqueue() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    let id = put(&pond, keyed(1)).await;
    drained(&pond).await;
    for passed in [Duration::ZERO, FIVE_MINUTES - Duration::from_millis(1)] {
        clock.advance(passed);
        assert_eq!(put(&pond, keyed(2)).await, id);
    }
    clock.advance(Duration::from_millis(1));
    assert!(put(&pond, keyed(3)).await > id);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 3]);
}

#[tokio::test]
async fn the_time_of_a_key_counts_from_the_enqueue_that_stored_the_job() {
    let (clock, pond) = memory();
    let _ran = record(&pond, "q", 1);
    let id = put(&pond, keyed(1)).await;
    drained(&pond).await;
    clock.advance(MINUTE * 4);
    assert_eq!(put(&pond, keyed(2)).await, id, "a duplicate does not extend the time");
    clock.advance(MINUTE);
    assert!(put(&pond, keyed(3)).await > id);
}

#[tokio::test]
async fn a_job_that_waits_for_longer_than_its_time_holds_its_key_until_it_ends() {
    let (clock, pond) = memory();
    let later = put(&pond, keyed(1).delay(HOUR)).await;
    clock.advance(HOUR / 2);
    assert_eq!(put(&pond, keyed(2)).await, later);
    answering(&pond, || Outcome::retry("not yet"));
    clock.advance(HOUR / 2);
    drained(&pond).await;
    assert_eq!((state(&pond, later), put(&pond, keyed(3)).await), (State::Retrying, later));
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(state(&pond, later), State::Dead);
    assert_eq!(rows(&pond), (0, 0), "its time had passed when it ended");
    assert!(put(&pond, keyed(4)).await > later);
}

#[tokio::test]
async fn keys_belong_to_a_queue_and_do_not_affect_jobs_without_one() {
    let (_clock, pond) = memory();
    let here = pond.enqueue("q", keyed(1)).await.unwrap();
    let there = pond.enqueue("other", keyed(1)).await.unwrap();
    assert_ne!(here.id, there.id);
    assert_ne!(pond.enqueue("q", work(1).unique_key("another-key")).await.unwrap(), here);
    let plain = pond.enqueue_many("q", [work(1), work(1)]).await.unwrap();
    assert_ne!(plain[0], plain[1]);
    let again = pond.enqueue_all([("other", keyed(2)), ("q", keyed(2))]).await.unwrap();
    assert_eq!(again, [there.id, here.id]);
    assert_eq!(stored(&pond), 5);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn of_equal_keys_within_one_call_the_first_is_stored() {
    let (_clock, pond) = memory();
    let known = put(&pond, work(0).unique_key("known")).await.get();
    let jobs = [work(1), keyed(2), work(3).unique_key("known"), keyed(4), work(5), work(6).unique_key("other")];
    let ids: Vec<_> = pond.enqueue_many("q", jobs).await.unwrap().into_iter().map(|answer| answer.id.get()).collect();
    assert_eq!(ids, [known + 1, known + 2, known, known + 2, known + 3, known + 4]);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [0, 1, 2, 5, 6]);
}

#[tokio::test]
async fn calls_that_share_a_commit_get_one_job() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    settled(&pond).await;
    disk.hold_syncs();
    let first = tokio::spawn(pond.enqueue("q", work(0)));
    sync_begun(&disk).await;
    // Calls that are made while that commit waits share the next one.
    let calls: Vec<_> = (0..20).map(|n| tokio::spawn(pond.enqueue("q", keyed(n)))).collect();
    tokio::task::yield_now().await;
    disk.release_syncs();
    first.await.unwrap().unwrap();
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.await.unwrap().unwrap().id);
    }
    ids.dedup();
    assert_eq!((ids.len(), stored(&pond)), (1, 2));
    assert_eq!(pond.metrics().deduplicated_total, 19);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_transaction_gets_the_id_of_the_existing_job_and_of_its_own() {
    let (_clock, pond) = memory();
    let known = put(&pond, work(0).unique_key("known")).await;
    let write = |tx: &millpond::Transaction<'_>| {
        let ids =
            [tx.enqueue("q", keyed(1))?, tx.enqueue("q", keyed(2))?, tx.enqueue("q", work(3).unique_key("known"))?];
        Ok(ids)
    };
    let undone = pond.transaction(move |tx| write(tx).and_then(|_| Err::<(), _>("undone".into()))).await;
    assert!(matches!(undone, Err(Error::Aborted { .. })));
    assert_eq!((stored(&pond), rows(&pond)), (1, (1, 0)), "a key taken in a transaction that failed is free");
    let [first, second, third] = pond.transaction(write).await.unwrap();
    assert_eq!((first.id, third.id), (second.id, known));
    assert_eq!(stored(&pond), 2);
    assert_eq!(put(&pond, keyed(4)).await, first);
}

#[tokio::test]
async fn the_ids_that_a_guard_returns_are_those_of_its_commit() {
    let (clock, pond) = memory();
    let known = put(&pond, work(0).unique_key("known")).await;
    let _ran = record(&pond, "q", 1);
    drained(&pond).await;
    for commits in [false, true] {
        let mut events = pond.events();
        let mut guard = pond.begin_write().unwrap();
        let jobs = [work(1), keyed(2), keyed(3), work(4).unique_key("known"), work(5)];
        let ids: Vec<_> = jobs.into_iter().map(|job| guard.enqueue("later", job).unwrap()).collect();
        let there = guard.enqueue("q", work(6).unique_key("known")).unwrap();
        assert_eq!((ids[1].id, there.id), (ids[2].id, known));
        if !commits {
            continue;
        }
        guard.commit().unwrap();
        let numbers: Vec<_> = ids.iter().map(|id| pond.job(*id).unwrap().payload.decode::<Work>().unwrap().n).collect();
        assert_eq!(numbers, [1, 2, 2, 4, 5]);
        let told = |event: &Event| match event {
            Event::Deduplicated { id, .. } => Some(*id),
            _ => None,
        };
        settled(&pond).await;
        assert_eq!(heard(&mut events).iter().filter_map(told).collect::<Vec<_>>(), [ids[1].id, known]);
    }
    assert_sound(&pond).await;
    clock.advance(FIVE_MINUTES);
    let mut guard = pond.begin_write().unwrap();
    assert!(guard.enqueue("q", work(7).unique_key("known")).unwrap().id > known, "its time has passed");
}

#[tokio::test]
async fn a_job_that_holds_its_key_until_it_ends_can_enqueue_a_successor_with_it() {
    let (_clock, pond) = memory();
    let next: Log<JobId> = Log::new();
    let log = next.clone();
    let handler = move |job: Job<Work>, ctx: Context| {
        let (log, n) = (log.clone(), job.n);
        async move {
            if n < 3 {
                ctx.on_complete(move |tx| {
                    let job = if n == 0 { keyed(10) } else { while_open(n + 1) };
                    log.push(tx.enqueue("q", job)?.id);
                    Ok(())
                });
            }
            Ok(())
        }
    };
    pond.worker("q").handle(handler).start().unwrap();
    let id = put(&pond, while_open(1)).await.get();
    drained(&pond).await;
    assert_eq!(next.take(), [JobId::new(id + 1), JobId::new(id + 2)]);
    let id = put(&pond, keyed(0)).await;
    drained(&pond).await;
    assert_eq!(next.take(), [id], "the job itself holds the key");
}

#[tokio::test]
async fn a_full_queue_still_returns_the_existing_job() {
    for when_full in [WhenFull::Refuse, WhenFull::Wait] {
        let (_clock, pond) = memory();
        let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(when_full);
        pond.queue("q").unwrap().configure(settings).await.unwrap();
        let ids = pond.enqueue_many("q", [keyed(1), keyed(2)]).await.unwrap();
        assert_eq!(ids[0].id, ids[1].id, "only what is stored needs room");
        assert_eq!(put(&pond, keyed(3)).await, ids[0].id);
        assert_eq!(pond.transaction(|tx| Ok(tx.enqueue("q", keyed(4))?)).await.unwrap(), ids[0].id);
        let mut guard = pond.begin_write().unwrap();
        assert_eq!(guard.enqueue("q", keyed(5)).unwrap(), ids[0].id);
        guard.commit().unwrap();
        let refused = pond.transaction(|tx| Ok(tx.enqueue("q", work(6))?)).await;
        assert!(matches!(refused, Err(Error::Aborted { .. })));
    }
}

#[tokio::test]
async fn a_caller_whose_job_exists_does_not_wait_for_room() {
    let (_clock, pond) = memory();
    let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
    pond.queue("q").unwrap().configure(settings).await.unwrap();
    let there = put(&pond, keyed(1)).await;
    let waits = tokio::spawn(pond.enqueue("q", work(2)));
    let waits_with_a_key = tokio::spawn(pond.enqueue_many("q", [keyed(3), work(4).unique_key("another")]));
    settled(&pond).await;
    assert_eq!(put(&pond, keyed(5)).await, there);
    assert!(!waits.is_finished() && !waits_with_a_key.is_finished());
    let ran = record(&pond, "q", 1);
    let (second, third) = (waits.await.unwrap().unwrap(), waits_with_a_key.await.unwrap().unwrap());
    assert_eq!((third[0].id, second < third[1]), (there, true), "it waits, and the key is still held");
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2, 4]);
}

#[tokio::test]
async fn a_caller_that_waits_for_room_gets_the_key_when_its_job_is_stored() {
    let (clock, pond) = memory();
    let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
    pond.queue("q").unwrap().configure(settings).await.unwrap();
    let first = put(&pond, work(1)).await;
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(pond.enqueue("q", keyed(2)))).collect();
    settled(&pond).await;
    clock.advance(HOUR);
    pond.cancel(first, "to make room").await.unwrap();
    let mut ids = Vec::new();
    for call in waiting {
        ids.push(call.await.unwrap().unwrap());
    }
    assert_eq!(ids[0].id, ids[1].id);
    let _ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(put(&pond, keyed(3)).await, ids[0], "its five minutes have just begun");
}

#[tokio::test]
async fn a_job_that_is_cancelled_or_purged_frees_its_key_at_once() {
    let (_clock, pond) = memory();
    let waits = put(&pond, keyed(1).delay(HOUR)).await;
    pond.cancel(waits, "withdrawn").await.unwrap();
    assert_eq!(rows(&pond), (0, 0));
    let second = put(&pond, keyed(2)).await;
    assert!(second > waits);
    answering(&pond, || Outcome::dead_letter("never"));
    drained(&pond).await;
    assert_eq!((put(&pond, keyed(3)).await, rows(&pond)), (second, (1, 1)));
    pond.dead_letters().purge(second).await.unwrap();
    assert_eq!(rows(&pond), (0, 0));
    assert!(put(&pond, keyed(4)).await > second);
}

#[tokio::test]
async fn a_job_that_is_kept_after_its_end_holds_its_key_for_the_rest_of_its_time_only() {
    let cancelled: fn() -> Outcome = || Outcome::cancel("not wanted");
    let ends: [(fn() -> Outcome, State); 3] = [
        (cancelled, State::Cancelled),
        (|| Outcome::dead_letter("never"), State::Dead),
        (|| Outcome::done_with("a result"), State::Completed),
    ];
    for (outcome, end) in ends {
        let (clock, pond) = memory();
        answering(&pond, outcome);
        let id = put(&pond, keyed(1)).await;
        drained(&pond).await;
        assert_eq!((state(&pond, id), put(&pond, keyed(2)).await), (end, id));
        clock.advance(FIVE_MINUTES);
        assert!(put(&pond, keyed(3)).await > id, "{end:?}, and kept, does not hold it");
    }
    let (clock, pond) = memory();
    let id = put(&pond, keyed(1).expires_in(SECOND)).await;
    clock.advance(SECOND);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!((put(&pond, keyed(2)).await, ran.len()), (id, 0), "it has expired");
}

#[tokio::test]
async fn a_redriven_job_holds_its_key_again_unless_another_job_holds_it() {
    let (clock, pond) = memory();
    let dies = || Outcome::dead_letter("never");
    answering(&pond, dies);
    let old = put(&pond, keyed(1)).await;
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    // Once within the key's time, and once after it.
    for passed in [Duration::ZERO, FIVE_MINUTES] {
        clock.advance(passed);
        assert!(pond.dead_letters().redrive(old).await.unwrap());
        assert_sound(&pond).await;
        clock.advance(FIVE_MINUTES);
        assert_eq!(put(&pond, keyed(2)).await, old);
        pond.queue("q").unwrap().resume().await.unwrap();
        drained(&pond).await;
        assert_eq!(rows(&pond), (0, 0));
        pond.queue("q").unwrap().pause().await.unwrap();
    }
    let new = put(&pond, keyed(3)).await;
    assert!(new > old);
    assert!(pond.dead_letters().redrive(old).await.unwrap(), "it is redriven all the same");
    assert_eq!((put(&pond, keyed(4)).await, state(&pond, old)), (new, State::Pending));
    pond.cancel(old, "once is enough").await.unwrap();
    assert_eq!(put(&pond, keyed(5)).await, new, "the key belonged to another job");
}

/// The other job that held the key has ended when the file is verified. A dead letter by its handler's choice has no errors.
#[tokio::test]
async fn a_file_is_sound_in_which_a_redriven_job_has_lost_its_key() {
    let (clock, pond) = memory();
    let dies = pond.worker("q").handle(|_: Job<Work>| async { Ok(millpond::Outcome::dead_letter("wrong")) });
    let dies = dies.start().unwrap();
    let old = put(&pond, keyed(1)).await;
    drained(&pond).await;
    dies.stop().await.unwrap();
    assert!(pond.job(old).unwrap().errors.is_empty());
    clock.advance(FIVE_MINUTES + MINUTE);
    let new = put(&pond, keyed(2)).await;
    assert_ne!(old, new);
    pond.queue("q").unwrap().pause().await.unwrap();
    assert!(pond.dead_letters().redrive(old).await.unwrap());
    pond.cancel(new, "not needed").await.unwrap();
    assert_sound(&pond).await;
    assert_eq!(pond.job(old).unwrap().unique_key.as_deref(), Some("key"));
}

#[tokio::test]
async fn a_redriven_job_gets_its_key_from_an_ended_job_whose_time_has_passed() {
    let (clock, pond) = memory();
    answering(&pond, || Outcome::dead_letter("never"));
    let old = put(&pond, keyed(1)).await;
    drained(&pond).await;
    clock.advance(FIVE_MINUTES);
    let new = put(&pond, keyed(2)).await;
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    assert!(pond.dead_letters().redrive(old).await.unwrap());
    assert_eq!(put(&pond, keyed(3)).await, new, "its time is not over");
    pond.cancel(old, "again").await.unwrap();
    assert_eq!(put(&pond, keyed(3)).await, new);
    clock.advance(FIVE_MINUTES);
    assert!(pond.dead_letters().redrive(new).await.unwrap());
    assert_eq!(put(&pond, keyed(4)).await, new);
}

#[tokio::test]
async fn a_changed_job_keeps_its_key() {
    let (_clock, pond) = memory();
    let id = put(&pond, while_open(1).group("g")).await;
    pond.update(id, JobPatch::new().payload(Work { n: 2 })).await.unwrap();
    pond.run_now(id).await.unwrap();
    assert_eq!(put(&pond, while_open(3)).await, id);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!((ran.all(), rows(&pond)), (vec![2], (0, 0)));
}

#[tokio::test]
async fn a_restart_loses_no_key_and_extends_no_time() {
    let disk = OnDisk::new();
    let mut pond = disk.open();
    let ended = put(&pond, keyed(1)).await;
    let _ran = record(&pond, "q", 1);
    drained(&pond).await;
    let waits = pond.enqueue("later", keyed(2).delay(HOUR)).await.unwrap();
    for _ in 0..4 {
        close(pond).await;
        pond = disk.open();
        assert_eq!(put(&pond, keyed(3)).await, ended);
        assert_eq!(pond.enqueue("later", keyed(4)).await.unwrap(), waits.id);
        disk.clock.advance(MINUTE);
    }
    close(pond).await;
    disk.clock.advance(MINUTE);
    let pond = disk.open();
    assert!(put(&pond, keyed(5)).await > waits.id);
    assert_eq!(pond.enqueue("later", keyed(6)).await.unwrap(), waits.id);
}

#[tokio::test]
async fn a_job_that_ran_or_had_ended_at_a_kill_still_holds_its_key() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let _ran = record(&pond, "done", 1);
    let ended = pond.enqueue("done", keyed(1)).await.unwrap();
    drained(&pond).await;
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let id = put(&pond, while_open(1).max_attempts(1)).await;
    keeper.entered().await;
    starts_written(&pond, &disk.clock).await;

    let after = disk.crashed("copy.redb");
    assert_eq!(after.enqueue("done", keyed(2)).await.unwrap(), ended.id);
    assert_eq!(put(&after, while_open(2)).await, id);
    let (_again, mut second) = gated(&after, "q", 1);
    second.entered().await; // its start is durable before it runs
    let copy = disk.dir.path().join("second.redb");
    std::fs::copy(disk.dir.path().join("copy.redb"), &copy).unwrap();
    let after = disk.builder().open(copy).unwrap();
    assert_eq!(state(&after, id), State::Dead, "it was alone when the process died the second time");
    assert_eq!(rows(&after), (1, 1));
    assert!(put(&after, while_open(3)).await > id);
    keeper.let_go(1);
    second.let_go(1);
}

#[tokio::test]
async fn setting_the_clock_makes_no_key_last_longer_or_shorter() {
    let (clock, pond) = memory();
    let _ran = record(&pond, "q", 1);
    let mut last = put(&pond, keyed(1)).await;
    drained(&pond).await;
    clock.set_wall(clock.wall() - HOUR * 24 * 3650);
    assert_eq!(put(&pond, keyed(2)).await, last);
    clock.advance(FIVE_MINUTES);
    let next = put(&pond, keyed(3)).await;
    assert!(next > last);
    last = next;
    drained(&pond).await;
    clock.set_wall(clock.wall() + HOUR * 24 * 7300);
    assert_eq!(put(&pond, keyed(4)).await, last, "no time has passed");
    clock.advance(FIVE_MINUTES);
    assert!(put(&pond, keyed(5)).await > last);
}

#[tokio::test]
async fn duplicates_appear_in_events_and_metrics() {
    let (_clock, pond) = memory();
    let id = put(&pond, keyed(1)).await;
    let mut events = pond.events();
    let commits = pond.metrics().commits_total;
    assert_eq!(put(&pond, keyed(2)).await, id);
    let told = serde_json::json!({ "type": "Deduplicated", "id": id, "queue": "q", "kind": "work", "key": "key" });
    assert_eq!(serde_json::to_value(heard(&mut events)).unwrap(), serde_json::json!([told]));
    let metrics = pond.metrics();
    assert_eq!((metrics.deduplicated_total, metrics.commits_total), (1, commits), "nothing had to be written");
    let failed = pond.transaction(|tx| tx.enqueue("q", keyed(3)).map_err(Into::into).and(Err::<(), _>("no".into())));
    assert!(failed.await.is_err());
    settled(&pond).await;
    assert_eq!(
        (heard(&mut events), pond.metrics().deduplicated_total),
        (vec![], 1),
        "a duplicate in an undone transaction has no event"
    );
}

#[tokio::test]
async fn unique_keys_that_cannot_work_are_refused() {
    let (_clock, pond) = memory();
    let day = HOUR * 24;
    for job in [work(1).unique_for(SECOND), keyed(1).unique_for(day * 31), keyed(1).unique_for(Duration::MAX)] {
        let refused = pond.enqueue("q", job).await;
        assert!(matches!(refused, Err(Error::InvalidConfig { field: "unique_for", .. })), "{refused:?}");
    }
    let named = pond.enqueue("q", work(1).unique_key("")).await;
    assert!(matches!(named, Err(Error::InvalidKey { .. })), "{named:?}");
    put(&pond, work(1).unique_for(day * 30).unique_key("key")).await;
}

/// Makes batch after batch, each when the one before it is durable, until only this many rows are left.
async fn swept(pond: &Millpond, left: (u64, u64)) {
    let commits = pond.metrics().commits_total;
    while rows(pond) != left && pond.metrics().commits_total < commits + 100 {
        tokio::task::yield_now().await;
        settled(pond).await;
    }
    assert_eq!(rows(pond), left);
    assert_sound(pond).await;
}

#[tokio::test]
async fn keys_whose_time_has_passed_are_removed_from_the_file() {
    let (clock, pond) = memory();
    let _ran = record(&pond, "q", 8);
    let many =
        |prefix: &str| -> Vec<NewJob> { (0..2_500).map(|n| work(n).unique_key(format!("{prefix}-{n}"))).collect() };
    pond.enqueue_many("q", many("a")).await.unwrap();
    drained(&pond).await;
    clock.advance(MINUTE);
    pond.enqueue_many("q", many("b")).await.unwrap();
    let waits = pond.enqueue("later", keyed(1).delay(HOUR)).await.unwrap();
    drained(&pond).await;
    assert_eq!(rows(&pond), (5_001, 5_000));
    clock.advance(FIVE_MINUTES - MINUTE);
    drained(&pond).await;
    swept(&pond, (2_501, 2_500)).await;
    clock.advance(FIVE_MINUTES);
    drained(&pond).await;
    swept(&pond, (1, 0)).await;
    assert_eq!(pond.enqueue("later", keyed(2)).await.unwrap(), waits.id);
}

fn raw(text: &'static str) -> NewJob {
    NewJob::raw("raw", text).unique_key("key").unique_for(Duration::ZERO)
}

#[tokio::test]
async fn a_quarantined_job_holds_its_key_for_no_longer_than_its_time() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let id = put(&pond, raw("some-payload")).await;
    close(pond).await;
    spoil(&disk.path(), b"some-payload");
    let pond = disk.open();
    pond.worker("q").handle_raw("raw", |_: Job<bytes::Bytes>| async { Ok(()) }).start().unwrap();
    drained(&pond).await;
    assert_eq!((pond.quarantined().unwrap(), rows(&pond)), (1, (0, 0)));
    assert!(put(&pond, raw("some-payload")).await > id);
}

#[tokio::test]
async fn a_quarantined_job_whose_key_cannot_be_read_does_not_hold_it() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let id = put(&pond, raw("some-payload").unique_key("some-readable-key")).await;
    close(pond).await;
    // In the job's record, not in the table of keys.
    spoil(&disk.path(), b"\x05\x11some-readable-key");
    let pond = disk.open();
    pond.worker("q").handle_raw("raw", |_: Job<bytes::Bytes>| async { Ok(()) }).start().unwrap();
    drained(&pond).await;
    assert_eq!((pond.quarantined().unwrap(), rows(&pond)), (1, (1, 0)));
    assert!(put(&pond, raw("some-payload").unique_key("some-readable-key")).await > id);
    drained(&pond).await;
    assert_eq!(rows(&pond), (0, 0));
}

/// Flips a bit of a closed file, wherever these bytes are.
fn spoil(path: &std::path::Path, needle: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let found: Vec<_> = (0..bytes.len() - needle.len()).filter(|&at| &bytes[at..at + needle.len()] == needle).collect();
    assert!(!found.is_empty());
    found.into_iter().for_each(|at| bytes[at] ^= 2);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_key_whose_holder_cannot_be_read_is_free() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let ran = record(&pond, "done", 1);
    pond.enqueue("done", keyed(1)).await.unwrap();
    drained(&pond).await;
    let id = put(&pond, keyed(1)).await;
    let spoil_keys = |tx: &millpond::Transaction<'_>| {
        let mut keys = tx.unguarded().open_table(UNIQUE)?;
        for queue in [0, 1] {
            keys.insert((queue, "key"), [1u8, 2, 3, 4, 5, 6].as_slice())?;
        }
        Ok(())
    };
    pond.transaction(spoil_keys).await.unwrap();
    let problems = pond.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("cannot be read")), "{problems:#?}");
    assert!(pond.enqueue("q", keyed(2)).await.unwrap().id > id);
    pond.transaction(spoil_keys).await.unwrap();
    let both = record(&pond, "q", 1);
    pond.testing().idle().await;
    assert_eq!((both.all(), pond.degraded()), (vec![1, 2], None), "both end");
    disk.clock.advance(FIVE_MINUTES + MINUTE);
    drop(ran);
    pond.testing().idle().await;
    pond.enqueue("done", keyed(3)).await.unwrap();
}
