//! Values come back as they were given: results, settings, cursors and times. An option that cannot work is refused
//! by name.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millpond::{
    Backoff, Capacity, Cursor, Error, Event, Explanation, FailureKind, GroupPolicy, Job, JobFilter, JobId, JobPatch,
    Keep, Millpond, NewJob, Outcome, Pace, ParseCursorError, Priority, QueueSettings, Retention, Retry, State,
    Timestamp, WhenFull,
};
use serde_json::json;

use crate::support::*;

/// A job whose handler returns `result`, after it has run.
async fn done<T: millpond::IntoOutcome + Clone + Send + Sync + 'static>(pond: &Millpond, result: T) -> JobId {
    let answer = move |_: Job<Work>| {
        let result = result.clone();
        async move { Ok(result) }
    };
    let worker = pond.worker("q").handle(answer).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(pond).await;
    worker.stop().await.unwrap();
    id.id
}

#[tokio::test]
async fn text_and_bytes_are_kept_unchanged_as_results() {
    let (_, pond) = memory();
    for id in [done(&pond, "é".to_owned()).await, done(&pond, "é").await, done(&pond, "é".as_bytes().to_vec()).await]
    {
        assert_eq!(pond.job(id).unwrap().result.as_deref(), Some("é".as_bytes()));
    }
    let id = done(&pond, Bytes::from_static(&[0, 255])).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&[0, 255][..]));
}

#[tokio::test]
async fn a_json_result_is_read_as_its_type_and_refused_if_json_would_change_it() {
    let (_, pond) = memory();
    let answer = |job: Job<Work>| async move {
        let (a_number, no_number) = (Some(0.5), Some(f64::NAN));
        Outcome::done_json(&(job.n, if job.n == 1 { a_number } else { no_number }))
    };
    pond.worker("q").retry(Retry::none()).handle(answer).start().unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    drained(&pond).await;

    let job = pond.job(ids[0]).unwrap();
    assert_eq!(job.result_json::<(u64, f64)>().unwrap(), Some((1, 0.5)));
    assert!(job.result_json::<String>().is_err());
    let job = pond.job(ids[1]).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Error));
    assert!(job.errors[0].message.contains("NaN"), "{}", job.errors[0].message);
    assert_eq!(job.result_json::<u64>().unwrap(), None);
}

#[tokio::test]
async fn a_serialized_job_shows_its_result_as_json_text_or_bytes() {
    let (_, pond) = memory();
    let shown = async |result: &'static [u8]| {
        let id = done(&pond, Bytes::from_static(result)).await;
        serde_json::to_value(pond.job(id).unwrap()).unwrap()["result"].clone()
    };
    assert_eq!(shown(br#"{"receipt":12}"#).await, json!({ "value": { "receipt": 12 } }));
    assert_eq!(shown(b"receipt 12").await, json!({ "text": "receipt 12" }));
    assert_eq!(shown(&[0xff, 0]).await, json!({ "bytes": [255, 0] }));
    let id = pond.enqueue("idle", work(1)).await.unwrap();
    assert_eq!(serde_json::to_value(pond.job(id).unwrap()).unwrap()["result"], json!(null));
}

#[tokio::test]
async fn a_cursor_continues_from_its_text_and_other_texts_are_refused() {
    let (_, pond) = memory();
    pond.enqueue_many("plain", (0..3).map(work)).await.unwrap();
    pond.enqueue_many("grouped", (0..3).map(|n| work(n).group("customer-1"))).await.unwrap();
    pond.enqueue_many("later", (0..3).map(|n| work(n).delay(HOUR))).await.unwrap();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = pond.jobs(&JobFilter::new(), cursor, 1).unwrap();
        seen.extend(page.jobs.iter().map(|job| job.id.get()));
        let Some(next) = page.next else { break };
        let text = next.to_string();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
        assert_eq!(serde_json::to_value(&next).unwrap(), json!(text));
        assert_eq!(serde_json::from_value::<Cursor>(json!(text)).unwrap(), next);
        for wrong in [&text[1..], &text[..text.len() - 1], &format!("{text}00"), &format!("a{}", &text[1..]), "", "aé"]
        {
            assert_eq!(wrong.parse::<Cursor>(), Err(ParseCursorError), "{wrong}");
        }
        cursor = Some(text.parse().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
}

/// Any text that parses as a cursor: none of them causes an endless or a broken listing.
#[tokio::test]
async fn an_invented_cursor_is_refused_or_lists_pages_that_end() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    let (mut rng, mut parsed) = (fastrand::Rng::with_seed(7), 0);
    for _ in 0..50_000 {
        let bytes: Vec<String> = (0..rng.usize(1..12)).map(|_| format!("{:02x}", rng.u8(0..12))).collect();
        let Ok(invented) = format!("b{}", bytes.concat()).parse::<Cursor>() else { continue };
        parsed += 1;
        for filter in [JobFilter::new(), JobFilter::new().newest_first()] {
            let mut cursor = invented.clone();
            for page in 0.. {
                assert!(page < 20, "it does not end");
                match pond.jobs(&filter, Some(cursor), 1).unwrap().next {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
        }
    }
    assert!(parsed > 100, "{parsed}");
}

#[test]
fn each_setting_is_read_back_as_it_was_given() {
    let keep = Keep::new(HOUR, 7);
    let settings = QueueSettings::default()
        .capacity(Capacity::jobs(5).bytes(6))
        .when_full(WhenFull::Wait)
        .groups(GroupPolicy::Skip)
        .retention(Retention::default().completed(keep).dead(Keep::FOREVER));
    assert_eq!((settings.capacity.jobs, settings.capacity.bytes), (Some(5), Some(6)));
    assert_eq!((settings.when_full, settings.groups), (WhenFull::Wait, GroupPolicy::Skip));
    assert_eq!((settings.retention.completed, settings.retention.dead), (keep, Keep::FOREVER));
    assert_eq!((keep.age, keep.count), (HOUR, 7));

    let retry = Retry::list([SECOND]).jitter(0.5);
    assert_eq!((retry.max_attempts, retry.jitter), (2, 0.5));
    assert_eq!(retry.backoff(), Some(&Backoff::List(vec![SECOND])));
    assert_eq!(Retry::custom(|_| SECOND).backoff(), None);
    assert_eq!((Pace::per_second(4).spacing(), Pace::at_once().spacing()), (SECOND / 4, Duration::ZERO));
}

#[tokio::test]
async fn retention_of_results_keeps_no_job_without_one_and_that_of_completed_jobs_keeps_all() {
    for (retention, kept) in
        [(Retention::default().results(Keep::new(HOUR, 9)), 1), (Retention::default().completed(Keep::new(HOUR, 9)), 2)]
    {
        let (_, pond) = memory();
        let queue = pond.queue("q").unwrap();
        queue.configure(QueueSettings::default().retention(retention)).await.unwrap();
        let answer =
            |job: Job<Work>| async move { Ok(if job.n == 1 { Outcome::done() } else { Outcome::done_with("x") }) };
        pond.worker("q").handle(answer).start().unwrap();
        pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
        drained(&pond).await;
        assert_eq!(queue.counts().completed, kept, "{retention:?}");
    }
}

#[tokio::test]
async fn a_pace_of_zero_is_refused() {
    let (_, pond) = memory();
    let dead = pond.dead_letters();
    let never = Pace::per_second(0);
    for refused in [dead.redrive_all(&JobFilter::new(), never).await, dead.redrive_some([JobId::new(1)], never).await] {
        assert!(matches!(refused, Err(Error::InvalidConfig { field: "pace", .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_option_of_a_new_payload_is_refused_by_its_name_and_changes_nothing() {
    let (_, pond) = memory();
    let worker = pond
        .worker("q")
        .retry(Retry::none())
        .handle(|_: Job<Work>| async { Err::<(), _>("no".into()) })
        .start()
        .unwrap();
    let dead = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    worker.stop().await.unwrap();
    let waits = pond.enqueue("q", work(1)).await.unwrap();

    type With = fn(NewJob) -> NewJob;
    let options: [(&str, With); 12] = [
        ("priority", |job| job.priority(Priority::FIRST)),
        ("group", |job| job.group("g")),
        ("delay", |job| job.delay(HOUR)),
        ("run_at", |job| job.run_at(SystemTime::now())),
        ("expires_in", |job| job.expires_in(HOUR)),
        ("expires_at", |job| job.expires_at(SystemTime::now())),
        ("max_attempts", |job| job.max_attempts(2)),
        ("at_most_once", |job| job.at_most_once()),
        ("backoff", |job| job.backoff(Backoff::Fixed(SECOND))),
        ("timeout", |job| job.timeout(SECOND)),
        ("unique_key", |job| job.unique_key("k")),
        ("unique_key", |job| job.unique_key("k").unique_for(SECOND)),
    ];
    for (option, with) in options {
        let edited = pond.dead_letters().edit(dead, with(work(2))).await;
        let updated = pond.update(waits, JobPatch::new().payload(with(work(2)))).await;
        for refused in [edited, updated] {
            match refused {
                Err(Error::InvalidConfig { field: "payload", reason, .. }) => {
                    assert!(reason.contains(&format!("`{option}`")), "{reason}");
                }
                other => panic!("{option}: {other:?}"),
            }
        }
    }
    for id in [dead, waits] {
        assert_eq!(pond.job(id).unwrap().payload.decode::<Work>().unwrap().n, 1);
    }
}

#[test]
fn a_time_is_shown_as_a_date_and_converts_both_ways() {
    for (millis, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_001, "2000-02-29T00:00:00.001Z"),
        (951_868_799_999, "2000-02-29T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (1_764_347_348_250, "2025-11-28T16:29:08.250Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        let time = Timestamp::from_millis(millis);
        assert_eq!(time.to_string(), text);
        assert_eq!(SystemTime::from(time), UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(Timestamp::from(SystemTime::from(time)), time);
    }
    assert!(Timestamp::MAX.to_string().ends_with('Z'));
    assert!(SystemTime::from(Timestamp::MAX) > SystemTime::now());
}

#[tokio::test]
async fn every_method_that_takes_a_time_accepts_either_type() {
    let (clock, pond) = memory();
    let at = millpond::Clock::wall(&clock) + HOUR;
    for job in
        [work(1).run_at(at).expires_at(at), work(1).run_at(SystemTime::from(at)).expires_at(SystemTime::from(at))]
    {
        let id = pond.enqueue("q", job).await.unwrap();
        let job = pond.job(id).unwrap();
        assert_eq!((job.run_at, job.expires_at), (Some(at), Some(at)));
        pond.update(id, JobPatch::new().run_at(at + HOUR)).await.unwrap();
        assert_eq!(pond.job(id).unwrap().run_at, Some(at + HOUR));
    }
    let count = |filter: JobFilter| pond.jobs(&filter, None, 9).unwrap().jobs.len();
    assert_eq!(count(JobFilter::new().since(at)), 0);
    assert_eq!(count(JobFilter::new().until(SystemTime::from(at))), 2);
}

#[test]
fn states_failures_and_priorities_are_displayed_as_words() {
    let states = [
        State::Pending,
        State::Scheduled,
        State::Running,
        State::Retrying,
        State::Completed,
        State::Dead,
        State::Cancelled,
    ];
    let words: Vec<_> = states.iter().map(State::to_string).collect();
    assert_eq!(words, ["pending", "scheduled", "running", "retrying", "completed", "dead", "cancelled"]);
    assert_eq!(format!("{:>8}|{}", State::Dead, FailureKind::MemoryLimit), "    dead|memory limit");
    assert_eq!(Priority::LAST.to_string(), "9");
}

#[test]
fn an_explanation_is_displayed_as_a_sentence_of_its_own() {
    for (why, sentence) in [
        (Explanation::Running, "it is running"),
        (Explanation::QueuePaused, "its queue is paused"),
        (Explanation::GroupPaused, "its group is paused"),
        (Explanation::NoFreeSlot, "all slots of its queue's worker are taken"),
        (Explanation::NotAskedFor, "its queue has a taker, which has not asked for it yet"),
        (Explanation::NoThread, "all threads for blocking handlers are taken (`blocking_threads`)"),
        (Explanation::ShuttingDown, "the queue is shutting down"),
    ] {
        assert_eq!(why.to_string(), sentence);
    }
}

#[tokio::test]
async fn events_counts_findings_and_explanations_are_serialized_by_name() {
    let (_, pond) = memory();
    let mut events = pond.events();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    let event: Event = events.next().await.unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(&event).unwrap(),
        json!({ "type": "Enqueued", "id": 1, "queue": "q", "kind": "work" })
    );
    let why: Explanation = pond.explain(id).unwrap();
    let none = json!({ "type": "NoHandler", "queue": "q", "kind": "work", "handled": [], "nearest": null });
    assert_eq!(serde_json::to_value(&why).unwrap(), none);
    pond.cancel(id, "x").await.unwrap();
    assert_eq!(
        serde_json::to_value(pond.explain(id).unwrap()).unwrap(),
        json!({ "type": "Ended", "state": "Cancelled" })
    );
    assert_eq!(serde_json::to_value(pond.metrics()).unwrap()["starts_total"], json!(0));
    let verification = serde_json::to_value(pond.verify().await.unwrap()).unwrap();
    assert_eq!((&verification["jobs"], &verification["problems"]), (&json!(1), &json!([])));
}

#[tokio::test]
async fn a_stop_waits_for_the_running_jobs_and_their_durable_ends() {
    let (_, pond) = memory();
    let (worker, mut gate) = gated(&pond, "q", 5);
    let id = pond.enqueue("q", work(7)).await.unwrap();
    assert_eq!(gate.next(1).await, [7]);
    let mut stopping = Box::pin(worker.stop());
    assert!(futures_now(stopping.as_mut()).is_none(), "its job is still running");
    // A clone and a second stop wait for the same end.
    let mut again = Box::pin(worker.clone().stop());
    assert!(futures_now(again.as_mut()).is_none());
    gate.let_go(1);
    stopping.await.unwrap();
    again.await.unwrap();
    assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })), "its end is durable");
    pond.enqueue("q", work(8)).await.unwrap();
    settled(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().pending, 1, "no other job starts");
}

/// The output of the future, if it is ready now.
fn futures_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_jobs_of_the_next_worker() {
    let (_, pond) = memory();
    let (first, mut gate) = gated(&pond, "q", 5);
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(gate.next(1).await, [1]);
    let stopping = first.stop();
    let (_second, mut next_gate) = gated(&pond, "q", 5);
    pond.enqueue("q", work(2)).await.unwrap();
    assert_eq!(next_gate.next(1).await, [2]);
    gate.let_go(1);
    stopping.await.unwrap();
    assert_eq!(pond.queue("q").unwrap().counts().running, 1);
    next_gate.let_go(1);
}

#[tokio::test]
async fn a_stop_ends_with_the_queue_and_a_handler_cannot_wait_for_its_own_worker() {
    let (_, pond) = memory();
    let (worker, mut gate) = gated(&pond, "q", 5);
    pond.enqueue("q", work(1)).await.unwrap();
    gate.next(1).await;
    let stopping = worker.stop();
    pond.shutdown(Duration::ZERO).await.unwrap();
    stopping.await.unwrap();

    let (_, pond) = memory();
    let slot: std::sync::Arc<std::sync::OnceLock<millpond::Worker>> = Default::default();
    let own = slot.clone();
    let stops_itself = move |_: Job<Work>| {
        let own = own.clone();
        async move {
            let refused = matches!(own.get().unwrap().stop().await, Err(Error::WouldDeadlock));
            Ok(if refused { "refused" } else { "waited" })
        }
    };
    let worker = pond.worker("q").handle(stops_itself).start().unwrap();
    slot.set(worker).unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"refused"[..]));
}

const APP: redb::TableDefinition<u64, u64> = redb::TableDefinition::new("app");
const RENAMED: redb::TableDefinition<u64, u64> = redb::TableDefinition::new("renamed");
const TAGS: redb::MultimapTableDefinition<u64, u64> = redb::MultimapTableDefinition::new("tags");
const INDEX: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("millpond/index");
const INDEXES: redb::MultimapTableDefinition<u64, u64> = redb::MultimapTableDefinition::new("millpond/index");

fn is_reserved<T>(refused: Result<T, Error>) {
    assert!(matches!(refused, Err(Error::ReservedTable { table, .. }) if table == "millpond/index"));
}

#[tokio::test]
async fn the_queues_own_tables_are_refused_in_a_transaction_and_in_a_guard_and_left_out_of_the_list() {
    let (_, pond) = memory();
    let in_closure = pond.transaction(|tx| {
        is_reserved(tx.open_table(INDEX));
        is_reserved(tx.open_multimap_table(INDEXES));
        is_reserved(tx.delete_table(INDEX));
        is_reserved(tx.delete_multimap_table(INDEXES));
        is_reserved(tx.rename_table(INDEX, APP));
        is_reserved(tx.rename_multimap_table(INDEXES, TAGS));
        tx.open_table(APP)?.insert(1, 1)?;
        is_reserved(tx.rename_table(APP, INDEX));
        tx.rename_table(APP, RENAMED)?;
        tx.open_multimap_table(TAGS)?.insert(1, 1)?;
        is_reserved(tx.rename_multimap_table(TAGS, INDEXES));
        let names: Vec<_> = tx.list_tables()?.iter().map(|table| redb::TableHandle::name(table).to_owned()).collect();
        assert_eq!(names, ["renamed"]);
        assert!(tx.delete_multimap_table(TAGS)?);
        assert!(!tx.delete_table(APP)?);
        Ok(())
    });
    in_closure.await.unwrap();
    let guard = pond.begin_write().unwrap();
    is_reserved(guard.open_table(INDEX));
    is_reserved(guard.delete_table(INDEX));
    is_reserved(guard.rename_table(RENAMED, INDEX));
    let twice = (guard.open_table(RENAMED), guard.open_table(RENAMED));
    match &twice.1 {
        Err(Error::Table { operation: "open", table, .. }) => assert_eq!(table, "renamed"),
        other => panic!("{other:?}"),
    }
    drop(twice);
    assert!(guard.delete_table(RENAMED).unwrap());
    guard.commit().unwrap();
    assert_sound(&pond).await;
}

/// The fields hold what a struct needs.
struct Adder(u64);

impl millpond::Handler<Work> for Adder {
    fn call(&self, job: Job<Work>, _: &millpond::Context) -> impl Future<Output = Outcome> + Send + 'static {
        let sum = self.0 + job.n;
        async move { Outcome::done_with(sum.to_string()) }
    }
}

impl millpond::BlockingHandler<Work> for Adder {
    fn call(&self, job: Job<Work>, context: &millpond::Context) -> Outcome {
        assert!(!context.is_cancelled());
        Outcome::done_with((self.0 * job.n).to_string())
    }
}

#[tokio::test]
async fn a_struct_can_be_an_async_or_a_blocking_handler() {
    let (_, pond) = memory();
    pond.worker("sum").handle(Adder(3)).start().unwrap();
    pond.worker("product").handle_blocking(Adder(3)).start().unwrap();
    let ids = pond.enqueue_all([("sum", Work { n: 4 }), ("product", Work { n: 4 })]).await.unwrap();
    drained(&pond).await;
    let results: Vec<_> = ids.iter().map(|id| pond.job(*id).unwrap().result.unwrap()).collect();
    assert_eq!(results, ["7", "12"]);
}

/// Texts of which some begin as others do, end in what an encoding might end in, or are as long as may be.
fn keys() -> Vec<String> {
    let long = "k".repeat(1_023);
    let mut keys: Vec<String> = [
        "a",
        "a\0",
        "a\0b",
        "a\0\0",
        "\0",
        "\0\0",
        "aa",
        "ab",
        "b",
        " ",
        "\n",
        "é",
        "名前",
        "\u{10ffff}",
        "ada@example.org",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.extend([long.clone(), format!("{long}a"), format!("{long}\0"), "\u{10ffff}".repeat(256)]);
    keys
}

#[tokio::test]
async fn a_group_is_any_text_of_up_to_1_024_bytes_and_keeps_its_jobs_apart_from_all_others() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let queue = pond.queue("q").unwrap();
    let paused = "a\0";
    queue.pause_group(paused).await.unwrap();
    for n in 0..2 {
        pond.enqueue_many("q", keys().iter().map(|key| work(n).group(key.clone()))).await.unwrap();
    }
    assert_sound(&pond).await;
    close(pond).await;

    let pond = disk.builder().verify_on_open().open(disk.path()).unwrap();
    let queue = pond.queue("q").unwrap();
    for key in keys() {
        let jobs = pond.jobs(&JobFilter::new().group(key.clone()), None, 9).unwrap().jobs;
        assert!(jobs.len() == 2 && jobs.iter().all(|job| job.group.as_deref() == Some(&key)), "{key:?}");
        let [first, second] = [0, 1].map(|n| pond.explain(jobs[n].id).unwrap());
        assert_eq!(first == Explanation::GroupPaused, key == paused, "{key:?}: {first:?}");
        let is_behind = matches!(second, Explanation::GroupBusy { head, ahead: 1, .. } if head == jobs[0].id);
        assert!(is_behind, "{key:?}: {second:?}");
    }
    pond.worker("q")
        .group_rate_limit(millpond::Rate::per_hour(1).burst(9))
        .handle(|_: Job<Work>| async { Ok(()) })
        .start()
        .unwrap();
    drained(&pond).await;
    assert_eq!(queue.counts().unfinished(), 2);
    for key in keys() {
        let tokens = queue.group_rate(&key).unwrap().available();
        assert_eq!(tokens, if key == paused { 9.0 } else { 7.0 }, "{key:?}");
    }
    queue.resume_group(paused).await.unwrap();
    drained(&pond).await;
    assert_eq!(queue.counts().completed_total, 2 * keys().len() as u64);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_unique_key_is_any_text_of_up_to_1_024_bytes_and_is_taken_for_no_other() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let enqueue_all = async |pond: &Millpond| {
        pond.enqueue_many("q", keys().iter().map(|key| work(1).unique_key(key.clone()))).await.unwrap()
    };
    let ids = enqueue_all(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().pending, keys().len() as u64);
    assert_sound(&pond).await;
    close(pond).await;
    let pond = disk.open();
    let again = enqueue_all(&pond).await;
    assert!(again.iter().zip(&ids).all(|(again, first)| again.id == first.id && !again.is_stored()));
    for (id, key) in ids.iter().zip(keys()) {
        assert_eq!(pond.job(*id).unwrap().unique_key, Some(key));
    }
}

#[tokio::test]
async fn an_empty_or_longer_group_or_unique_key_is_refused_by_name() {
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    for bad in ["".to_owned(), "k".repeat(1_025), "\u{10ffff}".repeat(257)] {
        let is_refused = |what: &str, refused: Result<(), Error>| match refused {
            Err(Error::InvalidKey { what: named, len, max: 1_024, .. }) => assert_eq!((named, len), (what, bad.len())),
            other => panic!("{other:?}"),
        };
        is_refused("group", pond.enqueue("q", work(1).group(bad.clone())).await.map(drop));
        is_refused("unique key", pond.enqueue("q", work(1).unique_key(bad.clone())).await.map(drop));
        is_refused("group", queue.pause_group(&bad).await.map(drop));
        is_refused("group", queue.resume_group(&bad).await.map(drop));
        is_refused("group", queue.group_rate(&bad).map(drop));
    }
    assert_eq!(queue.counts().pending, 0);
}

#[tokio::test]
async fn a_read_runs_beside_the_task_and_with_wait_on_the_callers_thread() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", work(7)).await.unwrap();
    let here = std::thread::current().id();
    let read = |pond: &Millpond| pond.read(move |pond| Ok((pond.job(id)?.id, std::thread::current().id())));
    let (found, there) = read(&pond).await.unwrap();
    assert!(found == id && there != here);
    assert_eq!(read(&pond).wait().unwrap(), (id.id, here));
    assert!(matches!(pond.read(|pond| pond.job(JobId::new(99))).await, Err(Error::NoSuchJob { .. })));
    let panicked = tokio::spawn(pond.read(|_| -> Result<(), Error> { panic!("on purpose") })).await.unwrap_err();
    assert_eq!(panicked.into_panic().downcast_ref(), Some(&"on purpose"));

    // Outside of a runtime it has a thread of its own.
    let elsewhere = pond.clone();
    let on_thread = std::thread::spawn(move || {
        let mut read = Box::pin(elsewhere.read(|_| Ok(std::thread::current().name().map(str::to_owned))));
        let thread = std::thread::current();
        let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(thread)));
        loop {
            match read.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
                std::task::Poll::Ready(name) => return name.unwrap(),
                std::task::Poll::Pending => std::thread::park(),
            }
        }
    });
    assert_eq!(on_thread.join().unwrap().as_deref(), Some("millpond-read"));
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}
