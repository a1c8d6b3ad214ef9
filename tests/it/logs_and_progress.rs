//! What a handler logs and reports as progress is shown while it runs, and is kept with the end of its attempt.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millpond::{
    AttemptLog, BoxError, Context, Event, Failure, Job, JobId, JobPatch, Keep, Millpond, Outcome, PayloadCodec,
    QueueSettings, Retention, Retry, State,
};

use crate::support::*;

/// The text of a log in short: its attempt, its lines, its progress.
fn short(log: &AttemptLog) -> String {
    let lines: Vec<_> = log.lines.iter().map(|line| line.text.as_str()).collect();
    let progress = log.progress.as_ref().map(|progress| format!(" {} {}", progress.done, progress.message));
    format!("{}: {}{}", log.attempt, lines.join(", "), progress.unwrap_or_default())
}

fn logs(pond: &Millpond, id: impl Into<JobId>) -> Vec<String> {
    pond.job(id).unwrap().logs.iter().map(short).collect()
}

async fn keep_everything(pond: &Millpond) {
    let keep = Retention::default().completed(Keep::FOREVER).cancelled(Keep::FOREVER);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(keep)).await.unwrap();
}

fn retry() -> Retry {
    Retry::fixed(SECOND).jitter(0.0).max_attempts(20)
}

/// Says something, and ends as the number of the job says.
async fn answer(job: Job<Work>, ctx: Context) -> Result<Outcome, Failure> {
    ctx.log("said");
    ctx.progress(1, Some(2), "half");
    match job.n {
        0 => Ok(Outcome::done()),
        1 => Ok(Outcome::done_with("result")),
        2 => Err("no".into()),
        3 => Ok(Outcome::snooze(SECOND)),
        4 => Ok(Outcome::rate_limited(SECOND)),
        5 => Ok(Outcome::cancel("not wanted")),
        6 => Ok(Outcome::dead_letter("never")),
        7 => panic!("on purpose"),
        8 => {
            ctx.on_complete(|_| Err("cannot be written".into()));
            Ok(Outcome::done())
        }
        9 => {
            ctx.on_complete(|_| Ok(()));
            Ok(Outcome::done())
        }
        _ => std::future::pending().await,
    }
}

#[tokio::test]
async fn every_end_of_an_attempt_keeps_what_its_handler_reported() {
    let disk = OnDisk::new();
    let pond = disk.open();
    keep_everything(&pond).await;
    pond.worker("q").retry(retry()).concurrency(20).timeout(HOUR).handle(answer).start().unwrap();
    let ids: Vec<JobId> = pond.enqueue_many("q", (0..10).map(work)).await.unwrap().iter().map(|it| it.id).collect();
    drained(&pond).await;
    let states = [
        State::Completed,
        State::Completed,
        State::Retrying,
        State::Scheduled,
        State::Pending,
        State::Cancelled,
        State::Dead,
        State::Retrying,
        State::Retrying,
        State::Completed,
    ];
    let check = |pond: &Millpond| {
        for (id, expected) in ids.iter().zip(states) {
            let job = pond.job(*id).unwrap();
            assert_eq!((job.state, logs(pond, *id)), (expected, vec!["1: said 1 half".to_owned()]), "{job:?}");
            assert_eq!(job.progress.unwrap().fraction(), Some(0.5));
            assert_eq!(job.logs[0].ended_at, Some(job.logs[0].started_at));
        }
    };
    check(&pond);
    close(pond).await;
    let pond = disk.open();
    check(&pond);
    assert_sound(&pond).await;
    close(pond).await;
}

#[tokio::test]
async fn a_timeout_a_cancel_and_a_stop_keep_what_was_reported() {
    let disk = OnDisk::new();
    let pond = disk.builder().cancel_grace(Duration::ZERO).open(disk.path()).unwrap();
    keep_everything(&pond).await;
    pond.worker("q").retry(retry()).concurrency(20).timeout(SECOND * 60).handle(answer).start().unwrap();
    let grouped = work(10).group("g");
    let late = pond.enqueue("q", work(10)).await.unwrap();
    running(&pond, "q", 1).await;
    disk.clock.advance(SECOND * 60);
    while state(&pond, late) != State::Retrying {
        settled(&pond).await;
    }
    let ids = pond.enqueue_many("q", [work(10), work(10), grouped]).await.unwrap();
    running(&pond, "q", 3).await;
    assert_eq!(logs(&pond, ids[1]), ["1: said 1 half"]);
    pond.cancel(ids[0], "enough").await.unwrap();
    while state(&pond, ids[0]) != State::Cancelled {
        settled(&pond).await;
    }
    pond.shutdown(Duration::ZERO).await.unwrap();

    let pond = disk.open();
    assert_sound(&pond).await;
    for (id, expected) in
        [(late, State::Retrying), (ids[0], State::Cancelled), (ids[1], State::Pending), (ids[2], State::Pending)]
    {
        assert_eq!((state(&pond, id), logs(&pond, id)), (expected, vec!["1: said 1 half".to_owned()]));
    }
    // A job that went back runs with the number of its first attempt again, and both are kept.
    pond.worker("q")
        .handle(|_: Job<Work>, ctx: Context| async move {
            ctx.log("again");
            Ok(())
        })
        .start()
        .unwrap();
    drained(&pond).await;
    assert_eq!(logs(&pond, ids[1]), ["1: said 1 half", "1: again"]);
    assert_eq!(logs(&pond, ids[2]), ["1: said 1 half", "1: again"]);
    close(pond).await;
}

#[tokio::test]
async fn lines_and_progress_are_written_with_the_end_and_cost_no_commit() {
    let commits = async |talks: bool| {
        let (clock, pond) = memory();
        let handler = move |job: Job<Work>, ctx: Context| async move {
            for n in 0..if talks { 10_000 } else { 0 } {
                ctx.log(format!("line {n}"));
                ctx.progress(n, Some(10_000), "");
            }
            if job.attempt() == 1 { Err("first".into()) } else { Outcome::done_json(&1) }
        };
        pond.worker("q").retry(retry()).handle(handler).start().unwrap();
        pond.enqueue("q", work(1)).await.unwrap();
        drained(&pond).await;
        clock.advance(SECOND);
        drained(&pond).await;
        pond.metrics().commits_total
    };
    assert_eq!(commits(true).await, commits(false).await);
}

#[tokio::test]
async fn the_latest_lines_of_the_latest_attempts_are_kept_with_their_times() {
    let (clock, pond) = memory();
    let time = clock.clone();
    let start = millpond::Clock::wall(&clock);
    let handler = move |job: Job<Work>, ctx: Context| {
        let time = time.clone();
        async move {
            ctx.log("begun");
            time.advance(SECOND);
            for n in 0..2_000 {
                ctx.log(format!("{n:0>84}"));
            }
            if job.attempt() < 8 { Err::<(), _>("again".into()) } else { Ok(()) }
        }
    };
    keep_everything(&pond).await;
    pond.worker("q").retry(retry()).handle(handler).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    for _ in 0..8 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Completed);
    assert_eq!(job.logs.iter().map(|log| log.attempt).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    for (at, log) in job.logs.iter().enumerate() {
        // A line of 84 bytes counts as 100 bytes, and the first line is among those that were dropped.
        assert_eq!((log.lines.len(), log.dropped), (163, 2_001 - 163));
        assert_eq!(log.lines[162].text, format!("{:0>84}", 1_999));
        let started_at = start + SECOND * 2 * (at as u32 + 3);
        assert_eq!(
            (log.started_at, log.lines[0].at, log.ended_at),
            (started_at, started_at + SECOND, Some(started_at + SECOND))
        );
    }
}

#[tokio::test]
async fn a_running_attempt_is_shown_behind_those_before_it() {
    let (clock, pond) = memory();
    let (gate, mut keeper) = gate();
    let handler = move |job: Job<Work>, ctx: Context| {
        let gate = gate.clone();
        async move {
            if job.attempt() == 1 {
                ctx.progress(9, None, "first");
                return Err("first".into());
            }
            gate.pass(1).await;
            ctx.log("second");
            gate.pass(2).await;
            ctx.progress(1, None, "third");
            gate.pass(3).await;
            Ok(())
        }
    };
    pond.worker("q").retry(retry()).handle(handler).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().progress.unwrap().message, "first");
    clock.advance(SECOND);
    let mut found = Vec::new();
    for n in 1..=3 {
        assert_eq!(keeper.entered().await, n);
        let job = pond.job(id).unwrap();
        found.push((job.logs.iter().map(short).collect::<Vec<_>>(), job.progress.map(|progress| progress.message)));
        assert!(n == 1 || job.logs[1].ended_at.is_none());
        keeper.let_go(1);
    }
    let lines = |all: &[&str]| all.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            (lines(&["1:  9 first"]), None),
            (lines(&["1:  9 first", "2: second"]), None),
            (lines(&["1:  9 first", "2: second 1 third"]), Some("third".to_owned())),
        ]
    );
    drained(&pond).await;
}

#[tokio::test]
async fn a_handler_that_blocks_reports_in_the_same_way() {
    let (_, pond) = memory();
    let handler = |_: Job<Work>, ctx: Context| {
        ctx.log("from a thread");
        let other = ctx.clone();
        std::thread::spawn(move || other.progress(1, None, "from another")).join().unwrap();
        Err::<(), _>("no".into())
    };
    pond.worker("q").retry(retry()).handle_blocking(handler).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(logs(&pond, id), ["1: from a thread 1 from another"]);
}

#[tokio::test]
async fn what_is_reported_after_the_end_of_the_attempt_is_ignored() {
    let (_, pond) = memory();
    let kept = Log::new();
    let keeps = kept.clone();
    let handler = move |_: Job<Work>, ctx: Context| {
        keeps.push(ctx.clone());
        ctx.log("in time");
        async { Err::<(), _>("no".into()) }
    };
    pond.worker("q").retry(retry()).handle(handler).start().unwrap();
    let mut events = pond.events_with_attempts(|event| matches!(event, Event::Progress { .. }));
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    let ctx = kept.take().remove(0);
    ctx.log("late");
    ctx.progress(1, None, "late");
    assert_eq!(logs(&pond, id), ["1: in time"]);
    assert_eq!(heard(&mut events), []);
}

#[tokio::test]
async fn the_end_of_a_job_of_which_nothing_is_kept_still_answers_what_it_reported() {
    let (_, pond) = memory();
    let handler = |_: Job<Work>, ctx: Context| async move {
        ctx.log("said");
        Ok(())
    };
    pond.worker("q").handle(handler).start().unwrap();
    let ended = pond.enqueue_and_wait("q", work(1)).await.unwrap();
    assert_eq!(ended.logs.iter().map(short).collect::<Vec<_>>(), ["1: said"]);
    assert!(pond.job(ended.id).is_err());
    assert_eq!(pond.queue("q").unwrap().counts().completed, 0);
    drained(&pond).await;
}

#[tokio::test]
async fn a_crash_loses_the_lines_of_the_attempt_that_ran_and_no_others() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (gate, mut keeper) = gate();
    let handler = move |job: Job<Work>, ctx: Context| {
        let gate = gate.clone();
        async move {
            ctx.log(format!("attempt {}", job.attempt()));
            if job.attempt() == 2 {
                gate.pass(2).await;
            }
            Err::<(), _>("no".into())
        }
    };
    pond.worker("q").retry(retry()).handle(handler).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    disk.clock.advance(SECOND);
    keeper.entered().await;
    starts_written(&pond, &disk.clock).await;
    let crashed = disk.crashed("crashed.redb");
    let job = crashed.job(id).unwrap();
    assert_eq!(
        (job.errors.len(), job.logs.iter().map(short).collect::<Vec<_>>()),
        (2, vec!["1: attempt 1".to_owned()])
    );
    assert_sound(&crashed).await;
    close(crashed).await;
    keeper.let_go(1);
    close(pond).await;
}

#[tokio::test]
async fn operators_do_not_remove_what_was_reported() {
    let (clock, pond) = memory();
    pond.worker("q").retry(retry()).handle(answer).start().unwrap();
    let [dead, waits] = pond.enqueue_many("q", [work(6), work(2)]).await.unwrap()[..] else { unreachable!() };
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.dead_letters().redrive(dead).await.unwrap();
    pond.update(waits, JobPatch::new().payload(Work { n: 0 })).await.unwrap();
    clock.advance(SECOND);
    settled(&pond).await;
    for id in [dead, waits] {
        assert_eq!((state(&pond, id), logs(&pond, id)), (State::Pending, vec!["1: said 1 half".to_owned()]));
    }
    drained(&pond).await;
}

/// Inverts the bits of every byte, and refuses what has the word "refuse".
struct Inverted;

impl PayloadCodec for Inverted {
    fn name(&self) -> &str {
        "inverted"
    }

    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        if bytes.windows(6).any(|word| word == b"refuse") {
            return Err("refused".into());
        }
        Ok(bytes.iter().map(|byte| !byte).collect())
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        Ok(bytes.iter().map(|byte| !byte).collect())
    }
}

#[tokio::test]
async fn lines_and_progress_pass_the_payload_codec() {
    let disk = OnDisk::new();
    let pond = disk.builder().payload_codec(Inverted).open(disk.path()).unwrap();
    let handler = |job: Job<Work>, ctx: Context| async move {
        ctx.log(if job.n == 1 { "card 4929" } else { "refuse card 4929" });
        ctx.progress(1, None, "charging card 4929");
        Err::<(), _>("no".into())
    };
    pond.worker("q").retry(retry()).handle(handler).start().unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(logs(&pond, ids[0]), ["1: card 4929 1 charging card 4929"]);
    assert_eq!(logs(&pond, ids[1]), ["1: the payload codec could not write this log: refused"]);
    close(pond).await;
    let stored = fs::read(disk.path()).unwrap();
    assert!(!stored.windows(9).any(|text| text == b"card 4929"));
    let pond = disk.builder().payload_codec(Inverted).open(disk.path()).unwrap();
    assert_eq!(logs(&pond, ids[0]), ["1: card 4929 1 charging card 4929"]);
    close(pond).await;
}

// --- events -------------------------------------------------------------------------------------

fn name(event: &Event) -> String {
    match event {
        Event::Enqueued { .. } => "enqueued".into(),
        Event::Started { attempt, .. } => format!("started {attempt}"),
        Event::Progress { attempt, progress, .. } => format!("progress {attempt} {}", progress.done),
        Event::Retrying { attempt, .. } => format!("retrying {attempt}"),
        Event::Snoozed { .. } => "snoozed".into(),
        Event::Completed { attempt, .. } => format!("completed {attempt}"),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn the_events_of_an_attempt_are_published_in_order_to_those_who_ask_for_them() {
    let (clock, pond) = memory();
    let handler = |job: Job<Work>, ctx: Context| async move {
        ctx.progress(u64::from(job.attempt()), None, "");
        match job.attempt() {
            1 => Err("first".into()),
            _ => Ok(Outcome::done()),
        }
    };
    pond.worker("q").retry(retry()).handle(handler).start().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let (mut all, mut attempts) = (pond.events(), pond.events_with_attempts(|_| true));
    let mut other = pond.events_where(move |_| counted.fetch_add(1, Ordering::SeqCst) < usize::MAX);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    let told = heard(&mut attempts);
    let names: Vec<_> = told.iter().map(name).collect();
    let expected = ["enqueued", "started 1", "progress 1 1", "retrying 1", "started 2", "progress 2 2", "completed 2"];
    assert_eq!(names, expected);
    let Event::Started { id: started, queue, kind, .. } = &told[1] else { unreachable!() };
    assert_eq!((*started, &**queue, &**kind), (id.id, "q", "work"));
    let json = serde_json::to_value(&told[2]).unwrap();
    assert_eq!((json["type"].as_str(), json["progress"]["done"].as_u64()), (Some("Progress"), Some(1)));

    let others = ["enqueued", "retrying 1", "completed 2"];
    assert_eq!(heard(&mut all).iter().map(name).collect::<Vec<_>>(), others);
    assert_eq!(heard(&mut other).iter().map(name).collect::<Vec<_>>(), others);
    assert_eq!(calls.load(Ordering::SeqCst), 3, "a filter is not called for events that its listener does not ask for");
}

#[tokio::test]
async fn reports_in_a_row_are_few_events_and_the_last_one_is_among_them() {
    let (clock, pond) = memory();
    let time = clock.clone();
    let handler = move |_: Job<Work>, ctx: Context| {
        let time = time.clone();
        async move {
            for n in 0..100_000 {
                ctx.progress(n, None, "");
                if n % 20_000 == 0 {
                    time.advance(Duration::from_millis(60));
                }
            }
            Ok(())
        }
    };
    pond.worker("q").handle(handler).start().unwrap();
    let mut events = pond.events_with_attempts(|event| matches!(event, Event::Progress { .. }));
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    let told: Vec<_> = heard(&mut events).iter().map(name).collect();
    // At 0 ms, at 120 ms and at 240 ms, and at the end.
    assert_eq!(told, ["progress 1 0", "progress 1 20001", "progress 1 60001", "progress 1 99999"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_event_of_a_job_overtakes_another_one() {
    let (_, pond) = memory_with(|builder| builder.events_buffer(100_000));
    let handler = |job: Job<Work>, ctx: Context| async move {
        ctx.progress(u64::from(job.attempt()), None, "");
        match job.n % 3 {
            0 if job.attempt() == 1 => Err("first".into()),
            _ => Ok(Outcome::done()),
        }
    };
    pond.worker("q")
        .concurrency(16)
        .retry(Retry::fixed(Duration::ZERO).jitter(0.0).max_attempts(2))
        .handle(handler)
        .start()
        .unwrap();
    let mut events = pond.events_with_attempts(|_| true);
    let callers = (0..8).map(|caller| {
        let pond = pond.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                pond.enqueue("q", work(caller * 100 + n)).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    drained(&pond).await;
    let mut by_job = std::collections::BTreeMap::<JobId, Vec<String>>::new();
    for event in heard(&mut events) {
        let (Event::Enqueued { id, .. }
        | Event::Started { id, .. }
        | Event::Progress { id, .. }
        | Event::Retrying { id, .. }
        | Event::Completed { id, .. }) = &event
        else {
            panic!("{event:?}")
        };
        by_job.entry(*id).or_default().push(name(&event));
    }
    assert_eq!(by_job.len(), 800);
    let plain = ["enqueued", "started 1", "progress 1 1", "completed 1"];
    let retried = ["enqueued", "started 1", "progress 1 1", "retrying 1", "started 2", "progress 2 2", "completed 2"];
    for (id, names) in by_job {
        assert!(names == plain || names == retried, "job {id}: {names:?}");
    }
}

#[tokio::test]
async fn the_events_of_attempts_stop_when_their_listener_is_gone() {
    let (_, pond) = memory();
    record(&pond, "q", 1);
    let mut first = pond.events_with_attempts(|_| true);
    let filtered = Arc::new(AtomicUsize::new(0));
    let counted = filtered.clone();
    let second = pond.events_with_attempts(move |_| counted.fetch_add(1, Ordering::SeqCst) < usize::MAX);
    drop(second);
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    let names = ["enqueued", "started 1", "completed 1"];
    assert_eq!(heard(&mut first).iter().map(name).collect::<Vec<_>>(), names);
    drop(first);
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    let mut third = pond.events_with_attempts(|_| true);
    pond.enqueue("q", work(3)).await.unwrap();
    drained(&pond).await;
    assert_eq!(heard(&mut third).iter().map(name).collect::<Vec<_>>(), names);
    assert_eq!(filtered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_filter_may_ask_for_the_job_whose_progress_it_is_told() {
    let (_, pond) = memory();
    let (gate, keeper) = gate();
    let handler = move |_: Job<Work>, ctx: Context| {
        let gate = gate.clone();
        async move {
            ctx.progress(1, None, "asked");
            gate.pass(1).await;
            Ok(())
        }
    };
    pond.worker("q").handle(handler).start().unwrap();
    let (asks, seen) = (pond.clone(), Log::new());
    let sees = seen.clone();
    let _events = pond.events_with_attempts(move |event| {
        if let Event::Progress { id, .. } = event {
            sees.push(asks.job(*id).unwrap().progress.unwrap().message);
        }
        false
    });
    pond.enqueue("q", work(1)).await.unwrap();
    while seen.len() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.all(), ["asked"]);
    keeper.let_go(1);
    drained(&pond).await;
}
