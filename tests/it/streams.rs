//! Streams: entries are appended in order, and each consumer handles them, at least once and in the order of their keys.

use std::sync::Arc;

use millpond::{
    Clock, Context, EntryOrder, Error, Event, Job, JobFilter, Millpond, NewJob, Outcome, QueueSettings, Retry, Start,
    State, Stream, StreamSettings, Worker,
};
use redb::{ReadableTable, TableDefinition};

use crate::support::*;

const SUMS: TableDefinition<&str, u64> = TableDefinition::new("sums");

fn stream(pond: &Millpond) -> Stream {
    pond.stream("s").unwrap()
}

async fn append(pond: &Millpond, numbers: impl IntoIterator<Item = u64>) {
    stream(pond).append_many(numbers.into_iter().map(work)).await.unwrap();
}

async fn append_keyed(pond: &Millpond, entries: &[(&str, u64)]) {
    let entries: Vec<_> = entries.iter().map(|(key, n)| member(key, *n)).collect();
    stream(pond).append_many(entries).await.unwrap();
}

/// The offsets of all entries of the stream.
fn offsets(pond: &Millpond) -> Vec<u64> {
    stream(pond).read(0, 10_000).unwrap().iter().map(|entry| entry.offset).collect()
}

/// Starts a consumer that notes the numbers of the entries that it handles.
async fn consume(pond: &Millpond, name: &str, concurrency: usize) -> (Log<u64>, Worker) {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async { Ok(()) }
    };
    let started = pond.consumer("s", name).concurrency(concurrency).handle(handler).start().await;
    (log, started.unwrap())
}

fn next_of(pond: &Millpond, consumer: &str) -> u64 {
    stream(pond).consumer(consumer).unwrap().info().unwrap().next
}

#[tokio::test]
async fn entries_have_offsets_in_the_order_in_which_they_were_appended() {
    let (_clock, pond) = memory();
    assert_eq!(stream(&pond).append(work(7)).await.unwrap(), 0);
    let appended = stream(&pond).append_many((0..5).map(work)).await.unwrap();
    assert_eq!((appended.first, appended.next), (1, 6));
    let in_transaction = pond.transaction(|tx| Ok((tx.append("s", work(8))?, tx.append("s", work(9))?))).await.unwrap();
    assert_eq!(in_transaction, (6, 7));

    let entries = stream(&pond).read(0, 100).unwrap();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.payload.decode::<Work>().unwrap().n).collect();
    assert_eq!(numbers, [7, 0, 1, 2, 3, 4, 8, 9]);
    assert_eq!(offsets(&pond), (0..8).collect::<Vec<_>>());
    assert_eq!(stream(&pond).read(6, 1).unwrap()[0].offset, 6);
    assert!(stream(&pond).read(8, 1).unwrap().is_empty());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn an_entry_keeps_its_kind_key_tags_and_headers() {
    let (clock, pond) = memory();
    let entry = work(1).group("customer").tag("new").header("tenant", "acme");
    stream(&pond).append(entry).await.unwrap();
    let entry = stream(&pond).read(0, 1).unwrap().remove(0);
    assert_eq!((entry.kind.as_str(), entry.key.as_deref()), ("work", Some("customer")));
    assert_eq!((entry.tags, entry.headers["tenant"].as_str()), (vec!["new".to_owned()], "acme"));
    assert_eq!(entry.appended_at, clock.wall());
}

#[tokio::test]
async fn an_entry_exists_only_if_its_transaction_is_committed() {
    let (_clock, pond) = memory();
    let refused = pond.transaction(|tx| {
        tx.append("s", work(1))?;
        Err::<(), _>("no".into())
    });
    assert!(matches!(refused.await, Err(Error::Aborted { .. })));
    assert!(matches!(stream(&pond).info(), Err(Error::NoSuchStream { .. })));
    append(&pond, [2]).await;
    assert_eq!(stream(&pond).info().unwrap().next, 1);
}

#[tokio::test]
async fn an_option_that_an_entry_cannot_have_is_refused_by_name() {
    let (_clock, pond) = memory();
    let refused: Vec<(NewJob, &str)> = vec![
        (work(1).delay(SECOND), "delay"),
        (work(1).tag("t").priority(millpond::Priority::FIRST), "priority"),
        (work(1).group("g").unique_key("k"), "unique_key"),
        (work(1).max_attempts(2), "max_attempts"),
        (work(1).entry("s", 7), "entry"),
    ];
    for (entry, option) in refused {
        match stream(&pond).append(entry).await {
            Err(Error::InvalidConfig { reason, .. }) => assert!(reason.contains(option), "{option}: {reason}"),
            other => panic!("{option}: {other:?}"),
        }
    }
    assert!(matches!(pond.stream("no spaces"), Err(Error::InvalidName { what: "stream", .. })));
    let tx = pond.transaction(|tx| Ok(tx.append("no spaces", work(1))?)).await;
    assert!(matches!(tx, Err(Error::Aborted { .. })));
}

#[tokio::test]
async fn a_consumer_handles_each_entry_once_and_goes_on_where_it_was() {
    let disk = OnDisk::new();
    let pond = disk.open();
    append(&pond, 0..100).await;
    let (log, worker) = consume(&pond, "c", 4).await;
    drained(&pond).await;
    assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
    worker.stop().await.unwrap();
    append(&pond, 100..110).await;
    close(pond).await;

    let pond = disk.open();
    assert_eq!(next_of(&pond, "c"), 100);
    let (log, _) = consume(&pond, "c", 4).await;
    append(&pond, 110..120).await;
    drained(&pond).await;
    assert_eq!(log.all(), (100..120).collect::<Vec<_>>());
    assert_eq!(next_of(&pond, "c"), 120);
    let counts = pond.queue("s:c").unwrap().counts();
    assert_eq!((counts.completed_total, counts.unfinished(), counts.dead), (120, 0, 0));
}

#[tokio::test]
async fn consumers_do_not_know_of_one_another() {
    let (_clock, pond) = memory();
    append(&pond, 0..10).await;
    let (a, _) = consume(&pond, "a", 1).await;
    let latest = Log::new();
    let seen = latest.clone();
    pond.consumer("s", "b")
        .from(Start::Latest)
        .handle(move |job: Job<Work>| {
            seen.push(job.n);
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    append(&pond, 10..12).await;
    drained(&pond).await;
    assert_eq!(a.all(), (0..12).collect::<Vec<_>>());
    assert_eq!(latest.all(), [10, 11]);
    let consumers = stream(&pond).consumers().unwrap();
    let shown: Vec<_> = consumers.iter().map(|info| (info.name.as_str(), info.next, info.behind)).collect();
    assert_eq!(shown, [("a", 12, 0), ("b", 12, 0)]);
}

#[tokio::test]
async fn more_entries_than_fit_into_memory_are_all_handled_in_order() {
    let (_clock, pond) = memory_with(|builder| builder.window_jobs_max(16));
    append(&pond, 0..2_000).await;
    let (log, _) = consume(&pond, "c", 8).await;
    drained(&pond).await;
    assert_eq!(log.all(), (0..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn entries_of_other_kinds_are_passed_over() {
    let (_clock, pond) = memory();
    let packed = |n: u64| NewJob::new(Packed { text: n.to_string() });
    let mixed = (0..20).map(|n| if n % 3 == 0 { work(n) } else { packed(n) });
    stream(&pond).append_many(mixed).await.unwrap();
    let (log, _) = consume(&pond, "c", 4).await;
    drained(&pond).await;
    assert_eq!(log.take(), [0, 3, 6, 9, 12, 15, 18]);
    assert_eq!(next_of(&pond, "c"), 20);
    stream(&pond).append_many((0..5).map(packed)).await.unwrap();
    drained(&pond).await;
    assert_eq!((next_of(&pond, "c"), log.len()), (25, 0));
}

/// A consumer whose entries with these numbers fail so many times.
async fn failing(pond: &Millpond, order: EntryOrder, fails: &'static [u64], failures: u64) -> Log<u64> {
    let (log, left) = (Log::new(), Failures::of(failures));
    let seen = log.clone();
    pond.consumer("s", "c")
        .order(order)
        .concurrency(4)
        .retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(3))
        .handle(move |job: Job<Work>| {
            let result = if fails.contains(&job.n) { left.next() } else { Ok(()) };
            if result.is_ok() {
                seen.push(job.n);
            }
            async move { Ok(result?) }
        })
        .start()
        .await
        .unwrap();
    log
}

#[tokio::test]
async fn a_retry_holds_only_its_key() {
    let (clock, pond) = memory();
    append_keyed(&pond, &[("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5)]).await;
    let log = failing(&pond, EntryOrder::ByKey, &[1], 1).await;
    drained(&pond).await;
    assert_eq!(log.take(), [2, 4]);
    let jobs = pond.jobs(&JobFilter::new().queue("s:c"), None, 10).unwrap().jobs;
    assert_eq!(jobs.len(), 1, "only the entry that has failed is a job");
    let entry = jobs[0].entry.clone().unwrap();
    assert_eq!((jobs[0].state, &*entry.stream, entry.offset), (State::Retrying, "s", 0));

    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), [1, 3, 5]);
    assert_eq!(next_of(&pond, "c"), 5);
}

#[tokio::test]
async fn a_retry_of_a_total_order_holds_everything() {
    let (clock, pond) = memory();
    append_keyed(&pond, &[("a", 1), ("b", 2), ("c", 3)]).await;
    let log = failing(&pond, EntryOrder::Total, &[1], 1).await;
    drained(&pond).await;
    assert_eq!(log.len(), 0);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), [1, 2, 3]);
}

#[tokio::test]
async fn a_retry_without_an_order_holds_nothing() {
    let (clock, pond) = memory();
    append_keyed(&pond, &[("a", 1), ("a", 2), ("a", 3)]).await;
    let log = failing(&pond, EntryOrder::None, &[1], 1).await;
    drained(&pond).await;
    assert_eq!(log.take(), [2, 3]);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), [1]);
}

#[tokio::test]
async fn what_fails_for_good_is_a_dead_letter_with_its_offset_and_its_key_goes_on() {
    let (clock, pond) = memory();
    append_keyed(&pond, &[("a", 1), ("a", 2)]).await;
    let log = failing(&pond, EntryOrder::ByKey, &[1], 3).await;
    for _ in 0..3 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    assert_eq!(log.take(), [2]);
    let dead = pond.dead_letters().list(&JobFilter::new(), None, 10).unwrap().jobs;
    assert_eq!((dead.len(), dead[0].entry.as_ref().unwrap().offset), (1, 0));
    append_keyed(&pond, &[("a", 3)]).await;
    pond.dead_letters().redrive(dead[0].id).await.unwrap();
    drained(&pond).await;
    let mut all = log.all();
    all.sort_unstable();
    assert_eq!(all, [1, 3]);
}

#[tokio::test]
async fn a_dead_letter_of_one_consumer_in_the_queue_of_another_moves_no_cursor() {
    let (_clock, pond) = memory();
    let (_, d) = consume(&pond, "d", 1).await;
    d.stop().await.unwrap();
    append(&pond, 0..4).await;
    pond.consumer("s", "c")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move { if job.n == 2 { Err("no such customer".into()) } else { Ok(()) } })
        .start()
        .await
        .unwrap();
    drained(&pond).await;
    let dead = pond.dead_letters().list(&JobFilter::new(), None, 10).unwrap().jobs[0].id;
    assert!(pond.move_to(dead, "s:d").await.unwrap());
    pond.dead_letters().redrive(dead).await.unwrap();
    // As what an export has of such a job is stored in another file.
    pond.enqueue("s:d", work(3).entry("s", 3)).await.unwrap();
    let (log, _worker) = consume(&pond, "d", 1).await;
    drained(&pond).await;
    let mut all = log.take();
    all.sort_unstable();
    assert_eq!((all, next_of(&pond, "d")), (vec![0, 1, 2, 2, 3, 3], 4));
    assert_eq!(pond.queue("s:d").unwrap().counts().unfinished(), 0);
}

#[tokio::test]
async fn order_by_key_holds_across_a_restart_in_the_middle_of_a_retry() {
    let disk = OnDisk::new();
    let pond = disk.open();
    append_keyed(&pond, &[("a", 1), ("b", 2), ("a", 3)]).await;
    let log = failing(&pond, EntryOrder::ByKey, &[1], 1).await;
    drained(&pond).await;
    assert_eq!(log.take(), [2]);
    close(pond).await;

    let pond = disk.open();
    append_keyed(&pond, &[("a", 4)]).await;
    let log = failing(&pond, EntryOrder::ByKey, &[], 0).await;
    drained(&pond).await;
    assert_eq!(log.len(), 0, "the first entry of the key waits for its retry");
    disk.clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), [1, 3, 4]);
}

#[tokio::test]
async fn a_key_that_is_held_up_does_not_hold_up_others_however_many_entries_it_has() {
    let (clock, pond) = memory_with(|builder| builder.window_jobs_max(16));
    let mut entries = vec![("a", 0)];
    entries.extend((1..200).map(|n| ("a", n)));
    entries.extend((200..210).map(|n| ("b", n)));
    append_keyed(&pond, &entries).await;
    let log = failing(&pond, EntryOrder::ByKey, &[0], 1).await;
    drained(&pond).await;
    assert_eq!(log.take(), (200..210).collect::<Vec<_>>());
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), (0..200).collect::<Vec<_>>());
    assert_eq!(next_of(&pond, "c"), 210);
    assert_eq!(pond.queue("s:c").unwrap().counts().unfinished(), 0);
}

/// A consumer that adds up its entries in a table of the application.
async fn sum_up(pond: &Millpond, failures: u64) {
    let left = Failures::of(failures);
    pond.consumer("s", "sums")
        .retry(Retry::fixed(SECOND).jitter(0.0))
        .handle(move |job: Job<Work>, ctx: Context| {
            let (n, left) = (job.n, left.clone());
            async move {
                ctx.on_complete(move |tx| {
                    let mut sums = tx.open_table(SUMS)?;
                    let sum = sums.get("sum")?.map_or(0, |sum| sum.value());
                    sums.insert("sum", sum + n)?;
                    Ok(())
                });
                Ok(left.next()?)
            }
        })
        .start()
        .await
        .unwrap();
}

fn sum(pond: &Millpond) -> u64 {
    pond.begin_read().unwrap().open_table(SUMS).unwrap().get("sum").unwrap().unwrap().value()
}

#[tokio::test]
async fn what_a_handler_writes_with_its_completion_is_written_exactly_once() {
    let disk = OnDisk::new();
    let pond = disk.open();
    append(&pond, 1..=100).await;
    sum_up(&pond, 3).await;
    for _ in 0..4 {
        drained(&pond).await;
        disk.clock.advance(SECOND);
    }
    assert_eq!(sum(&pond), 5_050);
    let after_a_crash = disk.crashed("crashed.redb");
    sum_up(&after_a_crash, 0).await;
    append(&after_a_crash, [1]).await;
    drained(&after_a_crash).await;
    assert_eq!(sum(&after_a_crash), 5_051);
}

#[tokio::test]
async fn an_entry_that_runs_for_long_is_a_job_that_a_crash_does_not_lose() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (handler, mut keeper) = gated_handler();
    pond.consumer("s", "c").worker(millpond::WorkerBuilder::no_timeout).handle(handler).start().await.unwrap();
    append_keyed(&pond, &[("a", 1), ("a", 2), ("b", 3)]).await;
    assert_eq!(keeper.next(2).await, [1, 3]);
    starts_written(&pond, &disk.clock).await;
    assert_eq!(pond.queue("s:c").unwrap().counts().running, 2);
    assert_sound(&pond).await;

    let after_a_crash = disk.crashed("crashed.redb");
    let (log, _) = consume(&after_a_crash, "c", 4).await;
    for _ in 0..6 {
        settled(&after_a_crash).await;
        disk.clock.advance(SECOND);
    }
    drained(&after_a_crash).await;
    let mut all = log.all();
    let order_of_a: Vec<u64> = all.iter().copied().filter(|n| *n != 3).collect();
    assert_eq!(order_of_a, [1, 2]);
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
    keeper.let_go(3);
    drained(&pond).await;
    assert_eq!(next_of(&pond, "c"), 3);
}

#[tokio::test]
async fn a_consumer_that_is_moved_back_handles_its_entries_again() {
    let (_clock, pond) = memory();
    append(&pond, 0..10).await;
    let (log, _) = consume(&pond, "c", 4).await;
    drained(&pond).await;
    log.take();
    let consumer = stream(&pond).consumer("c").unwrap();
    assert_eq!(consumer.seek(Start::Offset(6)).await.unwrap(), 6);
    drained(&pond).await;
    assert_eq!(log.take(), [6, 7, 8, 9]);
    assert_eq!(consumer.seek(Start::Earliest).await.unwrap(), 0);
    drained(&pond).await;
    assert_eq!(log.take(), (0..10).collect::<Vec<_>>());
    consumer.pause().await.unwrap();
    append(&pond, 10..20).await;
    assert_eq!(consumer.seek(Start::Latest).await.unwrap(), 20);
    consumer.resume().await.unwrap();
    append(&pond, [20]).await;
    drained(&pond).await;
    assert_eq!(log.all(), [20]);
}

#[tokio::test]
async fn a_consumer_can_begin_at_a_time() {
    let (clock, pond) = memory();
    append(&pond, 0..5).await;
    clock.advance(HOUR);
    let at = clock.wall();
    append(&pond, 5..8).await;
    let (log, _) = consume(&pond, "c", 1).await;
    drained(&pond).await;
    log.take();
    assert_eq!(stream(&pond).consumer("c").unwrap().seek(Start::Time(at)).await.unwrap(), 5);
    drained(&pond).await;
    assert_eq!(log.all(), [5, 6, 7]);
}

#[tokio::test]
async fn entries_in_hand_end_before_a_consumer_that_was_moved_goes_on() {
    let (_clock, pond) = memory();
    let (handler, mut keeper) = gated_handler();
    pond.consumer("s", "c").handle(handler).start().await.unwrap();
    append_keyed(&pond, &[("a", 1), ("b", 2)]).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    stream(&pond).consumer("c").unwrap().seek(Start::Earliest).await.unwrap();
    settled(&pond).await;
    assert!(keeper.waiting().is_empty(), "the replay waits");
    keeper.let_go(1);
    settled(&pond).await;
    assert!(keeper.waiting().is_empty(), "the replay waits for both");
    keeper.let_go(1);
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(next_of(&pond, "c"), 2);
}

#[tokio::test]
async fn retention_by_count_bytes_and_age_removes_the_oldest() {
    let (clock, pond) = memory();
    append(&pond, 0..100).await;
    stream(&pond).configure(StreamSettings::default().max_entries(30)).await.unwrap();
    assert_eq!(stream(&pond).sweep().await.unwrap(), 30);
    assert_eq!(offsets(&pond), (70..100).collect::<Vec<_>>());

    let bytes = stream(&pond).info().unwrap().bytes;
    stream(&pond).configure(StreamSettings::default().max_bytes(bytes / 3)).await.unwrap();
    assert_eq!(stream(&pond).sweep().await.unwrap(), 10);

    stream(&pond).configure(StreamSettings::default().max_age(HOUR)).await.unwrap();
    clock.advance(HOUR / 2);
    append(&pond, [100]).await;
    clock.advance(HOUR / 2);
    drained(&pond).await;
    assert_eq!(offsets(&pond), [100]);
    clock.advance(HOUR);
    drained(&pond).await;
    assert!(offsets(&pond).is_empty());
    let info = stream(&pond).info().unwrap();
    assert_eq!((info.first, info.next, info.entries, info.bytes), (101, 101, 0, 0));
    assert_eq!(stream(&pond).append(work(1)).await.unwrap(), 101, "offsets are never used again");
}

#[tokio::test]
async fn a_consumer_is_told_exactly_what_retention_took_from_it() {
    let (_clock, pond) = memory();
    let mut events = pond.events();
    append(&pond, 0..10).await;
    let (log, _) = consume(&pond, "c", 1).await;
    drained(&pond).await;
    log.take();
    let consumer = stream(&pond).consumer("c").unwrap();
    consumer.pause().await.unwrap();
    append(&pond, 10..30).await;
    stream(&pond).configure(StreamSettings::default().max_entries(5)).await.unwrap();
    stream(&pond).sweep().await.unwrap();
    settled(&pond).await;
    let lost: Vec<_> = heard(&mut events)
        .into_iter()
        .filter_map(|event| match event {
            Event::EntriesLost { stream, consumer, from, to, entries, .. } => {
                Some((stream, consumer, from, to, entries))
            }
            _ => None,
        })
        .collect();
    assert_eq!(lost, [(Arc::from("s"), Arc::from("c"), 10, 25, 15)]);
    let info = consumer.info().unwrap();
    assert_eq!((info.lost, info.next, info.behind), (15, 25, 5));
    consumer.resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), (25..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn retention_waits_for_an_entry_that_a_handler_has() {
    let (_clock, pond) = memory();
    let (handler, mut keeper) = gated_handler();
    pond.consumer("s", "c").handle(handler).start().await.unwrap();
    append(&pond, 0..10).await;
    assert_eq!(keeper.next(1).await, [0]);
    stream(&pond).configure(StreamSettings::default().max_entries(2)).await.unwrap();
    assert_eq!(stream(&pond).sweep().await.unwrap(), 10, "a handler has the first one");
    keeper.let_go(1);
    assert_eq!(keeper.next(1).await, [1]);
    settled(&pond).await;
    assert_eq!(stream(&pond).sweep().await.unwrap(), 9);
    stream(&pond).consumer("c").unwrap().pause().await.unwrap();
    keeper.let_go(1);
    settled(&pond).await;
    assert_eq!(stream(&pond).sweep().await.unwrap(), 2);
    let info = stream(&pond).consumer("c").unwrap().info().unwrap();
    assert_eq!((info.next, info.lost), (8, 6));
    stream(&pond).consumer("c").unwrap().resume().await.unwrap();
    assert_eq!(keeper.next(1).await, [8]);
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(next_of(&pond, "c"), 10);
}

#[tokio::test]
async fn an_entry_that_waits_for_a_retry_outlives_its_stream() {
    let (clock, pond) = memory();
    append_keyed(&pond, &[("a", 1), ("b", 2)]).await;
    let log = failing(&pond, EntryOrder::ByKey, &[1], 1).await;
    drained(&pond).await;
    append_keyed(&pond, &[("b", 3)]).await;
    stream(&pond).configure(StreamSettings::default().max_entries(1)).await.unwrap();
    stream(&pond).sweep().await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    let mut all = log.all();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
}

#[tokio::test]
async fn compaction_keeps_the_latest_entry_of_each_key() {
    let (_clock, pond) = memory();
    append_keyed(&pond, &[("a", 1), ("b", 2), ("a", 3)]).await;
    append(&pond, [4]).await;
    stream(&pond).configure(StreamSettings::default().compact()).await.unwrap();
    stream(&pond).sweep().await.unwrap();
    assert_eq!(offsets(&pond), [1, 2, 3]);
    append_keyed(&pond, &[("b", 5), ("c", 6), ("b", 7)]).await;
    assert_eq!(offsets(&pond), [2, 3, 5, 6]);
    assert_sound(&pond).await;
    let (log, _) = consume(&pond, "c", 4).await;
    drained(&pond).await;
    let mut all = log.all();
    all.sort_unstable();
    assert_eq!(all, [3, 4, 6, 7]);
    assert_eq!(next_of(&pond, "c"), 7);

    stream(&pond).configure(StreamSettings::default()).await.unwrap();
    stream(&pond).sweep().await.unwrap();
    append_keyed(&pond, &[("b", 8)]).await;
    assert_eq!(offsets(&pond), [2, 3, 5, 6, 7], "it keeps all again");
    stream(&pond).configure(StreamSettings::default().compact()).await.unwrap();
    drained(&pond).await;
    stream(&pond).sweep().await.unwrap();
    assert_eq!(offsets(&pond), [2, 3, 5, 7]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_call_that_appends_a_key_twice_to_a_compacted_stream_counts_one_entry() {
    let (_clock, pond) = memory();
    stream(&pond).configure(StreamSettings::default().compact()).await.unwrap();
    append_keyed(&pond, &[("a", 1), ("a", 2), ("b", 3), ("a", 4)]).await;
    let info = stream(&pond).info().unwrap();
    assert_eq!((offsets(&pond), info.entries, info.next), (vec![2, 3], 2, 4));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_tail_has_every_entry_from_its_start_on() {
    let (_clock, pond) = memory();
    append(&pond, 0..3).await;
    let (mut all, mut latest) = (stream(&pond).tail(Start::Earliest), stream(&pond).tail(Start::Latest));
    append(&pond, 3..6).await;
    for n in 0..6 {
        let entry = all.next().await.unwrap().unwrap();
        assert_eq!((entry.offset, entry.payload.decode::<Work>().unwrap().n), (n, n));
    }
    assert_eq!(latest.next().await.unwrap().unwrap().offset, 3);
    let waiting = tokio::spawn(async move { all.next().await.map(|entry| entry.unwrap().offset) });
    append(&pond, [6]).await;
    assert_eq!(waiting.await.unwrap(), Some(6));
    let mut at_the_end = stream(&pond).tail(Start::Latest);
    close(pond).await;
    assert!(at_the_end.next().await.is_none());
}

#[tokio::test]
async fn a_stream_is_removed_with_its_entries_and_only_without_consumers() {
    let (_clock, pond) = memory();
    append(&pond, 0..50).await;
    let (_, worker) = consume(&pond, "c", 1).await;
    drained(&pond).await;
    assert!(matches!(stream(&pond).remove().await, Err(Error::StreamInUse { .. })));
    let consumer = stream(&pond).consumer("c").unwrap();
    assert!(matches!(consumer.remove().await, Err(Error::ConsumerRuns { .. })));
    assert!(matches!(pond.queue("s:c").unwrap().obliterate().await, Err(Error::QueueInUse { .. })));
    worker.stop().await.unwrap();
    assert!(
        matches!(pond.queue("s:c").unwrap().obliterate().await, Err(Error::QueueInUse { .. })),
        "it is a consumer's"
    );
    consumer.remove().await.unwrap();
    assert!(matches!(consumer.info(), Err(Error::NoSuchConsumer { .. })));
    stream(&pond).remove().await.unwrap();
    assert!(matches!(stream(&pond).info(), Err(Error::NoSuchStream { .. })));
    assert!(pond.streams("", 10).unwrap().is_empty());
    assert_sound(&pond).await;
    append(&pond, [1]).await;
    assert_eq!(offsets(&pond), [0], "a new stream of the name begins anew");
}

#[tokio::test]
async fn a_consumer_obeys_its_rate_and_its_pause() {
    let (clock, pond) = memory();
    append(&pond, 0..5).await;
    let log = Log::new();
    let seen = log.clone();
    pond.consumer("s", "c")
        .rate_limit(millpond::Rate::per_second(1))
        .handle(move |job: Job<Work>| {
            seen.push(job.n);
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [0]);
    for _ in 0..4 {
        clock.advance(SECOND);
        drained(&pond).await;
    }
    assert_eq!(log.all(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_key_can_be_paused_like_a_group() {
    let (_clock, pond) = memory();
    let queue = pond.queue("s:c").unwrap();
    let (log, _) = consume(&pond, "c", 4).await;
    queue.pause().await.unwrap();
    append_keyed(&pond, &[("a", 1), ("b", 2), ("a", 3)]).await;
    settled(&pond).await;
    queue.pause_group("a").await.unwrap();
    queue.resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [2]);
    append_keyed(&pond, &[("a", 4), ("b", 5)]).await;
    drained(&pond).await;
    assert_eq!(log.take(), [5]);
    queue.resume_group("a").await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [1, 3, 4]);
    assert_eq!(next_of(&pond, "c"), 5);
}

#[tokio::test]
async fn a_paused_key_and_a_paused_consumer_stay_paused_across_a_restart() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_, worker) = consume(&pond, "c", 4).await;
    let queue = pond.queue("s:c").unwrap();
    queue.pause_group("a").await.unwrap();
    stream(&pond).consumer("c").unwrap().pause().await.unwrap();
    append_keyed(&pond, &[("a", 1), ("b", 2), ("a", 3)]).await;
    drained(&pond).await;
    worker.stop().await.unwrap();
    close(pond).await;

    let pond = disk.open();
    let (log, _worker) = consume(&pond, "c", 4).await;
    drained(&pond).await;
    assert_eq!((log.len(), next_of(&pond, "c")), (0, 0));
    stream(&pond).consumer("c").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [2]);
    pond.queue("s:c").unwrap().resume_group("a").await.unwrap();
    drained(&pond).await;
    assert_eq!((log.all(), next_of(&pond, "c")), (vec![1, 3], 3));
}

#[tokio::test]
async fn a_handler_can_say_what_a_handler_of_a_job_can_say() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.consumer("s", "c")
        .handle(move |job: Job<Work>, ctx: Context| {
            let first = seen.all().iter().filter(|n| **n == job.n).count() == 0;
            seen.push(job.n);
            async move {
                ctx.log("seen");
                match job.n {
                    1 if first => Ok(Outcome::snooze(SECOND)),
                    2 => Ok(Outcome::dead_letter("no")),
                    _ => Outcome::done_json(&job.n),
                }
            }
        })
        .start()
        .await
        .unwrap();
    append_keyed(&pond, &[("a", 1), ("b", 2), ("c", 3)]).await;
    drained(&pond).await;
    assert_eq!(pond.dead_letters().list(&JobFilter::new(), None, 10).unwrap().jobs[0].logs[0].lines[0].text, "seen");
    clock.advance(SECOND);
    drained(&pond).await;
    let mut all = log.all();
    all.sort_unstable();
    assert_eq!(all, [1, 1, 2, 3]);
    assert_eq!(next_of(&pond, "c"), 3);
}

#[tokio::test]
async fn a_stream_keeps_the_events_of_commits_if_it_is_told_to() {
    let disk = OnDisk::new();
    let pond = disk.builder().events_to("audit").open(disk.path()).unwrap();
    record(&pond, "q", 1);
    let id = pond.enqueue("q", work(7)).await.unwrap().id;
    drained(&pond).await;
    pond.flow("f", |flow| drop(flow.job("later", work(8)).after(&flow.job("q", work(9))))).await.unwrap();
    let undone = pond.transaction(|tx| {
        tx.enqueue("q", work(10))?;
        Err::<(), _>("no".into())
    });
    assert!(undone.await.is_err());
    let mut guard = pond.begin_write().unwrap();
    guard.enqueue("by_guard", work(11)).unwrap();
    guard.commit().unwrap();
    drained(&pond).await;

    let entries = pond.stream("audit").unwrap().read(0, 100).unwrap();
    let events: Vec<serde_json::Value> = entries.iter().map(|entry| entry.payload.decode().unwrap()).collect();
    let of = |queue: &str| -> Vec<&str> {
        let of_queue = events.iter().filter(|event| event["queue"] == queue);
        of_queue.map(|event| event["type"].as_str().unwrap()).collect()
    };
    assert_eq!(of("q"), ["Enqueued", "Completed", "Enqueued", "Completed"]);
    assert_eq!((of("later"), of("by_guard")), (vec!["Enqueued"], vec!["Enqueued"]));
    assert_eq!(events[0]["id"], id.get());
    assert_eq!((entries[0].kind.as_str(), entries[0].key.as_deref()), ("event", Some("q")));

    let before = pond.stream("audit").unwrap().info().unwrap().next;
    let log = Log::new();
    let seen = log.clone();
    pond.consumer("audit", "reader")
        .worker(|worker| {
            worker.handle_raw("event", move |_: Job<bytes::Bytes>| {
                seen.push(0);
                async { Ok(()) }
            })
        })
        .start()
        .await
        .unwrap();
    drained(&pond).await;
    assert_eq!(log.len() as u64, before, "the ends of its own consumer are left out");
    assert_eq!(pond.stream("audit").unwrap().info().unwrap().next, before);
    let refused = Millpond::builder().events_to("no spaces").open_backend(redb::backends::InMemoryBackend::new());
    assert!(matches!(refused, Err(Error::InvalidName { what: "stream", .. })));
}

#[tokio::test]
async fn a_stop_loses_nothing() {
    let disk = OnDisk::new();
    let pond = disk.open();
    append(&pond, 0..5_000).await;
    let (log, _) = consume(&pond, "c", 4).await;
    while log.len() < 100 {
        tokio::task::yield_now().await;
    }
    close(pond).await;
    let handled = log.len() as u64;
    let pond = disk.open();
    assert_eq!(next_of(&pond, "c"), handled, "all that was handled before the stop is passed");
    let (rest, _) = consume(&pond, "c", 4).await;
    drained(&pond).await;
    assert_eq!(rest.all(), (handled..5_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_worker_that_is_stopped_and_started_again_handles_nothing_twice() {
    let (_clock, pond) = memory();
    append(&pond, 0..3_000).await;
    let mut all = Vec::new();
    loop {
        let (log, worker) = consume(&pond, "c", 3).await;
        while log.len() < 20 && next_of(&pond, "c") < 3_000 {
            tokio::task::yield_now().await;
        }
        worker.stop().await.unwrap();
        all.extend(log.all());
        if next_of(&pond, "c") == 3_000 {
            break;
        }
    }
    assert_eq!(all, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_guard_appends_with_its_commit_or_not_at_all() {
    let (_clock, pond) = memory();
    let mut guard = pond.begin_write().unwrap();
    guard.append("s", work(1)).unwrap();
    assert!(matches!(guard.append("s", work(1).delay(SECOND)), Err(Error::InvalidConfig { .. })));
    drop(guard);
    assert!(matches!(stream(&pond).info(), Err(Error::NoSuchStream { .. })));
    let mut guard = pond.begin_write().unwrap();
    guard.append("s", work(2)).unwrap();
    guard.append("s", work(3)).unwrap();
    guard.commit().unwrap();
    assert_eq!(offsets(&pond), [0, 1]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_queue_of_a_consumer_has_no_group_concurrency() {
    let (_clock, pond) = memory();
    let is_refused = |refused: &Error| match refused {
        Error::InvalidConfig { field, reason, .. } => {
            *field == "group_concurrency" && reason.contains("EntryOrder::None")
        }
        _ => false,
    };
    let queue = pond.queue("s:c").unwrap();
    queue.configure(QueueSettings::default().group_concurrency(2)).await.unwrap();
    let refused = pond.consumer("s", "c").handle(|_: Job<Work>| async { Ok(()) }).start().await.unwrap_err();
    assert!(is_refused(&refused), "{refused:?}");
    assert!(matches!(stream(&pond).info(), Err(Error::NoSuchStream { .. })), "nothing was made");
    queue.configure(QueueSettings::default()).await.unwrap();
    let (_, _worker) = consume(&pond, "c", 1).await;
    let refused = queue.configure(QueueSettings::default().group_concurrency(2)).await.unwrap_err();
    assert!(is_refused(&refused), "{refused:?}");
    assert_eq!(queue.settings().group_concurrency, 1);
    // A queue of the application may have it, also with the name of a stream.
    pond.queue("s").unwrap().configure(QueueSettings::default().group_concurrency(2)).await.unwrap();
}

#[tokio::test]
async fn a_consumer_whose_queue_is_that_of_another_one_is_refused() {
    let (_clock, pond) = memory();
    let start = |stream: &'static str, name: &'static str| {
        pond.consumer(stream, name).handle(|_: Job<Work>| async { Ok(()) }).start()
    };
    let worker = start("a:b", "c").await.unwrap();
    let refused = start("a", "b:c").await;
    assert!(matches!(&refused, Err(Error::QueueInUse { queue, .. }) if queue == "a:b:c"), "{refused:?}");
    worker.stop().await.unwrap();
    let refused = start("a", "b:c").await;
    assert!(matches!(refused, Err(Error::QueueInUse { .. })), "{refused:?}");
    assert!(matches!(pond.stream("a").unwrap().info(), Err(Error::NoSuchStream { .. })), "nothing is left of it");
    let other = pond.stream("a").unwrap().consumer("b:c").unwrap();
    assert!(matches!(other.info(), Err(Error::NoSuchConsumer { .. })));
    assert!(matches!(other.seek(Start::Latest).await, Err(Error::NoSuchConsumer { .. })));
    assert!(matches!(other.remove().await, Err(Error::NoSuchConsumer { .. })));
    assert_eq!(pond.stream("a:b").unwrap().consumer("c").unwrap().info().unwrap().next, 0);
    assert_sound(&pond).await;
}
