//! Actions on one job, a queue, a schedule.

use millpond::dashboard::Source;
use millpond::dashboard::api::{
    Action, Change, Code, EntryOf, Misfire, NewJob, Overlap, Overrides, Rate, RateChange, ScheduleChange, Time,
};
use millpond::{Error, RateOverride, State};
use serde_json::json;

use crate::pond::stocked;
use crate::support::*;

#[tokio::test]
async fn a_job_is_stored_with_all_its_options() {
    let at = stocked().await;
    let job = NewJob {
        queue: "mail".into(),
        kind: "send".into(),
        payload: json!({ "to": "b@example.org" }),
        priority: Some(2),
        run_at: Some(Time(4_000_000_000_000)),
        group: Some("customer 8".into()),
        key: Some("k2".into()),
        idempotency_key: Some("once".into()),
        max_attempts: Some(5),
        tags: vec!["tenant:8".into()],
        headers: [("trace".to_owned(), "xyz".to_owned())].into(),
        entry: Some(EntryOf { stream: "orders".into(), offset: 12 }),
        ..NewJob::default()
    };
    let done = at.changes(Action::Enqueue(job.clone()), 1).await;
    let id = done.id.clone().unwrap();
    let stored = at.pond.job(id.parse::<millpond::JobId>().unwrap()).unwrap();
    assert_eq!((stored.priority.get(), stored.max_attempts, stored.group.as_deref()), (2, Some(5), Some("customer 8")));
    assert_eq!((stored.unique_key.as_deref(), stored.idempotency_key.as_deref()), (Some("k2"), Some("once")));
    assert_eq!(
        (stored.run_at.unwrap().as_millis(), &stored.tags[..]),
        (4_000_000_000_000, &["tenant:8".to_owned()][..])
    );
    assert_eq!(stored.headers["trace"], "xyz");
    assert_eq!(stored.entry.map(|of| (of.stream.to_string(), of.offset)), Some(("orders".to_owned(), 12)));
    assert_eq!(stored.payload.decode::<serde_json::Value>().unwrap(), job.payload);
    let again = at.changes(Action::Enqueue(job), 0).await;
    assert_eq!(again.id, done.id, "the same call is made once only");
    let delayed = NewJob { queue: "mail".into(), kind: "send".into(), delay_seconds: Some(60.0), ..NewJob::default() };
    let id = at.changes(Action::Enqueue(delayed), 1).await.id.unwrap();
    assert_eq!(state(&at.pond, id.parse::<millpond::JobId>().unwrap()), State::Scheduled);
    at.close().await;
}

#[tokio::test]
async fn a_job_is_run_changed_moved_cancelled_and_removed() {
    let at = stocked().await;
    let (later, waiting) = (at.later.to_string(), at.waiting.to_string());
    at.changes(Action::RunJobNow { id: later.clone() }, 1).await;
    assert_eq!(state(&at.pond, at.later), State::Pending);
    let change = Change {
        payload: Some(json!({ "n": 20 })),
        priority: Some(0),
        tags: Some(vec!["x".into()]),
        run_at: Some(Time(4_000_000_000_000)),
        ..Change::default()
    };
    at.changes(Action::UpdateJob { id: later.clone(), change }, 1).await;
    let job = at.pond.job(at.later).unwrap();
    assert_eq!((job.state, job.priority.get(), &job.tags[..]), (State::Scheduled, 0, &["x".to_owned()][..]));
    assert_eq!(job.payload.decode::<serde_json::Value>().unwrap(), json!({ "n": 20 }));
    at.changes(Action::MoveJob { id: later.clone(), queue: "crm".into() }, 1).await;
    assert_eq!(at.pond.job(at.later).unwrap().queue, "crm");
    at.changes(Action::CancelJob { id: waiting.clone(), reason: "a duplicate".into() }, 1).await;
    assert_eq!(at.pond.job(at.waiting).unwrap().reason.as_deref(), Some("a duplicate"));
    at.changes(Action::CancelJob { id: waiting, reason: String::new() }, 0).await;
    at.changes(Action::DeleteJob { id: later }, 1).await;
    assert!(matches!(at.pond.job(at.later), Err(Error::NoSuchJob { .. })));
    at.close().await;
}

/// A number that no type of a program has, and fields that are not in the order of their names.
const JSON: &str = r#"{"b":123456789012345678901234567890,"a":1.50}"#;

#[tokio::test]
async fn a_payload_that_is_given_as_text_keeps_its_digits() {
    let at = stocked().await;
    let text = || Some(JSON.replace(',', ",\n  "));
    let bytes = |id: millpond::JobId| at.pond.job(id).unwrap().payload.bytes;
    let job = NewJob { queue: "mail".into(), kind: "send".into(), payload_text: text(), ..NewJob::default() };
    let id = at.changes(Action::Enqueue(job), 1).await.id.unwrap();
    assert_eq!(bytes(id.parse().unwrap()), JSON);
    for id in [at.later, at.dead[0]] {
        let change = Change { payload_text: text(), ..Change::default() };
        at.changes(Action::UpdateJob { id: id.to_string(), change }, 1).await;
        assert_eq!(bytes(id), JSON);
    }
    let change = ScheduleChange { payload_text: text(), ..ScheduleChange::default() };
    at.changes(Action::UpdateSchedule { name: "daily".into(), change }, 1).await;
    assert_eq!(at.pond.schedules().get("daily").unwrap().payload.bytes, JSON);
    let both = Change { payload: Some(json!(1)), payload_text: text(), ..Change::default() };
    let refused = at.act(Action::UpdateJob { id: at.later.to_string(), change: both }).await.unwrap_err();
    assert!(refused.detail.contains("not both"), "{refused}");
    at.close().await;
}

#[tokio::test]
async fn a_running_job_is_asked_to_stop() {
    let at = stocked().await;
    let (worker, mut keeper) = gated(&at.pond, "slow", 1);
    let id = at.pond.enqueue("slow", work(1)).await.unwrap();
    keeper.entered().await;
    let done = at.changes(Action::CancelJob { id: id.to_string(), reason: String::new() }, 1).await;
    assert!(done.message.contains("asked to stop"), "{}", done.message);
    keeper.let_go(1);
    drop(worker);
    at.pond.finished(id).await.unwrap();
    at.close().await;
}

#[tokio::test]
async fn a_dead_letter_is_edited_and_redriven() {
    let at = stocked().await;
    let id = at.dead[0];
    let change = Change { payload: Some(json!({ "n": 0 })), ..Change::default() };
    at.changes(Action::UpdateJob { id: id.to_string(), change }, 1).await;
    at.changes(Action::RedriveJob { id: id.to_string() }, 1).await;
    assert_eq!(state(&at.pond, id), State::Pending);
    assert_eq!(at.pond.job(id).unwrap().payload.decode::<Work>().unwrap(), Work { n: 0 });
    at.close().await;
}

#[tokio::test]
async fn queues_groups_and_kinds_are_paused_and_resumed() {
    let at = stocked().await;
    let (queue, group, kind) = ("mail".to_owned(), "customer 9".to_owned(), "send".to_owned());
    let mail = at.pond.queue("mail").unwrap();
    at.changes(Action::PauseAll, 1).await;
    assert!(at.pond.is_paused());
    at.changes(Action::PauseAll, 0).await;
    at.changes(Action::ResumeAll, 1).await;
    at.changes(Action::PauseQueue { queue: queue.clone() }, 1).await;
    assert!(mail.is_paused());
    at.changes(Action::ResumeQueue { queue: queue.clone() }, 1).await;
    at.changes(Action::PauseGroup { queue: queue.clone(), group: group.clone() }, 1).await;
    assert!(mail.groups(None, 1).unwrap().groups[0].paused);
    at.changes(Action::ResumeGroup { queue: queue.clone(), group }, 1).await;
    at.changes(Action::PauseKind { queue: queue.clone(), kind: kind.clone() }, 1).await;
    assert_eq!(mail.paused_kinds(), ["send"]);
    at.changes(Action::ResumeKind { queue, kind }, 1).await;
    assert!(!at.pond.is_paused() && !mail.is_paused() && mail.paused_kinds().is_empty());
    at.close().await;
}

#[tokio::test]
async fn the_limits_of_a_queue_are_set_and_reset() {
    let at = stocked().await;
    let queue = || "mail".to_owned();
    let mail = at.pond.queue("mail").unwrap();
    let rate = Rate { count: 10, period_seconds: 60.0, burst: Some(3) };
    let overrides = Overrides { concurrency: Some(2), rate: Some(RateChange::Limited(rate)), group_rate: None };
    at.changes(Action::SetOverrides { queue: queue(), overrides }, 1).await;
    assert_eq!(mail.overrides().concurrency, Some(2));
    assert_eq!(mail.overrides().rate, Some(RateOverride::Limited(millpond::Rate::per_minute(10).burst(3))));
    at.changes(Action::SetOverrides { queue: queue(), overrides: Overrides::default() }, 1).await;
    assert!(mail.overrides().is_empty());
    at.changes(Action::ResetRate { queue: queue() }, 1).await;
    at.changes(Action::CloseCircuit { queue: queue(), group: None }, 0).await;
    at.changes(Action::ReleaseKey { queue: queue(), key: "k".into() }, 1).await;
    assert_eq!(mail.unique_holder("k").unwrap(), None);
    at.changes(Action::ReleaseKey { queue: queue(), key: "k".into() }, 0).await;
    at.close().await;
}

#[tokio::test]
async fn a_shared_limit_gets_other_units() {
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 4));
    let source = millpond::dashboard::PondSource::new(&pond);
    use millpond::dashboard::Source;
    let before = source.revision().await.unwrap();
    source.act(Action::SetLimit { name: "gpu".into(), units: 2 }).await.unwrap();
    assert_eq!(pond.limits()[0].units, 2);
    assert_eq!(source.overview().await.unwrap().limits[0].units, 2);
    assert_ne!(source.revision().await.unwrap(), before);
}

#[tokio::test]
async fn queues_are_renamed_drained_and_obliterated() {
    let at = stocked().await;
    at.changes(Action::RenameQueue { queue: "mail".into(), to: "emails".into() }, 1).await;
    at.changes(Action::DrainQueue { queue: "emails".into() }, 4).await;
    assert_eq!(at.pond.queue("emails").unwrap().counts().unfinished(), 0);
    let done = at.changes(Action::ObliterateQueue { queue: "crm".into() }, 4).await;
    assert!(done.message.contains("4 jobs and 0 schedules"), "{}", done.message);
    let names: Vec<_> = at.pond.queues().iter().map(|queue| queue.name().to_owned()).collect();
    assert_eq!(names, ["emails"]);
    at.close().await;
}

#[tokio::test]
async fn schedules_are_paused_resumed_run_and_removed() {
    let at = stocked().await;
    let name = || "daily".to_owned();
    at.changes(Action::PauseSchedule { name: name() }, 1).await;
    at.changes(Action::PauseSchedule { name: name() }, 0).await;
    assert!(at.pond.schedules().get("daily").unwrap().paused);
    at.changes(Action::ResumeSchedule { name: name() }, 1).await;
    let id = at.changes(Action::RunSchedule { name: name() }, 1).await.id.unwrap();
    assert_eq!(at.pond.job(id.parse::<millpond::JobId>().unwrap()).unwrap().kind, "report");
    let change = ScheduleChange {
        cron: Some("0 3 * * *".into()),
        zone: Some("Europe/Berlin".into()),
        payload: Some(json!({ "n": 30 })),
        ..ScheduleChange::default()
    };
    at.changes(Action::UpdateSchedule { name: name(), change }, 1).await;
    let schedule = at.pond.schedules().get("daily").unwrap();
    assert_eq!((schedule.when.as_str(), schedule.kind.as_str()), ("0 3 * * * (Europe/Berlin)", "report"));
    assert_eq!(schedule.payload.decode::<serde_json::Value>().unwrap(), json!({ "n": 30 }));
    let (now, hour) = (Time::now(), 3_600_000);
    let change = ScheduleChange {
        misfire: Some(Misfire::All { at_most: 3 }),
        overlap: Some(Overlap::Queue),
        jitter_seconds: Some(30.0),
        starts_at: Some(Some(Time(now.0 + hour))),
        ends_at: Some(Some(Time(now.0 + 48 * hour))),
        at_most: Some(Some(7)),
        ..ScheduleChange::default()
    };
    at.changes(Action::UpdateSchedule { name: name(), change }, 1).await;
    let shown = at.source.schedule("daily").await.unwrap();
    assert_eq!((shown.misfire, shown.overlap), (Misfire::All { at_most: 3 }, Overlap::Queue));
    assert_eq!((shown.jitter_seconds, shown.at_most), (30.0, Some(7)));
    assert_eq!((shown.starts_at, shown.ends_at), (Some(Time(now.0 + hour)), Some(Time(now.0 + 48 * hour))));
    let change =
        ScheduleChange { starts_at: Some(None), ends_at: Some(None), at_most: Some(None), ..ScheduleChange::default() };
    at.changes(Action::UpdateSchedule { name: name(), change }, 1).await;
    let shown = at.source.schedule("daily").await.unwrap();
    assert_eq!((shown.starts_at, shown.ends_at, shown.at_most), (None, None, None));
    assert_eq!(shown.overlap, Overlap::Queue);
    at.changes(Action::RemoveSchedule { name: name() }, 1).await;
    assert_eq!(at.pond.schedules().count().unwrap(), 0);
    at.close().await;
}

#[tokio::test]
async fn the_file_is_copied_checked_and_compacted() {
    let at = stocked().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.redb");
    let to = || Action::Backup { path: path.to_str().unwrap().to_owned() };
    let done = at.changes(to(), 1).await;
    assert!(done.message.contains("8 jobs were checked, and nothing is wrong"), "{}", done.message);
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert!(at.act(to()).await.is_err(), "a file is there already");
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written);
    let refused = at.act(Action::Backup { path: "copy.redb".into() }).await.unwrap_err();
    assert!(refused.code == Code::Invalid && refused.detail.contains("no absolute path"), "{refused}");
    let done = at.changes(Action::Check, 0).await;
    assert_eq!((done.message.as_str(), done.problems.len()), ("8 jobs were checked, and nothing is wrong", 0));
    let done = at.changes(Action::Compact, 1).await;
    assert!(done.message.starts_with("the file had "), "{}", done.message);
    assert_eq!(at.pond.metrics().compactions_total, 1);
    at.close().await;
    let copy = millpond::Millpond::open(&path).unwrap();
    assert_eq!(copy.queue("mail").unwrap().counts().unfinished(), 4);
    copy.shutdown(SECOND).await.unwrap();
}
