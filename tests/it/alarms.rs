//! An alarm is told once when its condition begins and once when it ends, to a function, a job or the log.

use std::sync::Arc;
use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{
    Alarm, AlarmChange, Builder, CircuitBreaker, Error, Job, JobFilter, Millpond, NewJob, Outcome, Retry, State,
};
use millpond_testkit::{Fault, SimDisk};
use tracing::Level;

use crate::support::*;
use crate::tracing::recorder;

const CHECK: Duration = Duration::from_secs(10);

/// An alarm that adds each change to the log.
fn noted(alarm: Alarm, log: &Log<AlarmChange>) -> Alarm {
    let log = log.clone();
    alarm.call(move |change| log.push(change.clone()))
}

/// Advances the clock to the next check, and waits until the log has this many changes.
async fn until(pond: &Millpond, clock: &ManualClock, log: &Log<AlarmChange>, changes: usize) -> AlarmChange {
    clock.advance(CHECK);
    while log.len() < changes {
        settled(pond).await;
        tokio::task::yield_now().await;
    }
    let all = log.all();
    assert_eq!(all.len(), changes, "{all:#?}");
    all[changes - 1].clone()
}

/// Has a check made after which each alarm before the last one was told: that one changes in each check.
async fn checked(pond: &Millpond, clock: &ManualClock, probe: &Log<AlarmChange>) {
    let dead = pond.queue("probe").unwrap().counts().dead;
    match dead {
        0 => dies(pond, "probe").await,
        _ => drop(pond.queue("probe").unwrap().obliterate().await.unwrap()),
    }
    until(pond, clock, probe, probe.len() + 1).await;
}

/// Makes one dead letter in a queue.
async fn dies(pond: &Millpond, queue: &str) {
    let handler = |_: Job<Work>| async { Ok(Outcome::dead_letter("on purpose")) };
    let worker = pond.worker(queue).handle(handler).start().unwrap();
    pond.enqueue(queue, work(1)).await.unwrap();
    drained(pond).await;
    worker.stop().await.unwrap();
}

fn opened(set: impl FnOnce(Builder) -> Builder) -> (ManualClock, Millpond, Log<AlarmChange>) {
    let probe = Log::new();
    let last = noted(Alarm::dead_letters(0).queue("probe"), &probe);
    let (clock, pond) = memory_with(|builder| set(builder).alarm(last));
    (clock, pond, probe)
}

#[tokio::test]
async fn too_many_dead_letters_are_told_once_at_the_begin_and_once_at_the_end_for_each_queue() {
    let log = Log::new();
    let (clock, pond, probe) = opened(|builder| builder.alarm(noted(Alarm::dead_letters(1), &log)));
    dies(&pond, "a").await;
    checked(&pond, &clock, &probe).await;
    assert_eq!(log.len(), 0, "one is not too many");
    dies(&pond, "a").await;
    dies(&pond, "b").await;
    checked(&pond, &clock, &probe).await;
    checked(&pond, &clock, &probe).await;
    let told = log.all();
    assert_eq!(told.len(), 1, "{told:?}");
    let AlarmChange { alarm, begins, queue, text, at, .. } = &told[0];
    assert_eq!((*alarm, *begins, queue.as_deref()), ("dead_letters", true, Some("a")));
    assert_eq!(text, "queue `a` has 2 dead letters, more than 1");
    assert_eq!(*at, pond.now() - CHECK);

    dies(&pond, "b").await;
    let dead = pond.dead_letters().list(&JobFilter::new().queue("a"), None, 1).unwrap().jobs[0].id;
    pond.dead_letters().purge(dead).await.unwrap();
    checked(&pond, &clock, &probe).await;
    let told: Vec<_> = log.all().into_iter().map(|change| (change.begins, change.queue.unwrap())).collect();
    assert_eq!(told, [(true, "a".into()), (true, "b".into()), (false, "a".into())]);
    assert_eq!(log.all()[2].text, "queue `a` has no more than 1 dead letters again");
}

#[tokio::test]
async fn a_job_that_has_been_ready_for_too_long_is_told_until_it_has_started() {
    let log = Log::new();
    let alarm = noted(Alarm::oldest_ready(SECOND * 30).queue("q"), &log);
    let (clock, pond, probe) = opened(|builder| builder.alarm(alarm));
    pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    pond.enqueue("other", work(1)).await.unwrap();
    pond.enqueue("q", work(3).delay(HOUR)).await.unwrap();
    for _ in 0..3 {
        checked(&pond, &clock, &probe).await;
    }
    assert_eq!(log.len(), 0, "30 seconds are not longer than 30 seconds");
    checked(&pond, &clock, &probe).await;
    checked(&pond, &clock, &probe).await;
    record(&pond, "q", 1);
    drained(&pond).await;
    checked(&pond, &clock, &probe).await;
    let told: Vec<_> = log.all().into_iter().map(|change| (change.begins, change.text)).collect();
    let begun = "in queue `q` a job has been ready for 40s, longer than 30s".to_owned();
    assert_eq!(told, [(true, begun), (false, "in queue `q` no job has been ready for longer than 30s".into())]);
}

#[tokio::test]
async fn an_open_circuit_is_told_until_it_is_closed() {
    let log = Log::new();
    let (clock, pond, probe) = opened(|builder| builder.alarm(noted(Alarm::circuit_open(), &log)));
    let fail = |_: Job<Work>| async { Err::<(), _>("down".into()) };
    let breaker = CircuitBreaker::failures(1.0).of(1).open_for(HOUR);
    let worker = pond.worker("q").retry(Retry::none()).circuit_breaker(breaker);
    worker.handle(fail).start().unwrap();
    let worker = pond.worker("groups").retry(Retry::none()).group_circuit_breaker(breaker);
    worker.handle(fail).start().unwrap();
    checked(&pond, &clock, &probe).await;
    assert_eq!(log.len(), 0);
    pond.enqueue("q", work(1)).await.unwrap();
    pond.enqueue_many("groups", [member("a", 1), member("b", 2)]).await.unwrap();
    drained(&pond).await;
    checked(&pond, &clock, &probe).await;
    let texts: Vec<_> = log.all().into_iter().map(|change| change.text).collect();
    assert_eq!(texts, ["the circuits of 2 groups of queue `groups` are open", "the circuit of queue `q` is open"]);
    pond.queue("q").unwrap().close_circuit().await.unwrap();
    checked(&pond, &clock, &probe).await;
    let last = log.all().pop().unwrap();
    assert_eq!((last.begins, last.text.as_str()), (false, "no circuit of queue `q` is open"));
    assert_eq!(log.len(), 3);
}

#[tokio::test]
async fn a_queue_that_cannot_work_is_told_while_its_file_cannot_be_written() {
    let (disk, clock, log) = (SimDisk::new(), ManualClock::new(), Log::new());
    let builder = Millpond::builder().clock(clock.clone()).alarm(noted(Alarm::degraded(), &log));
    let again = disk.clone();
    let pond = builder.open_backend_with(move || Ok(again.clone())).unwrap();
    settled(&pond).await;
    disk.fail(Fault::FULL);
    assert!(pond.enqueue("q", work(1)).await.is_err());
    let begun = until(&pond, &clock, &log, 1).await;
    assert_eq!((begun.alarm, begun.begins, begun.queue), ("degraded", true, None));
    assert!(begun.text.starts_with("the queue cannot work: "), "{}", begun.text);
    disk.repair();
    while pond.degraded().is_some() {
        clock.advance(SECOND);
        tokio::task::yield_now().await;
    }
    let ended = until(&pond, &clock, &log, 2).await;
    assert_eq!((ended.begins, ended.text.as_str()), (false, "the queue works again"));
}

#[tokio::test]
async fn a_job_about_an_alarm_is_enqueued_with_what_has_changed() {
    let webhook = |change: &AlarmChange| NewJob::json("webhook", change).tag("alarm");
    let alarm = Alarm::dead_letters(0).queue("q").enqueue("alerts", webhook);
    let (clock, pond, probe) = opened(|builder| builder.alarm(alarm));
    dies(&pond, "q").await;
    checked(&pond, &clock, &probe).await;
    pond.queue("q").unwrap().obliterate().await.unwrap();
    checked(&pond, &clock, &probe).await;
    let jobs = pond.jobs(&JobFilter::new().queue("alerts"), None, 10).unwrap().jobs;
    let told: Vec<serde_json::Value> = jobs.iter().map(|job| job.payload.decode().unwrap()).collect();
    let shown: Vec<_> = told.iter().map(|change| (&change["alarm"], &change["begins"], &change["queue"])).collect();
    let (alarm, queue) = (&serde_json::json!("dead_letters"), &serde_json::json!("q"));
    assert_eq!(shown, [(alarm, &true.into(), queue), (alarm, &false.into(), queue)]);
    assert!(jobs.iter().all(|job| job.state == State::Pending && job.tags == ["alarm"]));
}

#[tokio::test]
async fn a_function_that_panics_does_not_keep_other_alarms_from_being_told() {
    let panics = Alarm::dead_letters(0).queue("q").call(|_| panic!("on purpose"));
    let (clock, pond, probe) = opened(|builder| builder.alarm(panics));
    dies(&pond, "q").await;
    checked(&pond, &clock, &probe).await;
    checked(&pond, &clock, &probe).await;
}

/// The function runs on a thread on which it may wait for the queue.
#[tokio::test]
async fn a_function_may_call_the_queue_and_wait_for_it() {
    let (handle, log) = (Arc::new(std::sync::Mutex::new(None::<Millpond>)), Log::new());
    let (shared, seen) = (handle.clone(), log.clone());
    let alarm = Alarm::dead_letters(0).queue("q").call(move |change| {
        let pond = shared.lock().unwrap().clone().unwrap();
        seen.push(pond.enqueue("called", work(u64::from(change.begins))).wait().unwrap().id);
    });
    let (clock, pond, probe) = opened(|builder| builder.alarm(alarm));
    *handle.lock().unwrap() = Some(pond.clone());
    dies(&pond, "q").await;
    checked(&pond, &clock, &probe).await;
    assert_eq!(pond.job(log.all()[0]).unwrap().queue, "called");
    // The function would keep the queue open.
    *handle.lock().unwrap() = None;
}

#[tokio::test]
async fn an_alarm_that_is_told_nowhere_else_is_logged_and_so_is_one_whose_job_is_refused() {
    let recorder = recorder();
    let refuse = |_: &AlarmChange| NewJob::raw("no kind with spaces", "x");
    let (clock, pond, probe) = opened(|builder| {
        builder
            .alarm(Alarm::dead_letters(0).queue("logged"))
            .alarm(Alarm::dead_letters(0).queue("refused").enqueue("x", refuse))
    });
    dies(&pond, "logged").await;
    dies(&pond, "refused").await;
    checked(&pond, &clock, &probe).await;
    let line = |queue: &str| {
        let text = format!("alarm: queue `{queue}` has 1 dead letters, more than 0");
        recorder.lines_with("message", &text)
    };
    for queue in ["logged", "refused"] {
        let lines = line(queue);
        assert_eq!(lines.iter().map(|line| line.level).collect::<Vec<_>>(), [Level::WARN], "{queue}");
    }
    assert_eq!(recorder.lines_with("message", "the job about an alarm could not be enqueued").len(), 1);
    pond.queue("logged").unwrap().obliterate().await.unwrap();
    checked(&pond, &clock, &probe).await;
    let ended = "alarm has ended: queue `logged` has no more than 0 dead letters again";
    assert_eq!(recorder.lines_with("message", ended)[0].level, Level::INFO);
}

#[test]
fn an_alarm_that_cannot_work_is_refused_when_the_file_is_opened() {
    let open = |builder: Builder| builder.open_backend(redb::backends::InMemoryBackend::new());
    let builder = || Millpond::builder();
    let refused = open(builder().alarm(Alarm::oldest_ready(Duration::ZERO)));
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "alarm", .. })), "{refused:?}");
    let many = (0..101).fold(builder(), |builder, _| builder.alarm(Alarm::degraded()));
    assert!(matches!(open(many), Err(Error::InvalidConfig { field: "alarm", .. })));
    for alarm in [Alarm::dead_letters(0).queue("no spaces"), Alarm::degraded().enqueue("no spaces", |_| work(1))] {
        assert!(matches!(open(builder().alarm(alarm)), Err(Error::InvalidName { .. })));
    }
}
