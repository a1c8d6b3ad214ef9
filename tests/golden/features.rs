//! Makes each file. A feature that changes what is stored gets a file here first.

use std::fs;

use millpond::testing::{self, ManualClock};
use millpond::{
    Capacity, CircuitBreaker, Clock, Context, GroupPolicy, Job, JobFilter, Keep, Kind, Millpond, NewJob, Outcome, Pace,
    Priority, QueueSettings, Rate, Retention, Retry, WhenFull, Worker,
};
use redb::TableDefinition;

use crate::support::*;

pub const FEATURES: [&str; 12] = [
    "plain",
    "later",
    "groups",
    "skipping_groups",
    "dead_letters",
    "ended",
    "rates",
    "settings",
    "app_rows",
    "unique_keys",
    "quarantine",
    "killed",
];

/// A feature that only files since version 3 have, and that only a build with plugins can make.
pub const OF_PLUGINS: &str = "plugins";

/// A feature that only files since version 4 have.
const EXPIRING: &str = "expiring";

/// The features that files of this version have.
pub fn features_of(schema: u32) -> impl Iterator<Item = &'static str> {
    FEATURES.into_iter().chain((schema >= 3).then_some(OF_PLUGINS)).chain(later_features(schema))
}

/// Every kind in the files.
pub const KINDS: [&str; 3] = [Work::KIND, Packed::KIND, "raw"];

/// Every group in the files.
pub const GROUPS: [&str; 6] = ["a", "b", "c", "d", "e", "held"];

pub const APP: TableDefinition<u64, &str> = TableDefinition::new("app");

/// The queue with rates. It is paused in the files.
pub const LIMITED: &str = "limited";

/// Makes the file of a feature and returns its bytes.
pub async fn make(feature: &str) -> Vec<u8> {
    let disk = OnDisk::new();
    let pond = disk.open();
    match feature {
        "plain" => plain(&pond).await,
        "later" => later(&pond, &disk.clock).await,
        "groups" => groups(&pond, &disk.clock).await,
        "skipping_groups" => skipping_groups(&pond).await,
        "dead_letters" => dead_letters(&pond, &disk.clock).await,
        "ended" => ended(&pond, &disk.clock).await,
        "rates" => rates(&pond).await,
        "settings" => settings(&pond).await,
        "app_rows" => app_rows(&pond).await,
        "unique_keys" => unique_keys(&pond, &disk.clock).await,
        EXPIRING => expiring(&pond, &disk.clock).await,
        #[cfg(feature = "wasm")]
        OF_PLUGINS => plugins(&pond).await,
        "quarantine" => return quarantine(disk, pond).await,
        "killed" | CODED | CANCELLING | IDENTITY => return left(feature, disk, pond).await,
        other => added(other, &pond, &disk.clock).await,
    }
    close(pond).await;
    fs::read(disk.path()).unwrap()
}

fn raw(text: &'static str) -> NewJob {
    NewJob::raw("raw", text)
}

/// A worker whose handler answers as the payload says.
fn answering(pond: &Millpond, queue: &str) -> Worker {
    pond.worker(queue)
        .concurrency(1)
        .retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(2))
        .handle_raw("raw", |job: Job<bytes::Bytes>, ctx: Context| async move {
            let id = job.id().get();
            match &job[..] {
                b"fail" => Err("it does not work".into()),
                b"panic" => panic!("on purpose"),
                b"snooze" => Ok(Outcome::snooze(HOUR)),
                b"discard" => Ok(Outcome::cancel("not wanted any more")),
                b"dead" => Ok(Outcome::dead_letter("it can never work")),
                b"slow down" => Ok(Outcome::rate_limited(HOUR)),
                b"result" => Ok(Outcome::done_with("the result")),
                b"row" => {
                    ctx.on_complete(move |tx| {
                        tx.open_table(APP)?.insert(1_000 + id, "written with a completion")?;
                        tx.enqueue("follow", work(id))?;
                        Ok(())
                    });
                    Ok(Outcome::Done(None))
                }
                _ => Ok(Outcome::Done(None)),
            }
        })
        .start()
        .unwrap()
}

async fn run(pond: &Millpond, queue: &str) {
    let worker = answering(pond, queue);
    testing::drain(pond).await;
    worker.stop();
}

/// Jobs of three codecs and three priorities in two queues; some have run.
async fn plain(pond: &Millpond) {
    pond.enqueue_many("done", (0..5).map(work)).await.unwrap();
    let worker = record_with_worker(pond, "done", 1).1;
    testing::drain(pond).await;
    worker.stop();
    pond.enqueue_many("done", (5..8).map(work)).await.unwrap();
    pond.enqueue("emails", Packed { text: "packed".into() }).await.unwrap();
    pond.enqueue("emails", raw("as it is")).await.unwrap();
    pond.enqueue("emails", raw("")).await.unwrap();
    for priority in [Priority::FIRST, Priority::LAST, Priority::new(3).unwrap()] {
        pond.enqueue("emails", work(u64::from(priority.get())).priority(priority)).await.unwrap();
    }
    let options = work(8).max_attempts(9).timeout(SECOND).expires_in(HOUR * 1_000);
    pond.enqueue("emails", options.backoff(millpond::Backoff::Fixed(SECOND))).await.unwrap();
}

/// Jobs that are due by either clock, after a failure, or after a snooze; one that expires before it is due.
async fn later(pond: &Millpond, clock: &ManualClock) {
    pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    pond.enqueue("q", work(2).run_at(in_hours(clock, 30))).await.unwrap();
    pond.enqueue("q", work(3).delay(HOUR * 20).expires_in(HOUR * 10)).await.unwrap();
    pond.enqueue_many("q", [raw("fail"), raw("snooze"), raw("fail").priority(Priority::FIRST)]).await.unwrap();
    run(pond, "q").await;
    clock.advance(SECOND);
    pond.enqueue("q", work(4).delay(HOUR)).await.unwrap();
}

fn in_hours(clock: &ManualClock, hours: u32) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_millis(clock.wall().as_millis()) + HOUR * hours
}

/// A group with ready jobs, one that is paused, one whose head waits for its retry, one that is paused and empty,
/// one whose last job was redriven before a younger one left the group.
async fn groups(pond: &Millpond, clock: &ManualClock) {
    let queue = pond.queue("q").unwrap();
    let members =
        |group, texts: &[&'static str]| -> Vec<NewJob> { texts.iter().map(|text| raw(text).group(group)).collect() };
    pond.enqueue_many("q", members("c", &["fail", "second"])).await.unwrap();
    pond.enqueue_many("q", members("d", &["dead", "fail", "third"])).await.unwrap();
    run(pond, "q").await;
    pond.dead_letters().redrive_all(&JobFilter::new().group("d"), Pace::at_once()).await.unwrap();
    clock.advance(SECOND);
    queue.pause_group("b").await.unwrap();
    queue.pause_group("e").await.unwrap();
    pond.enqueue_many("q", members("a", &["first", "second", "third"])).await.unwrap();
    pond.enqueue_many("q", members("b", &["first", "second"])).await.unwrap();
    pond.enqueue("q", raw("urgent").group("a").priority(Priority::FIRST)).await.unwrap();
    pond.enqueue("q", raw("later").group("b").delay(HOUR)).await.unwrap();
}

/// Parked members: one failed, one is due later.
async fn skipping_groups(pond: &Millpond) {
    let settings = QueueSettings::default().groups(GroupPolicy::Skip);
    pond.queue("q").unwrap().configure(settings).await.unwrap();
    pond.enqueue_many("q", ["fail", "second", "snooze"].map(|text| raw(text).group("a"))).await.unwrap();
    run(pond, "q").await;
    pond.enqueue("q", raw("later").group("a").delay(HOUR)).await.unwrap();
    pond.enqueue_many("q", ["fourth", "fifth"].map(|text| raw(text).group("a"))).await.unwrap();
}

/// Jobs that failed twice, panicked, were made dead letters by the handler, or cannot be decoded; one edited, one redriven.
async fn dead_letters(pond: &Millpond, clock: &ManualClock) {
    let texts = ["fail", "panic", "dead", "dead", "dead"];
    let ids = pond.enqueue_many("q", texts.map(raw)).await.unwrap();
    run(pond, "q").await;
    clock.advance(HOUR);
    run(pond, "q").await;
    pond.enqueue("typed", NewJob::raw(Work::KIND, "no number")).await.unwrap();
    let worker = record_with_worker(pond, "typed", 1).1;
    testing::drain(pond).await;
    worker.stop();
    pond.dead_letters().edit(ids[3], raw("edited")).await.unwrap();
    pond.dead_letters().redrive(ids[4]).await.unwrap();
}

/// Jobs that completed with a result and without, were cancelled, were cancelled by their handler, or expired; and what a short retention kept.
async fn ended(pond: &Millpond, clock: &ManualClock) {
    let keep = Retention::default().completed(Keep::FOREVER).cancelled(Keep::FOREVER);
    pond.queue("kept").unwrap().configure(QueueSettings::default().retention(keep)).await.unwrap();
    let jobs = [raw("result"), raw("done"), raw("discard"), raw("late").expires_in(SECOND), raw("gone")];
    let ids = pond.enqueue_many("kept", jobs).await.unwrap();
    pond.cancel(ids[4], "the order was withdrawn").await.unwrap();
    clock.advance(SECOND);
    run(pond, "kept").await;
    pond.enqueue_many("by_default", [raw("result"), raw("done"), raw("discard"), raw("waits")]).await.unwrap();
    let worker = answering(pond, "by_default");
    testing::drain(pond).await;
    worker.stop();
    pond.enqueue("by_default", raw("waits")).await.unwrap();
}

/// The worker that the rates belong to.
pub fn limited(pond: &Millpond) -> Worker {
    pond.worker(LIMITED)
        .rate_limit(Rate::per_minute(1).burst(100))
        .group_rate_limit(Rate::per_minute(1).burst(10))
        .handle_raw("raw", |_: Job<bytes::Bytes>| async { Ok(Outcome::rate_limited(HOUR)) })
        .start()
        .unwrap()
}

/// Tokens taken from a queue's bucket and from a group's, and a hold on the group.
async fn rates(pond: &Millpond) {
    let worker = limited(pond);
    let queue = pond.queue(LIMITED).unwrap();
    queue.rate().take(40).await.unwrap();
    queue.group_rate("held").unwrap().take(4).await.unwrap();
    pond.enqueue_many(LIMITED, ["first", "second"].map(|text| raw(text).group("held"))).await.unwrap();
    testing::drain(pond).await;
    worker.stop();
    queue.pause().await.unwrap();
    pond.enqueue(LIMITED, raw("plain")).await.unwrap();
}

/// Every setting of a queue, and a queue that is paused.
async fn settings(pond: &Millpond) {
    let retention = Retention::default()
        .completed(Keep::new(HOUR, 7))
        .cancelled(Keep::NOTHING)
        .dead(Keep::new(HOUR * 24, u64::MAX));
    let settings = QueueSettings::default()
        .capacity(Capacity::jobs(1_000).bytes(1 << 20))
        .when_full(WhenFull::Wait)
        .groups(GroupPolicy::Skip)
        .retention(retention);
    pond.queue("set").unwrap().configure(settings).await.unwrap();
    let paused = pond.queue("paused").unwrap();
    paused.pause().await.unwrap();
    pond.enqueue_many("paused", (0..3).map(work)).await.unwrap();
    pond.enqueue("set", work(1)).await.unwrap();
}

/// The application's rows: written with jobs, in a commit of their own, and with a completion.
async fn app_rows(pond: &Millpond) {
    pond.transaction(|tx| {
        tx.open_table(APP)?.insert(1, "beside a job")?;
        tx.enqueue("q", raw("row"))?;
        Ok(())
    })
    .await
    .unwrap();
    run(pond, "q").await;
    let mut guard = pond.begin_write().unwrap();
    guard.open_table(APP).unwrap().insert(2, "in a commit of its own").unwrap();
    guard.enqueue("q", raw("waits")).unwrap();
    guard.commit().unwrap();
}

/// Jobs with unique keys in every state; some with the same key, where that is accepted.
async fn unique_keys(pond: &Millpond, clock: &ManualClock) {
    let keyed = |text, key: &str| raw(text).unique_key(key);
    let ended = [keyed("result", "completed"), keyed("dead", "dead"), keyed("discard", "discarded")];
    pond.enqueue_many("q", ended).await.unwrap();
    pond.enqueue_many("q", [keyed("fail", "retrying"), keyed("snooze", "snoozed")]).await.unwrap();
    run(pond, "q").await;
    clock.advance(SECOND);
    for text in ["the first", "the second"] {
        pond.enqueue("q", keyed(text, "same")).await.unwrap();
    }
    pond.enqueue("q", keyed("urgent, and later than both", "same").priority(Priority::FIRST)).await.unwrap();
    pond.enqueue("other", keyed("in another queue", "same")).await.unwrap();
    pond.enqueue("q", keyed("a member", "member").group("a")).await.unwrap();
    pond.enqueue("q", keyed("a member", "same-in-a-group").group("a")).await.unwrap();
    pond.enqueue("q", keyed("without a group", "same-in-a-group")).await.unwrap();
    pond.enqueue("q", keyed("a ready one again", "completed")).await.unwrap();
    pond.enqueue("q", keyed("due later", "delayed").delay(HOUR)).await.unwrap();
    pond.enqueue("q", raw("without a key")).await.unwrap();
}

/// Jobs that expire by either clock, wherever a job can wait; some have started, one has expired, one was changed.
async fn expiring(pond: &Millpond, clock: &ManualClock) {
    let late = |text| raw(text).expires_in(HOUR * 10);
    pond.enqueue_many("q", [late("fail"), late("snooze"), late("dead"), late("slow down").group("c")]).await.unwrap();
    run(pond, "q").await;
    clock.set_wall(clock.wall() - HOUR * 2);
    clock.advance(SECOND);
    pond.queue("q").unwrap().pause_group("b").await.unwrap();
    let by_the_wall = |text| raw(text).expires_at(in_hours(clock, 20));
    let jobs = [
        late("ready"),
        by_the_wall("ready, by the wall clock"),
        late("due later").delay(HOUR * 30),
        late("head").group("a"),
        by_the_wall("behind it").group("a"),
        late("held").group("b"),
        late("urgent").priority(Priority::FIRST).unique_key("key"),
        raw("gone").expires_in(SECOND),
    ];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    pond.update(ids[1], millpond::JobPatch::new().priority(Priority::LAST)).await.unwrap();
    let skips = QueueSettings::default().groups(GroupPolicy::Skip);
    pond.queue("skips").unwrap().configure(skips).await.unwrap();
    pond.enqueue_many("skips", [late("parked").group("a").delay(HOUR), late("next").group("a")]).await.unwrap();
    clock.advance(SECOND);
    testing::drain(pond).await;
}

/// A job that can no longer be read is quarantined.
async fn quarantine(disk: OnDisk, pond: Millpond) -> Vec<u8> {
    let texts = ["first-payload", "second-payload", "third-payload"];
    pond.enqueue_many("q", texts.map(raw)).await.unwrap();
    close(pond).await;
    let needle = b"second-payload";
    let mut bytes = fs::read(disk.path()).unwrap();
    for at in 0..bytes.len() - needle.len() {
        if &bytes[at..at + needle.len()] == needle {
            bytes[at] ^= 1;
        }
    }
    fs::write(disk.path(), bytes).unwrap();
    let pond = disk.open();
    run(&pond, "q").await;
    pond.enqueue("q", raw("fourth-payload")).await.unwrap();
    assert_eq!(pond.quarantined().unwrap(), 1);
    close(pond).await;
    fs::read(disk.path()).unwrap()
}

/// The process dies while handlers run, the head of a group among them, and most jobs wait.
async fn killed(disk: OnDisk, pond: Millpond) -> Vec<u8> {
    pond.enqueue_many("q", (0..20).map(work)).await.unwrap();
    let (_worker, mut keeper) = gated(&pond, "q", 4);
    keeper.next(4).await;
    starts_written(&pond, &disk.clock).await;
    keeper.let_go(2);
    keeper.next(2).await;
    pond.enqueue_many("grouped", (0..6).map(|n| member(["a", "b"][n as usize % 2], n))).await.unwrap();
    let (_other, mut heads) = gated(&pond, "grouped", 2);
    heads.next(2).await;
    starts_written(&pond, &disk.clock).await;
    pond.enqueue("q", work(20).delay(HOUR)).await.unwrap();
    fs::read(disk.path()).unwrap()
}

// --- added without a new version ---
//
// A message in the files has the number of a line above: what is added comes here.

const SCHEDULES: &str = "schedules";

/// A file with a payload codec, which is at version 5.
const CODED: &str = "coded";

/// Tags and headers.
const LABELS: &str = "labels";

/// Unique modes and idempotency keys.
const MODES: &str = "modes";

/// The process dies after the cancel of running jobs was requested.
const CANCELLING: &str = "cancelling";

/// What the handlers of earlier attempts have logged and reported as progress.
const REPORTS: &str = "reports";

/// Weights, overrides, and pauses of kinds and of all queues.
const IDENTITY: &str = "identity";
const DROPPING: &str = "dropping";
const LIMITS: &str = "limits";

/// Groups that a dead letter holds.
const HOLDING: &str = "holding_groups";

/// Groups of which two jobs can run at a time.
const SIDE_BY_SIDE: &str = "group_concurrency";

/// Circuits that are open or half open, of queues and of groups.
const OPEN_CIRCUIT: &str = "open_circuit";

/// Jobs that wait for jobs, and handlers that are in their middle.
const FLOWS: &str = "flows";

/// Jobs that have undone their steps, or are about to.
const UNDO: &str = "undo";

/// Topics with bindings of all kinds, and a message of one of them.
const TOPICS: &str = "topics";
const STREAMS: &str = "streams";

/// What files since version 4 have. All but `EXPIRING` came to it without a new version.
fn later_features(schema: u32) -> impl Iterator<Item = &'static str> {
    let later = [
        EXPIRING,
        SCHEDULES,
        CODED,
        LABELS,
        MODES,
        CANCELLING,
        REPORTS,
        LIMITS,
        HOLDING,
        SIDE_BY_SIDE,
        OPEN_CIRCUIT,
        FLOWS,
        UNDO,
        TOPICS,
        STREAMS,
        IDENTITY,
        DROPPING,
    ];
    (schema >= 4).then_some(later).into_iter().flatten()
}

/// Makes a file that is not simply closed.
async fn left(feature: &str, disk: OnDisk, pond: Millpond) -> Vec<u8> {
    match feature {
        CODED => coded(disk, pond).await,
        CANCELLING => cancelling(disk, pond).await,
        IDENTITY => identity(disk, pond).await,
        _ => killed(disk, pond).await,
    }
}

async fn added(feature: &str, pond: &Millpond, clock: &ManualClock) {
    match feature {
        SCHEDULES => schedules(pond, clock).await,
        LABELS => labels(pond).await,
        MODES => modes(pond, clock).await,
        REPORTS => reports(pond, clock).await,
        LIMITS => limits(pond).await,
        HOLDING => holding_groups(pond).await,
        SIDE_BY_SIDE => group_concurrency(pond).await,
        OPEN_CIRCUIT => open_circuits(pond, clock).await,
        FLOWS => flows(pond).await,
        UNDO => undo(pond).await,
        TOPICS => topics(pond).await,
        STREAMS => streams(pond, clock).await,
        DROPPING => dropping(pond).await,
        other => panic!("there is no feature {other:?}"),
    }
}

/// A flow that waits for a job and for a signal, one whose failure has let others run, one that has ended; a job that sleeps behind a
/// step, and one that waits for a signal.
async fn flows(pond: &Millpond) {
    use millpond::OnFailure;
    pond.flow("ended", |flow| drop(flow.job("q", raw("result")).named("only"))).await.unwrap();
    pond.flow("failed", |flow| {
        let dies = flow.job("q", raw("dead"));
        flow.job("q", raw("row")).after_or(&dies, OnFailure::Run);
        flow.job("q", raw("discarded")).after_or(&dies, OnFailure::Cancel);
        flow.on_failure("q", raw("callback"));
    })
    .await
    .unwrap();
    run(pond, "q").await;
    let worker = pond.worker("steps").handle_raw("raw", |job: Job<bytes::Bytes>, ctx: Context| async move {
        ctx.step("first", || async { Ok::<_, millpond::Error>(7) }).await?;
        match &job[..] {
            b"sleeps" => ctx.sleep("nap", HOUR).await?,
            _ => drop(ctx.wait_for::<u64>("signal", Some(HOUR)).await?),
        }
        Ok(())
    });
    let worker = worker.start().unwrap();
    pond.enqueue_many("steps", [raw("sleeps"), raw("waits")]).await.unwrap();
    testing::drain(pond).await;
    worker.stop();
    pond.flow("open", |flow| {
        flow.deadline_in(HOUR * 1_000);
        let first = flow.job("q", raw("first")).named("first");
        let go = flow.signal("go").deadline_in(HOUR);
        let second = flow.job("q", raw("second").priority(Priority::FIRST)).after(&first).after_or(&go, OnFailure::Run);
        (0..20).for_each(|_| drop(flow.job("q", raw("fan-out")).after(&second)));
        flow.on_end("q", raw("end"));
    })
    .await
    .unwrap();
}

/// A dead letter that has undone its steps, and a job that has undone one of two.
async fn undo(pond: &Millpond) {
    use std::future::ready;
    let worker = pond.worker("q").retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(2));
    let worker = worker.handle_raw("raw", |job: Job<bytes::Bytes>, ctx: Context| async move {
        let undone = if &job[..] == b"broken" { Err("it cannot be undone yet") } else { Ok(()) };
        ctx.step("first", || ready(Ok::<_, millpond::Error>(7))).undo(move |_: u64| ready(undone)).await?;
        ctx.step("second", || ready(Ok::<_, millpond::Error>(8))).undo(|_: u64| ready(Ok::<_, &str>(()))).await?;
        Ok(Outcome::dead_letter("no"))
    });
    let worker = worker.start().unwrap();
    pond.enqueue_many("q", ["undone", "broken"].map(|job| raw(job).max_attempts(2))).await.unwrap();
    testing::drain(pond).await;
    worker.stop();
}

/// One topic has keys, patterns and headers, one has only an alternate queue, and one is mandatory without bindings.
async fn topics(pond: &Millpond) {
    use millpond::{Binding, TopicSettings};
    let orders = pond.topic("orders").unwrap();
    for binding in [
        Binding::to("q").key("order.created.*"),
        Binding::to("q").key("order.>"),
        Binding::to("all"),
        Binding::to("headers").headers_all([("b", "2"), ("a", "1")]).headers_any([("c", "3"), ("c", "4")]),
        Binding::to("gone").key("order.#"),
        Binding::to("renamed").key(""),
    ] {
        orders.bind(binding).await.unwrap();
    }
    orders.unbind(Binding::to("gone").key("order.#")).await.unwrap();
    pond.queue("gone").unwrap().remove().await.unwrap();
    pond.queue("renamed").unwrap().rename("another").await.unwrap();
    let lost = pond.topic("lost").unwrap();
    lost.configure(TopicSettings::default().alternate("unrouted")).await.unwrap();
    pond.topic("strict").unwrap().configure(TopicSettings::default().mandatory(true)).await.unwrap();
    orders.publish("order.created.eu", raw("message").headers([("a", "1"), ("b", "2"), ("c", "4")])).await.unwrap();
    lost.publish("nothing", raw("lost").unique_key("key")).await.unwrap();
}

/// A stream whose oldest entries are removed, one that keeps only the latest entries of keys, and an empty one; a consumer with a
/// job that waits for its retry, one behind it, and a dead letter; one that is in the middle, and one that has lost entries.
async fn streams(pond: &Millpond, clock: &ManualClock) {
    use millpond::{Start, StreamSettings};
    let orders = pond.stream("orders").unwrap();
    let entries = ["row", "failed", "dead", "row"].map(|text| raw(text).group(text).tag("entry").header("a", "1"));
    orders.append_many(entries).await.unwrap();
    let consumer = |name: &'static str| {
        pond.consumer("orders", name).retry(Retry::fixed(HOUR).jitter(0.0)).worker(|worker| {
            worker.handle_raw("raw", |job: Job<bytes::Bytes>| async move {
                match &job[..] {
                    b"failed" => Err("the first attempt".into()),
                    b"dead" => Ok(Outcome::dead_letter("broken")),
                    _ => Ok(Outcome::done()),
                }
            })
        })
    };
    let worker = consumer("all").start().await.unwrap();
    testing::drain(pond).await;
    worker.stop().await.unwrap();
    // These two are stored, and must not take an entry before they stop.
    pond.pause().await.unwrap();
    consumer("middle").from(Start::Offset(2)).start().await.unwrap().stop().await.unwrap();
    clock.advance(SECOND);
    orders.append_many([raw("failed").group("failed"), raw("row")]).await.unwrap();
    consumer("lost").start().await.unwrap().stop().await.unwrap();
    pond.resume().await.unwrap();
    orders.configure(StreamSettings::default().max_entries(3).max_bytes(1 << 20).max_age(HOUR)).await.unwrap();
    orders.sweep().await.unwrap();
    let prices = pond.stream("prices").unwrap();
    prices.configure(StreamSettings::default().compact()).await.unwrap();
    for (key, price) in [("a", "row"), ("b", "result"), ("a", "discarded")] {
        prices.append(raw(price).group(key)).await.unwrap();
    }
    pond.stream("empty").unwrap().configure(StreamSettings::default()).await.unwrap();
}

/// Schedules by the wall clock and at intervals, with their options; one is paused, one has ended, one waits for room.
async fn schedules(pond: &Millpond, clock: &ManualClock) {
    use millpond::{Cron, Every, Misfire, Overlap, Schedule};
    pond.queue("full").unwrap().configure(QueueSettings::default().capacity(Capacity::jobs(1))).await.unwrap();
    let yearly = Cron::parse("30 2 1 1 *").unwrap().zone("Europe/Berlin").unwrap();
    let yearly = Schedule::new(yearly, "q", work(1).group("a").max_attempts(3).expires_in(HOUR * 10_000));
    pond.schedule("yearly", yearly.misfire(Misfire::Skip).jitter(SECOND * 60)).await.unwrap();
    let often =
        |queue: &str| Schedule::new(Every::new(HOUR).aligned(), queue, raw("scheduled")).overlap(Overlap::Allow);
    pond.schedule("twice", often("q").at_most(2)).await.unwrap();
    pond.schedule("paused", often("q").misfire(Misfire::All { at_most: 9 })).await.unwrap();
    pond.schedules().pause("paused").await.unwrap();
    pond.schedule("waits", often("full").ends_at(clock.wall() + HOUR * 2)).await.unwrap();
    let rarely = Schedule::new(Every::new(HOUR * 10_000), "q", raw("rarely"));
    pond.schedule("rarely", rarely.overlap(Overlap::Queue).starts_at(clock.wall() + HOUR * 9_000)).await.unwrap();
    for _ in 0..3 {
        clock.advance(HOUR);
        testing::drain(pond).await;
    }
    pond.schedules().run_now("rarely").await.unwrap();
}

/// Jobs with tags and headers: they wait, are in a group, are retried, are dead, and were moved.
async fn labels(pond: &Millpond) {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let labelled = |text| raw(text).tags(["customer 7", "größer"]).header("traceparent", TRACE).header("lang", "de");
    pond.enqueue_many("q", ["fail", "dead", "waits"].map(labelled)).await.unwrap();
    let worker = answering(pond, "q");
    testing::drain(pond).await;
    worker.stop();
    pond.enqueue("q", labelled("in a group").group("a")).await.unwrap();
    pond.enqueue("q", labelled("later").delay(HOUR)).await.unwrap();
    pond.enqueue("q", raw("only a header").header("lang", "en")).await.unwrap();
    let moved = pond.enqueue("q", labelled("moved")).await.unwrap();
    pond.move_to(moved, "r").await.unwrap();
}

/// The keys of the file with unique modes.
pub const KEYS: [&str; 6] = ["ended", "started", "replaced", "debounced", "window", "latest"];

/// A key of each mode, held by a job that waits, is retried or has ended; and calls that can be made again.
async fn modes(pond: &Millpond, clock: &ManualClock) {
    use millpond::Unique;
    let put = async |job: NewJob| pond.enqueue("q", job).await.unwrap();
    put(raw("result").unique("window", Unique::throttle(HOUR * 100))).await;
    put(raw("fail").unique("latest", Unique::keep_latest())).await;
    put(raw("done").idempotency_key("a call whose job has ended")).await;
    run(pond, "q").await;
    put(raw("the next one").unique("latest", Unique::keep_latest())).await;
    put(raw("the latest one").unique("latest", Unique::keep_latest())).await;
    put(raw("waits").unique("ended", Unique::until_ended())).await;
    put(raw("waits").unique("started", Unique::until_started())).await;
    for text in ["the first", "the last"] {
        put(raw(text).unique("replaced", Unique::until_ended().replace())).await;
        put(raw(text).unique("debounced", Unique::until_started().debounce(HOUR, HOUR * 3))).await;
        clock.advance(HOUR / 2);
    }
    put(raw("waits").idempotency_key("a call").idempotency_for(HOUR * 100)).await;
}

/// Jobs with weights; a queue with overrides and a paused kind, one with overrides that were reset, and a pause of all.
async fn limits(pond: &Millpond) {
    use millpond::Overrides;
    let queue = pond.queue("q").unwrap();
    let overrides = Overrides::new().concurrency(2).rate(Rate::per_minute(6).burst(3)).no_group_rate();
    queue.set_overrides(overrides).await.unwrap();
    queue.pause_kind("raw").await.unwrap();
    let other = pond.queue("r").unwrap();
    other.set_overrides(Overrides::new().concurrency(7)).await.unwrap();
    other.set_overrides(Overrides::new()).await.unwrap();
    pond.enqueue("q", work(1).weight(3)).await.unwrap();
    pond.enqueue("q", work(2).weight(u32::MAX).group("a")).await.unwrap();
    pond.enqueue("r", raw("without a weight")).await.unwrap();
    pond.pause().await.unwrap();
}

/// A group that a dead letter holds, one that is paused as well, and one whose dead letter was redriven and waits at its old
/// place.
async fn holding_groups(pond: &Millpond) {
    let queue = pond.queue("q").unwrap();
    queue.configure(QueueSettings::default().groups(GroupPolicy::Hold)).await.unwrap();
    let groups = ["a", "b", "c"];
    let jobs = groups.iter().flat_map(|group| ["dead", "behind it"].map(|text| raw(text).group(*group)));
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    let worker = answering(pond, "q");
    testing::drain(pond).await;
    worker.stop();
    queue.pause_group("b").await.unwrap();
    pond.dead_letters().redrive(ids[4]).await.unwrap();
}

/// Groups of which two jobs can run at a time: two heads that wait, two in a paused group, two that are ready.
async fn group_concurrency(pond: &Millpond) {
    let queue = pond.queue("q").unwrap();
    queue.configure(QueueSettings::default().group_concurrency(2)).await.unwrap();
    let members =
        |group, texts: &[&'static str]| -> Vec<NewJob> { texts.iter().map(|text| raw(text).group(group)).collect() };
    pond.enqueue_many("q", members("a", &["fail", "second", "fail", "fourth"])).await.unwrap();
    run(pond, "q").await;
    queue.pause_group("b").await.unwrap();
    pond.enqueue_many("q", members("b", &["first", "second", "third"])).await.unwrap();
    pond.enqueue_many("q", members("c", &["first", "second", "third"])).await.unwrap();
}

/// A queue whose circuit is open, one whose circuit is half open, and one whose groups have circuits that are open again, because
/// their probes have failed. Jobs wait behind each.
async fn open_circuits(pond: &Millpond, clock: &ManualClock) {
    let breaker = CircuitBreaker::failures(1.0).of(2);
    let failing = |queue: &str| {
        pond.worker(queue)
            .concurrency(1)
            .retry(Retry::fixed(HOUR / 2).jitter(0.0).max_attempts(20))
            .handle_raw("raw", |_: Job<bytes::Bytes>| async { Err::<(), _>("the service is down".into()) })
    };
    pond.enqueue_many("half-open", (0..3).map(|_| raw("fails"))).await.unwrap();
    let worker = failing("half-open").circuit_breaker(breaker.open_for(HOUR)).start().unwrap();
    testing::drain(pond).await;
    worker.stop();
    pond.enqueue_many("groups", ["a", "a", "b", "b"].map(|group| raw("fails").group(group))).await.unwrap();
    let worker = failing("groups").group_circuit_breaker(breaker.of(1).open_for(HOUR)).start().unwrap();
    testing::drain(pond).await;
    clock.advance(HOUR);
    testing::drain(pond).await;
    worker.stop();
    pond.enqueue_many("open", (0..3).map(|_| raw("fails"))).await.unwrap();
    let worker = failing("open").circuit_breaker(breaker.open_for(HOUR * 10)).start().unwrap();
    testing::drain(pond).await;
    worker.stop();
}

/// Of the jobs that run when the process dies, two are to be cancelled. One of them had a start mark before.
async fn cancelling(disk: OnDisk, pond: Millpond) -> Vec<u8> {
    let ids = pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    let (_worker, mut keeper) = gated(&pond, "q", 3);
    keeper.next(3).await;
    pond.cancel(ids[0], "before its start was written").await.unwrap();
    starts_written(&pond, &disk.clock).await;
    pond.cancel(ids[1], "after its start was written").await.unwrap();
    fs::read(disk.path()).unwrap()
}

/// A backup of a file with an identity that was found to be a copy before. It was not opened yet.
async fn identity(disk: OnDisk, pond: Millpond) -> Vec<u8> {
    let identity = pond.identity().await.unwrap();
    pond.begin_incarnation(identity.incarnation).await.unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    let copy = disk.dir.path().join("copy.redb");
    pond.backup(&copy).await.unwrap();
    close(pond).await;
    fs::read(copy).unwrap()
}

/// A queue that has dropped its oldest jobs.
async fn dropping(pond: &Millpond) {
    let settings = QueueSettings::default().capacity(Capacity::jobs(2)).when_full(WhenFull::DropOldest);
    pond.queue("q").unwrap().configure(settings).await.unwrap();
    pond.enqueue_many("q", [raw("first"), raw("second").group("a")]).await.unwrap();
    pond.enqueue("q", raw("third").group("a")).await.unwrap();
}

/// The payload codec of the files that have one.
pub fn scrambled() -> crate::scrambled::Scrambled {
    crate::scrambled::Scrambled { key: 9, reads: |_, _| {} }
}

/// Jobs whose payloads, results, errors and reasons are coded, next to those from before the file had a codec.
async fn coded(disk: OnDisk, pond: Millpond) -> Vec<u8> {
    const SAYS: [&str; 5] = ["fail", "dead", "discard", "result", "snooze"];
    pond.enqueue_many("q", SAYS.map(raw)).await.unwrap();
    run(&pond, "q").await;
    pond.enqueue_many("q", [raw("waits"), raw("in a group").group("a")]).await.unwrap();
    close(pond).await;
    let pond = disk.builder().payload_codec(scrambled()).open(disk.path()).unwrap();
    pond.enqueue_many("r", SAYS.map(raw)).await.unwrap();
    run(&pond, "r").await;
    disk.clock.advance(HOUR);
    run(&pond, "q").await;
    pond.enqueue_many("r", [raw("waits"), raw("in a group").group("a"), raw("later").delay(HOUR)]).await.unwrap();
    pond.enqueue("r", Packed { text: "packed".into() }).await.unwrap();
    pond.enqueue("r", work(7)).await.unwrap();
    close(pond).await;
    fs::read(disk.path()).unwrap()
}

/// A plugin that counts, keeps each payload under the payload's own text, and enqueues a follow-up job; one that traps.
#[cfg(feature = "wasm")]
async fn plugins(pond: &Millpond) {
    use crate::guest;
    use millpond::{Grant, Plugin};
    let body = r#"
        (call $increment (i32.const 1024) (i32.const 5) (i64.const 1) (i32.const 256))
        (call $set (local.get $p) (local.get $n) (local.get $p) (local.get $n) (i32.const 256))
        (call $enqueue (call $new_job (i32.const 1029) (i32.const 3) (local.get $p) (local.get $n)) (i32.const 256))
        (call $ok (local.get $p) (local.get $n))"#;
    let module = guest::module_with(body, r#"(data (i32.const 1024) "countraw")"#);
    let plugin = Plugin::from_bytes("counter", module).unwrap().grant(Grant::enqueue("raw"));
    let traps = Plugin::from_bytes("broken", guest::module(guest::TRAP)).unwrap();
    let retry = Retry::fixed(HOUR).jitter(0.0).max_attempts(2);
    let counting = pond.worker("q").concurrency(1).retry(retry.clone()).handle_wasm("plugin", plugin).start().unwrap();
    let breaking = pond.worker("broken").concurrency(1).retry(retry).handle_wasm("raw", traps).start().unwrap();
    for text in ["first", "second"] {
        pond.enqueue("q", NewJob::raw("plugin", text)).await.unwrap();
        testing::drain(pond).await;
    }
    pond.enqueue("broken", raw("x")).await.unwrap();
    testing::drain(pond).await;
    counting.stop();
    breaking.stop();
}

/// Jobs in each table whose handlers have reported something: in one attempt or in more than are kept, little or too much.
async fn reports(pond: &Millpond, clock: &ManualClock) {
    let keep = Retention::default().completed(Keep::FOREVER).cancelled(Keep::FOREVER);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(keep)).await.unwrap();
    let texts = ["fail", "snooze", "dead", "discard", "done"];
    pond.enqueue_many("q", texts.map(raw)).await.unwrap();
    pond.enqueue_many("q", [raw("much"), raw("slow down").group("a"), raw("fail").group("b")]).await.unwrap();
    let worker = pond
        .worker("q")
        .concurrency(1)
        .retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(20))
        .handle_raw("raw", |job: Job<bytes::Bytes>, ctx: Context| async move {
            ctx.log(format!("attempt {} of \"{}\"", job.attempt(), String::from_utf8_lossy(&job)));
            ctx.log("a second line: é\u{1b}[0m");
            let total = (job.attempt() > 1).then_some(20);
            ctx.progress(u64::from(job.attempt()), total, "half-way");
            match &job[..] {
                b"fail" => Err("it does not work".into()),
                b"snooze" => Ok(Outcome::snooze(HOUR)),
                b"dead" => Ok(Outcome::dead_letter("it can never work")),
                b"discard" => Ok(Outcome::cancel("not wanted any more")),
                b"slow down" => Ok(Outcome::rate_limited(HOUR)),
                b"much" => {
                    (0..400).for_each(|n| ctx.log(format!("{n} {:.>60}", "")));
                    Ok(Outcome::dead_letter("it said too much"))
                }
                _ => Ok(Outcome::Done(None)),
            }
        })
        .start()
        .unwrap();
    for _ in 0..7 {
        testing::drain(pond).await;
        clock.advance(HOUR);
    }
    testing::drain(pond).await;
    worker.stop();
}
