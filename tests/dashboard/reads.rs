//! What the source shows is what is in the file.

use millpond::dashboard::api::{Format, JobQuery, Misfire, Order, Overlap, Paging, Time};
use millpond::dashboard::{PondSource, Source};
use millpond::{CircuitBreaker, Job, NewJob, Overrides, Rate};

use crate::pond::stocked;
use crate::support::*;

fn page(limit: usize, after: Option<String>) -> Paging {
    Paging { after, limit: Some(limit) }
}

#[tokio::test]
async fn the_overview_shows_each_queue_with_its_counts() {
    let at = stocked().await;
    at.pond.queue("mail").unwrap().pause().await.unwrap();
    let overview = at.source.overview().await.unwrap();
    let names: Vec<_> = overview.queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(names, ["crm", "mail"]);
    let [crm, mail] = [&overview.queues[0], &overview.queues[1]];
    assert_eq!((mail.counts.pending, mail.counts.scheduled, mail.counts.unfinished()), (3, 1, 4));
    assert_eq!((crm.counts.completed, crm.counts.dead, crm.counts.failures_total), (1, 3, 3));
    assert!(mail.is_paused && !mail.has_worker && mail.oldest_ready_seconds.is_some() && mail.circuit.is_none());
    assert_eq!((overview.schedules, overview.quarantined, overview.is_paused), (1, 0, false));
    assert_eq!((overview.totals.started, overview.totals.completed, overview.totals.failed), (4, 1, 3));
    assert!(overview.storage.commits > 0 && overview.degraded.is_none() && overview.process.id > 0);
    at.close().await;
}

#[tokio::test]
async fn a_queue_is_shown_with_the_codes_limits_and_the_overrides() {
    let at = stocked().await;
    let worker = at.pond.worker("mail").concurrency(4).rate_limit(Rate::per_minute(60));
    let worker = worker.circuit_breaker(CircuitBreaker::failures(0.5));
    let worker = worker.handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    let queue = at.pond.queue("mail").unwrap();
    queue.set_overrides(Overrides::new().concurrency(2).no_rate()).await.unwrap();
    queue.pause_kind("send").await.unwrap();
    let shown = at.source.queue("mail").await.unwrap();
    let (own, effective) = (shown.worker.unwrap(), shown.effective.unwrap());
    assert_eq!((own.concurrency, effective.concurrency), (4, 2));
    assert_eq!((own.rate.unwrap().count, effective.rate), (60, None));
    assert!(own.circuit_breaker.unwrap().contains("50% of 20"));
    assert!(shown.queue.has_worker && shown.queue.has_overrides);
    assert_eq!(shown.paused_kinds, ["send"]);
    assert!(shown.settings.get("retention").is_some());
    worker.stop().await.unwrap();
    at.close().await;
}

#[tokio::test]
async fn groups_are_shown_with_the_reason_why_they_wait() {
    let at = stocked().await;
    at.pond.queue("mail").unwrap().pause_group("customer 9").await.unwrap();
    let groups = at.source.groups("mail", page(10, None)).await.unwrap();
    let [group] = &groups.groups[..] else { panic!("{groups:?}") };
    assert_eq!((group.name.as_str(), group.jobs, group.is_paused), ("customer 9", 2, true));
    assert_eq!(group.next.as_deref(), Some(at.grouped[0].to_string().as_str()));
    assert_eq!((group.why.as_str(), groups.next), ("its group is paused", None));
    at.close().await;
}

#[tokio::test]
async fn jobs_are_found_by_each_part_of_a_query() {
    let at = stocked().await;
    let all = JobQuery::default;
    let text = |text: &str| Some(text.to_owned());
    let now = at.source.overview().await.unwrap().now;
    for (query, found) in [
        (all(), 8),
        (JobQuery::of_queue("mail"), 4),
        (JobQuery { state: text("scheduled"), ..all() }, 1),
        (JobQuery { state: text("dead"), ..all() }, 3),
        (JobQuery { kind: text("work"), ..all() }, 4),
        (JobQuery { group: text("customer 9"), ..all() }, 2),
        (JobQuery { key: text("k"), ..all() }, 1),
        (JobQuery { tag: text("tenant:7"), ..all() }, 1),
        (JobQuery { payload: text("example.org"), ..all() }, 1),
        (JobQuery { pointer: text("/n"), equals: text("3"), ..all() }, 2),
        (JobQuery { pointer: text("/to"), equals: text("a@example.org"), ..all() }, 1),
        (JobQuery { error: text("refused"), ..all() }, 2),
        (JobQuery { since: Some(Time(now.0 + 1)), ..all() }, 0),
        (JobQuery { until: Some(Time(now.0 + 1)), ..all() }, 8),
        (JobQuery::of_queue("nowhere"), 0),
    ] {
        let jobs = at.source.jobs(query.clone(), Order::Oldest, page(100, None)).await.unwrap().jobs;
        assert_eq!(jobs.len(), found, "{query:?}");
        assert_eq!(at.source.count(query.clone()).await.unwrap(), found as u64, "{query:?}");
    }
    at.close().await;
}

#[tokio::test]
async fn records_have_whole_payloads_and_their_pages_end_with_so_many_jobs_or_bytes() {
    let at = stocked().await;
    let long = format!("[1.50,\"{}\"]", "x".repeat(900_000));
    let json: Box<serde_json::value::RawValue> = serde_json::from_str(&long).unwrap();
    at.pond.enqueue_many("long", (0..12).map(|_| NewJob::json("long", &json))).await.unwrap();
    at.pond.enqueue("huge", NewJob::raw("huge", vec![0xff; 1 << 20])).await.unwrap();
    let (mut records, mut sizes, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let found = at.source.records(JobQuery::default(), page(5, after)).await.unwrap();
        sizes.push(found.records.len());
        records.extend(found.records);
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((records.len(), sizes), (21, vec![5, 5, 5, 5, 1]));
    let of_long = at.source.records(JobQuery::of_queue("long"), page(1_000, None)).await.unwrap();
    assert_eq!((of_long.records.len(), of_long.next.is_some()), (10, true));
    assert!(of_long.records.iter().all(|job| job.payload.text == long && !job.payload.is_cut));
    let huge = &records.iter().find(|job| job.queue == "huge").unwrap().payload;
    assert!(!huge.is_cut && huge.text.len() == 2 << 20);
    let job = records.iter().find(|job| job.id == at.waiting.to_string()).unwrap();
    let own = (job.payload.text.as_str(), job.key.as_deref(), job.headers["trace"].as_str(), job.max_attempts);
    assert_eq!(own, (r#"{"n":1,"to":"a@example.org"}"#, Some("k"), "abc", Some(3)));
    let done = records.iter().find(|job| job.id == at.done.to_string()).unwrap();
    assert_eq!(done.result.as_ref().unwrap().text, r#"{"rows":12}"#);
    let dead = records.iter().find(|job| job.id == at.dead[2].to_string()).unwrap();
    assert_eq!((dead.error.as_deref(), dead.ended_at.is_some()), (Some("no such customer"), true));
    at.close().await;
}

#[tokio::test]
async fn pages_continue_where_the_one_before_ended() {
    let at = stocked().await;
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let found = at.source.jobs(JobQuery::default(), Order::Oldest, page(3, after)).await.unwrap();
        assert!(found.jobs.len() <= 3);
        ids.extend(found.jobs.into_iter().map(|job| job.id));
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 8);
    at.close().await;
}

#[tokio::test]
async fn a_list_of_the_newest_jobs_is_reversed_on_every_page() {
    let at = stocked().await;
    let query = || JobQuery { state: Some("dead".to_owned()), ..JobQuery::default() };
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let found = at.source.jobs(query(), Order::Newest, page(2, after)).await.unwrap();
        ids.extend(found.jobs.into_iter().map(|job| job.id));
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    let oldest = at.source.jobs(query(), Order::Oldest, page(10, None)).await.unwrap().jobs;
    assert_eq!(ids, oldest.into_iter().rev().map(|job| job.id).collect::<Vec<_>>());
    assert_eq!(ids.len(), 3);
    at.close().await;
}

#[tokio::test]
async fn a_job_is_shown_with_everything_about_it() {
    let at = stocked().await;
    let job = at.source.job(&at.waiting.to_string()).await.unwrap();
    let row = &job.row;
    assert_eq!((row.queue.as_str(), row.kind.as_str(), row.state.as_str()), ("mail", "send", "pending"));
    assert_eq!(
        (row.key.as_deref(), row.max_attempts, &row.tags[..]),
        (Some("k"), Some(3), &["tenant:7".to_owned()][..])
    );
    assert_eq!(row.preview, r#"{"n":1,"to":"a@example.org"}"#);
    assert_eq!(job.payload.text, "{\n  \"n\": 1,\n  \"to\": \"a@example.org\"\n}");
    assert_eq!((job.payload.format, job.unique.as_deref()), (Format::Json, Some("until_ended")));
    assert_eq!(job.headers["trace"], "abc");
    assert_eq!((job.why.reason.as_str(), job.result.as_ref()), ("NoHandler", None));
    let later = at.source.job(&at.later.to_string()).await.unwrap();
    assert!(later.why.sentence.starts_with("it is not due for another"), "{:?}", later.why);
    let behind = at.source.job(&at.grouped[1].to_string()).await.unwrap();
    assert_eq!(behind.why.job, Some(at.grouped[0].to_string()));
    let done = at.source.job(&at.done.to_string()).await.unwrap();
    assert_eq!(done.result.unwrap().text, "{\n  \"rows\": 12\n}");
    let dead = at.source.job(&at.dead[0].to_string()).await.unwrap();
    assert_eq!((dead.row.state.as_str(), dead.row.error.as_deref()), ("dead", Some("order 1 was refused")));
    let [attempt] = &dead.timeline[..] else { panic!("{dead:?}") };
    assert_eq!((attempt.number, attempt.failure.as_deref()), (1, Some("Error")));
    assert!(attempt.ended_at >= Some(attempt.started_at) && dead.reason.is_some());
    at.close().await;
}

#[tokio::test]
async fn schedules_are_shown_with_the_times_of_their_next_runs() {
    let at = stocked().await;
    let listed = at.source.schedules(page(10, None)).await.unwrap();
    assert_eq!((listed.total, listed.schedules.len(), listed.next), (1, 1, None));
    let daily = at.source.schedule("daily").await.unwrap();
    assert_eq!((daily.when.as_str(), daily.queue.as_str(), daily.runs), ("every 86400s", "mail", 0));
    assert_eq!((daily.misfire, daily.overlap), (Misfire::Once, Overlap::Skip));
    assert_eq!((daily.upcoming.len(), daily.next), (10, Some(daily.upcoming[0])));
    assert!(daily.payload.text.contains("today"));
    at.close().await;
}

#[tokio::test]
async fn a_sound_file_has_no_problems_and_nothing_in_quarantine() {
    let at = stocked().await;
    let check = at.source.check().await.unwrap();
    assert_eq!((check.jobs, &check.problems[..]), (8, &[][..]));
    let rows = at.source.quarantine(page(10, None)).await.unwrap();
    assert_eq!((rows.total, rows.rows.len(), rows.next), (0, 0, None));
    assert_eq!(at.source.plugins().await.unwrap(), []);
    at.close().await;
}

#[tokio::test]
async fn the_metrics_are_in_the_openmetrics_format() {
    let at = stocked().await;
    let text = at.source.metrics().await.unwrap();
    for line in [
        "# TYPE millpond_jobs gauge",
        "millpond_jobs{queue=\"crm\",state=\"dead\"} 3",
        "millpond_jobs_enqueued_total{queue=\"mail\"} 4",
        "millpond_degraded 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    at.close().await;
}

#[tokio::test]
async fn the_revision_changes_with_each_change_and_not_without_one() {
    let at = stocked().await;
    settled(&at.pond).await;
    let before = at.source.revision().await.unwrap();
    assert_eq!(at.source.revision().await.unwrap(), before);
    at.pond.queue("mail").unwrap().pause().await.unwrap();
    assert_ne!(at.source.revision().await.unwrap(), before);
    at.close().await;
}

#[test]
fn a_source_that_is_made_outside_of_a_runtime_has_no_history() {
    let (_, pond) = memory();
    let source = PondSource::new(&pond);
    let overview = block_on(source.overview()).unwrap();
    assert!(overview.history.points.is_empty());
}
