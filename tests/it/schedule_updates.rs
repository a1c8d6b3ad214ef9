//! A part of a schedule is changed, and all else of it stays.

use std::time::Duration;

use millpond::{
    Clock, Error, Every, JobFilter, JobPatch, Misfire, NewJob, Overlap, Priority, Schedule, ScheduleInfo,
    SchedulePatch, Timestamp,
};

use crate::support::*;

fn hourly(job: NewJob) -> Schedule {
    Schedule::new(Every::new(HOUR), "q", job)
}

fn plain(info: &ScheduleInfo) -> serde_json::Value {
    let mut shown = serde_json::to_value(info).unwrap();
    let fields = shown.as_object_mut().unwrap();
    fields.remove("changed_at");
    shown
}

#[tokio::test]
async fn each_field_is_changed_alone() {
    let (clock, pond) = memory();
    let (schedules, minute) = (pond.schedules(), SECOND * 60);
    let first = hourly(work(1)).overlap(Overlap::Allow).jitter(minute).at_most(9).ends_at(clock.wall() + HOUR * 99);
    pond.schedule("s", first).await.unwrap();
    let before = plain(&schedules.get("s").unwrap());
    clock.advance(SECOND);
    let (start, end) = (clock.wall() + HOUR * 5, clock.wall() + HOUR * 7);
    let patches = [
        ("when", SchedulePatch::new().when(Every::new(HOUR * 2)), vec!["when", "next"]),
        ("misfire", SchedulePatch::new().misfire(Misfire::Skip), vec!["misfire"]),
        ("overlap", SchedulePatch::new().overlap(Overlap::Queue), vec!["overlap"]),
        ("jitter", SchedulePatch::new().jitter(Duration::ZERO), vec!["jitter"]),
        ("starts_at", SchedulePatch::new().starts_at(start), vec!["starts_at", "next"]),
        ("no start", SchedulePatch::new().starts_at(None), vec!["starts_at", "next"]),
        ("ends_at", SchedulePatch::new().ends_at(end), vec!["ends_at"]),
        ("no end", SchedulePatch::new().ends_at(None), vec!["ends_at"]),
        ("at_most", SchedulePatch::new().at_most(3), vec!["at_most"]),
        ("any number", SchedulePatch::new().at_most(None), vec!["at_most"]),
        ("payload", SchedulePatch::new().payload(Work { n: 2 }), vec!["payload"]),
    ];
    let mut was = before;
    for (what, patch, changes) in patches {
        schedules.update("s", patch).await.unwrap();
        let is = plain(&schedules.get("s").unwrap());
        let fields = is.as_object().unwrap().keys().filter(|field| is[field.as_str()] != was[field.as_str()]);
        let mut fields: Vec<_> = fields.map(String::as_str).collect();
        let mut changes = changes;
        fields.sort_unstable();
        changes.sort_unstable();
        assert_eq!(fields, changes, "{what}");
        was = is;
    }
    assert_eq!((&was["ends_at"], &was["at_most"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_options_of_the_job_stay_when_its_payload_is_replaced() {
    let (_, pond) = memory();
    let job = work(1).priority(Priority::LAST).tag("nightly").header("tenant", "7").group("g").max_attempts(3);
    pond.schedule("s", hourly(job.expires_in(HOUR))).await.unwrap();
    pond.schedules().update("s", SchedulePatch::new().payload(Work { n: 2 })).await.unwrap();
    let run = pond.job(pond.schedules().run_now("s").await.unwrap()).unwrap();
    assert_eq!(run.payload.decode::<Work>().unwrap(), Work { n: 2 });
    assert_eq!((run.priority, run.tags, run.group.as_deref()), (Priority::LAST, vec!["nightly".into()], Some("g")));
    assert_eq!((run.headers.get("tenant").map(String::as_str), run.max_attempts), (Some("7"), Some(3)));
    assert_eq!(run.expires_at, Some(pond.now() + HOUR));
    let tagged = pond.jobs(&JobFilter::new().tag("nightly"), None, 10).unwrap();
    assert_eq!(tagged.jobs.len(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn no_time_runs_twice_and_a_run_that_is_owed_has_the_new_payload() {
    let disk = OnDisk::new();
    let start = disk.clock.wall();
    let pond = disk.open();
    let aligned = Schedule::new(Every::new(HOUR).aligned(), "q", work(1)).overlap(Overlap::Allow);
    pond.schedule("s", aligned).await.unwrap();
    for n in 1..=6u64 {
        disk.clock.advance(HOUR / 2);
        drained(&pond).await;
        pond.schedules().update("s", SchedulePatch::new().at_most(100 + n)).await.unwrap();
        disk.clock.advance(HOUR / 2);
        pond.schedules().update("s", SchedulePatch::new().payload(Work { n })).await.unwrap();
        drained(&pond).await;
    }
    let mut jobs = pond.jobs(&JobFilter::new(), None, 100).unwrap().jobs;
    jobs.sort_by_key(|job| job.id);
    let times: Vec<Timestamp> = jobs.iter().map(|job| job.scheduled_for.as_ref().unwrap().at).collect();
    assert_eq!(times, (1..=6).map(|n| start + HOUR * n).collect::<Vec<_>>());
    assert_eq!(pond.schedules().get("s").unwrap().runs, 6);
}

#[tokio::test]
async fn a_paused_schedule_stays_paused_and_keeps_its_count_of_runs() {
    let (clock, pond) = memory();
    pond.schedule("s", hourly(work(1)).overlap(Overlap::Allow)).await.unwrap();
    clock.advance(HOUR);
    drained(&pond).await;
    pond.schedules().pause("s").await.unwrap();
    pond.schedules().update("s", SchedulePatch::new().when(Every::new(SECOND))).await.unwrap();
    clock.advance(HOUR);
    drained(&pond).await;
    let info = pond.schedules().get("s").unwrap();
    assert_eq!((info.paused, info.runs, info.next, info.when.as_str()), (true, 1, None, "every 1s"));
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let (_, pond) = memory();
    pond.schedule("s", hourly(work(1))).await.unwrap();
    let before = pond.metrics().commits_total;
    pond.schedules().update("s", SchedulePatch::new()).await.unwrap();
    pond.schedules().update("s", SchedulePatch::new().payload(Work { n: 1 }).overlap(Overlap::Skip)).await.unwrap();
    assert_eq!(pond.metrics().commits_total, before);
}

#[tokio::test]
async fn what_cannot_be_a_schedule_is_refused_and_changes_nothing() {
    let (clock, pond) = memory();
    let schedules = pond.schedules();
    pond.schedule("s", hourly(work(1)).starts_at(clock.wall() + HOUR)).await.unwrap();
    let before = plain(&schedules.get("s").unwrap());
    let packed = NewJob::new(Packed { text: "x".into() });
    let refused = [
        ("every", SchedulePatch::new().when(Every::new(SECOND / 2))),
        ("jitter", SchedulePatch::new().jitter(HOUR * 25)),
        ("overlap", SchedulePatch::new().misfire(Misfire::All { at_most: 5 })),
        ("ends_at", SchedulePatch::new().ends_at(clock.wall())),
        ("payload", SchedulePatch::new().payload(packed)),
        ("payload", SchedulePatch::new().payload(work(2).tag("other"))),
    ];
    for (wrong, patch) in refused {
        let answer = schedules.update("s", patch).await;
        assert!(matches!(answer, Err(Error::InvalidConfig { field, .. }) if field == wrong), "{wrong}: {answer:?}");
    }
    assert_eq!(plain(&schedules.get("s").unwrap()), before);
    for patch in [SchedulePatch::new().at_most(1), SchedulePatch::new().payload(Work { n: 2 })] {
        assert!(matches!(schedules.update("none", patch).await, Err(Error::NoSuchSchedule { .. })));
    }
}

#[tokio::test]
async fn a_start_that_was_put_off_delays_the_next_run() {
    let (clock, pond) = memory();
    pond.schedule("s", hourly(work(1)).overlap(Overlap::Allow)).await.unwrap();
    let start = clock.wall() + HOUR * 5;
    pond.schedules().update("s", SchedulePatch::new().starts_at(start)).await.unwrap();
    assert_eq!(pond.schedules().get("s").unwrap().next, Some(start));
    clock.advance(HOUR * 4);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 0);
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 1);
    assert_sound(&pond).await;
}

/// The rows of a job that has run are not those of the schedule.
#[tokio::test]
async fn a_job_that_a_schedule_has_enqueued_is_changed_on_its_own() {
    let (_, pond) = memory();
    pond.schedule("s", hourly(work(1))).await.unwrap();
    let id = pond.schedules().run_now("s").await.unwrap();
    pond.update(id, JobPatch::new().payload(Work { n: 5 })).await.unwrap();
    pond.schedules().update("s", SchedulePatch::new().payload(Work { n: 2 })).await.unwrap();
    assert_eq!(pond.job(id).unwrap().payload.decode::<Work>().unwrap(), Work { n: 5 });
}
