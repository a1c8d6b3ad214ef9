//! Schedules: each time is run once, whatever dies when, however clocks are set, and whatever is edited.

use std::future::Future;
use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{
    BoxError, Capacity, Clock, Cron, Error, Event, Every, Job, JobFilter, JobId, JobInfo, Millpond, Misfire, NewJob,
    Outcome, Overlap, PayloadCodec, QueueSettings, Schedule, Scheduled, State, Timestamp,
};
use millpond_testkit::{Fault, SimDisk};
use redb::{Database, TableDefinition};

use crate::quarantine::{Bit, Row, flip};
use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn every(interval: Duration) -> Schedule {
    Schedule::new(Every::new(interval), "q", work(1))
}

/// At the full hours of the wall clock.
fn on_the_hour() -> Schedule {
    Schedule::new(Every::new(HOUR).aligned(), "q", work(1)).overlap(Overlap::Allow)
}

fn cron(expression: &str, zone: &str) -> Schedule {
    let cron = Cron::parse(expression).unwrap().zone(zone).unwrap();
    Schedule::new(cron, "q", work(1)).overlap(Overlap::Allow)
}

/// All jobs that the file has, in the order of their ids.
fn jobs(pond: &Millpond) -> Vec<JobInfo> {
    let mut jobs = pond.jobs(&JobFilter::new(), None, 1_000).unwrap().jobs;
    jobs.sort_by_key(|job| job.id);
    jobs
}

/// The times of the runs of a schedule, in the order of their jobs.
fn runs(pond: &Millpond, name: &str) -> Vec<Timestamp> {
    let of = |job: JobInfo| job.scheduled_for.filter(|run| run.schedule == name).map(|run| run.at);
    jobs(pond).into_iter().filter_map(of).collect()
}

fn texts(times: &[Timestamp]) -> Vec<String> {
    times.iter().map(Timestamp::to_string).collect()
}

/// Moves the clock in steps, and lets all that is due happen after each.
async fn pass(pond: &Millpond, clock: &ManualClock, steps: u32, step: Duration) {
    for _ in 0..steps {
        clock.advance(step);
        drained(pond).await;
    }
}

#[tokio::test]
async fn each_time_runs_once_and_the_job_knows_it() {
    let (clock, pond) = memory();
    let start = clock.wall();
    let seen = Log::new();
    let log = seen.clone();
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            log.push(job.scheduled_for().cloned().unwrap());
            async { Ok(()) }
        })
        .start()
        .unwrap();
    assert_eq!(pond.schedule("hourly", every(HOUR)).await.unwrap(), Scheduled::Created);
    pass(&pond, &clock, 3 * 60, SECOND * 60).await;
    let seen = seen.all();
    assert_eq!(seen.iter().map(|run| run.at).collect::<Vec<_>>(), [1, 2, 3].map(|n| start + HOUR * n));
    assert!(seen.iter().all(|run| run.schedule == "hourly"));
    let info = pond.schedules().get("hourly").unwrap();
    assert_eq!((info.runs, info.last, info.next), (3, Some(start + HOUR * 3), Some(start + HOUR * 4)));
    assert_eq!(info.payload.decode::<Work>().unwrap(), Work { n: 1 });
}

/// bullmq#393: "Repeated Job stops repeating". The next time comes from the schedule's row, and not from the last job.
#[tokio::test]
async fn a_chain_does_not_die_silently_whatever_happens_to_its_jobs() {
    let (clock, pond) = memory();
    let answers = Log::new();
    let log = answers.clone();
    let worker = pond
        .worker("q")
        .handle(move |job: Job<Work>| {
            log.push(job.id());
            async move {
                match job.id().get() % 4 {
                    0 => panic!("on purpose"),
                    1 => Ok(Outcome::dead_letter("on purpose")),
                    2 => Ok(Outcome::cancel("on purpose")),
                    _ => Ok(Outcome::done_with("fine")),
                }
            }
        })
        .start()
        .unwrap();
    pond.schedule("hourly", on_the_hour()).await.unwrap();
    pass(&pond, &clock, 12, HOUR).await;
    for job in jobs(&pond) {
        if job.state == State::Dead {
            pond.dead_letters().purge(job.id).await.unwrap();
        } else if !job.state.is_final() {
            pond.cancel(job.id, "by hand").await.unwrap();
        }
    }
    worker.stop().await.unwrap();
    pass(&pond, &clock, 12, HOUR).await;
    assert_eq!(pond.schedules().get("hourly").unwrap().runs, 24);
}

// --- edits ------------------------------------------------------------------------------------

#[tokio::test]
async fn the_same_definition_again_writes_nothing() {
    let (_, pond) = memory();
    let schedule = || cron("0 3 * * *", "Europe/Berlin").jitter(SECOND).at_most(7);
    assert_eq!(pond.schedule("s", schedule()).await.unwrap(), Scheduled::Created);
    let before = pond.metrics().commits_total;
    assert_eq!(pond.schedule("s", schedule()).await.unwrap(), Scheduled::Unchanged);
    assert_eq!(pond.metrics().commits_total, before);
    assert_eq!(pond.schedule("s", schedule().at_most(8)).await.unwrap(), Scheduled::Changed);
}

/// bullmq#2889: "Duplicate delayed jobs on repeatable".
#[tokio::test]
async fn no_run_is_doubled_and_none_is_lost_by_edits() {
    let (clock, pond) = memory();
    let start = clock.wall();
    pond.schedule("s", on_the_hour()).await.unwrap();
    for n in 1..=24u64 {
        clock.advance(HOUR / 2);
        drained(&pond).await;
        // Between two times, at one, and just after one.
        let other = on_the_hour().at_most(1_000 + n);
        assert_eq!(pond.schedule("s", other).await.unwrap(), Scheduled::Changed);
        clock.advance(HOUR / 2);
        let other = Schedule::new(Every::new(HOUR).aligned(), "q", work(n)).overlap(Overlap::Allow);
        assert_eq!(pond.schedule("s", other).await.unwrap(), Scheduled::Changed);
        drained(&pond).await;
    }
    assert_eq!(runs(&pond, "s"), (1..=24).map(|n| start + HOUR * n).collect::<Vec<_>>());
    assert_eq!(pond.schedules().get("s").unwrap().runs, 24);
}

/// A queue in memory with a schedule, which is closed, and opened again after `meanwhile`. Its dispatcher has not run yet.
async fn edited_first(
    first: Schedule,
    meanwhile: impl FnOnce(&ManualClock),
    edit: Schedule,
) -> (ManualClock, Millpond, testing::Stepper) {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let pond = Millpond::builder().clock(clock.clone()).open_backend(disk.clone()).unwrap();
    pond.schedule("s", first).await.unwrap();
    close(pond).await;
    meanwhile(&clock);
    let builder = Millpond::builder().clock(clock.clone());
    let (pond, mut steps) = testing::open_stepped(builder, move || Ok(disk.clone())).unwrap();
    let mut edit = std::pin::pin!(pond.schedule("s", edit));
    let answer = std::future::poll_fn(|cx| {
        let polled = edit.as_mut().poll(cx);
        steps.write();
        if polled.is_ready() { polled } else { edit.as_mut().poll(cx) }
    });
    assert_eq!(answer.await.unwrap(), Scheduled::Changed);
    for _ in 0..4 {
        steps.dispatch();
        steps.write();
    }
    (clock, pond, steps)
}

/// The call that an application makes at its start, in a new version, after the time of a run has passed.
#[tokio::test]
async fn a_run_that_was_missed_is_made_up_although_the_schedule_is_edited_first() {
    let other = Schedule::new(Cron::parse("0 4 * * *").unwrap(), "other", work(2));
    let (_, pond, _steps) = edited_first(cron("0 3 * * *", "UTC"), |clock| clock.advance(HOUR * 5), other).await;
    let made_up = jobs(&pond);
    assert_eq!(texts(&runs(&pond, "s")), ["2026-01-01T03:00:00.000Z"], "04:00 was not a time of it when it passed");
    assert_eq!((made_up[0].queue.as_str(), made_up[0].payload.decode::<Work>().unwrap().n), ("other", 2));
    assert_eq!(texts(&pond.schedules().next("s", 1).unwrap()), ["2026-01-02T04:00:00.000Z"]);
}

#[tokio::test]
async fn all_runs_that_were_missed_are_made_up_although_the_schedule_is_edited_first() {
    let all = on_the_hour().misfire(Misfire::All { at_most: 10 });
    let (clock, pond, _steps) = edited_first(all, |clock| clock.advance(HOUR * 5), cron("30 4 * * *", "UTC")).await;
    let start = clock.wall() - HOUR * 5;
    assert_eq!(runs(&pond, "s"), [1, 2, 3, 4, 5].map(|n| start + HOUR * n));
}

#[tokio::test]
async fn a_schedule_that_is_edited_first_after_the_clock_was_set_back_does_not_wait_for_the_old_time() {
    let back = |clock: &ManualClock| clock.set_wall(clock.wall() - TEN_YEARS);
    let (clock, pond, _steps) = edited_first(on_the_hour(), back, on_the_hour().at_most(9)).await;
    assert_eq!(pond.schedules().next("s", 1).unwrap(), [clock.wall() + HOUR]);
}

#[tokio::test]
async fn an_edit_beside_a_restart_loses_and_doubles_nothing() {
    let disk = OnDisk::new();
    let start = disk.clock.wall();
    let mut pond = disk.open();
    pond.schedule("s", on_the_hour().misfire(Misfire::All { at_most: 100 })).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    for n in 0..60u64 {
        disk.clock.advance(SECOND * rng.u32(..2 * 3600));
        if rng.bool() {
            drained(&pond).await;
        }
        match rng.u8(..3) {
            0 => {
                let other = on_the_hour().misfire(Misfire::All { at_most: 100 }).at_most(1_000 + n);
                pond.schedule("s", other).await.unwrap();
            }
            1 => {
                close(pond).await;
                disk.clock.advance(SECOND * rng.u32(..4 * 3600));
                pond = disk.open();
            }
            _ => {}
        }
    }
    drained(&pond).await;
    let hours = disk.clock.wall().since(start).as_secs() / 3600;
    assert_eq!(runs(&pond, "s"), (1..=hours as u32).map(|n| start + HOUR * n).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_change_of_the_line_of_times_begins_anew() {
    let (clock, pond) = memory();
    let start = clock.wall();
    pond.schedule("s", on_the_hour()).await.unwrap();
    pass(&pond, &clock, 5, HOUR / 2).await;
    pond.schedule("s", every(HOUR).overlap(Overlap::Allow)).await.unwrap();
    pass(&pond, &clock, 5, HOUR / 2).await;
    pond.schedule("s", on_the_hour()).await.unwrap();
    pass(&pond, &clock, 3, HOUR / 2).await;
    let halves = [2u32, 4, 7, 9, 12].map(|halves| start + HOUR / 2 * halves);
    assert_eq!(runs(&pond, "s"), halves);
}

/// Makes other bytes of the same payload each time, as encryption does.
struct Salted(std::sync::atomic::AtomicU8);

impl PayloadCodec for Salted {
    fn name(&self) -> &str {
        "salted"
    }

    fn encode(&self, bytes: bytes::Bytes) -> Result<bytes::Bytes, BoxError> {
        let salt = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(std::iter::once(salt).chain(bytes.iter().map(|byte| byte ^ salt)).collect())
    }

    fn decode(&self, bytes: bytes::Bytes) -> Result<bytes::Bytes, BoxError> {
        let (salt, bytes) = bytes.split_first().ok_or("it is empty")?;
        Ok(bytes.iter().map(|byte| byte ^ salt).collect())
    }
}

#[tokio::test]
async fn a_payload_codec_that_encrypts_makes_no_other_definition_of_the_same_job() {
    let (clock, pond) = memory_with(|builder| builder.payload_codec(Salted(7.into())));
    let of = |n| Schedule::new(Every::new(HOUR).aligned(), "q", work(n));
    assert_eq!(pond.schedule("s", of(1)).await.unwrap(), Scheduled::Created);
    assert_eq!(pond.schedule("s", of(1)).await.unwrap(), Scheduled::Unchanged);
    let again = pond.transaction(|tx| Ok(tx.schedule("s", Schedule::new(Every::new(HOUR).aligned(), "q", work(1)))?));
    assert_eq!(again.await.unwrap(), Scheduled::Unchanged);
    assert_eq!(pond.schedule("s", of(2)).await.unwrap(), Scheduled::Changed);
    assert_eq!(pond.schedules().get("s").unwrap().payload.decode::<Work>().unwrap(), Work { n: 2 });
    let ran = record(&pond, "q", 1);
    pass(&pond, &clock, 1, HOUR).await;
    assert_eq!(ran.all(), [2]);
}

// --- restarts and downtime --------------------------------------------------------------------

#[tokio::test]
async fn no_run_is_doubled_by_restarts() {
    let disk = OnDisk::new();
    let start = disk.clock.wall();
    let mut pond = disk.open();
    for _ in 0..20 {
        pond.schedule("s", on_the_hour()).await.unwrap();
        disk.clock.advance(HOUR / 4);
        drained(&pond).await;
        close(pond).await;
        pond = disk.open();
        drained(&pond).await;
    }
    assert_eq!(runs(&pond, "s"), (1..=5).map(|n| start + HOUR * n).collect::<Vec<_>>());
}

/// river#358: a burst after downtime.
#[tokio::test]
async fn downtime_causes_no_burst() {
    for (misfire, expected) in [(Misfire::Once, 1), (Misfire::Skip, 0), (Misfire::All { at_most: 3 }, 3)] {
        for schedule in [every(SECOND), cron("* * * * * *", "Asia/Tokyo")] {
            let disk = OnDisk::new();
            let pond = disk.open();
            // The latest time is more than a minute ago: nothing of this minute counts for `Skip`.
            let schedule = schedule.misfire(misfire).overlap(Overlap::Allow).ends_at(disk.clock.wall() + HOUR);
            pond.schedule("s", schedule).await.unwrap();
            close(pond).await;
            disk.clock.advance(HOUR + SECOND * 61);
            let pond = disk.open();
            drained(&pond).await;
            assert_eq!(runs(&pond, "s").len(), expected, "{misfire:?}");
            assert_eq!(pond.schedules().get("s").unwrap().next, None);
        }
    }
}

#[tokio::test]
async fn made_up_runs_are_the_latest_ones_in_order_and_are_bounded_in_one_commit() {
    let disk = OnDisk::new();
    let pond = disk.open();
    for n in 0..3 {
        let all = every(SECOND).misfire(Misfire::All { at_most: 700 }).overlap(Overlap::Allow);
        pond.schedule(&format!("s{n}"), all).await.unwrap();
    }
    close(pond).await;
    disk.clock.advance(HOUR);
    let end = disk.clock.wall();
    let pond = disk.open();
    let before = pond.metrics().commits_total;
    drained(&pond).await;
    assert!(pond.metrics().commits_total - before >= 3, "2,100 runs do not fit into two commits");
    for n in 0..3 {
        let name = format!("s{n}");
        let mut cursor = None;
        let mut times = Vec::new();
        loop {
            let page = pond.jobs(&JobFilter::new(), cursor, 1_000).unwrap();
            times.extend(page.jobs.into_iter().filter_map(|job| job.scheduled_for.filter(|run| run.schedule == name)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let times: Vec<_> = times.into_iter().map(|run| run.at).collect();
        assert_eq!(times, (0..700).rev().map(|n| end - SECOND * n).collect::<Vec<_>>());
    }
}

// --- clocks -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_nightly_report_survives_a_restart_across_the_hour_of_a_clock_change() {
    // In Berlin 02:30 does not exist on 2026-03-29, and exists twice on 2026-10-25.
    for (before, runs_at) in [
        ("2026-03-28T12:00:00.000Z", ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]),
        ("2026-10-24T12:00:00.000Z", ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]),
    ] {
        let disk = OnDisk::new();
        while disk.clock.wall().to_string().as_str() < before {
            disk.clock.advance(HOUR);
        }
        let mut pond = disk.open();
        for _ in 0..160 {
            pond.schedule("nightly", cron("30 2 * * *", "Europe/Berlin")).await.unwrap();
            drained(&pond).await;
            close(pond).await;
            disk.clock.advance(SECOND * 15 * 60);
            pond = disk.open();
        }
        drained(&pond).await;
        assert_eq!(texts(&runs(&pond, "nightly")), runs_at);
    }
}

#[tokio::test]
async fn clocks_that_jump_ten_years_either_way_cause_no_storm() {
    for schedule in [on_the_hour(), cron("* * * * * *", "UTC"), every(SECOND).overlap(Overlap::Allow)] {
        let (clock, pond) = memory();
        pond.schedule("s", schedule).await.unwrap();
        drained(&pond).await;
        let today = clock.wall();
        clock.set_wall(today + TEN_YEARS);
        drained(&pond).await;
        assert_eq!(runs(&pond, "s").len(), 1, "one run for ten years");
        clock.set_wall(today);
        drained(&pond).await;
        assert_eq!(runs(&pond, "s").len(), 1);
        // It does not wait for ten years.
        let next = pond.schedules().get("s").unwrap().next.unwrap();
        assert!(next > today && next <= today + HOUR, "{next}");
        clock.advance(HOUR);
        drained(&pond).await;
        assert_eq!(runs(&pond, "s").len(), 2);
        clock.set_wall(today - TEN_YEARS);
        drained(&pond).await;
        pass(&pond, &clock, 2, HOUR).await;
        assert_eq!(runs(&pond, "s").len(), 4, "from the new time on");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_while_the_file_is_closed_is_noticed() {
    let disk = OnDisk::new();
    let today = disk.clock.wall();
    disk.clock.set_wall(today + TEN_YEARS);
    let pond = disk.open();
    for n in 0..2_500 {
        pond.schedule(&format!("s{n}"), on_the_hour()).await.unwrap();
    }
    pond.schedules().pause("s7").await.unwrap();
    close(pond).await;
    disk.clock.set_wall(today);
    let pond = disk.open();
    drained(&pond).await;
    for n in [0, 1_999, 2_499] {
        assert_eq!(pond.schedules().get(&format!("s{n}")).unwrap().next, Some(today + HOUR), "{n}");
    }
    pond.schedules().resume("s7").await.unwrap();
    assert_eq!(pond.schedules().get("s7").unwrap().next, Some(today + HOUR));
    let before = pond.metrics().commits_total;
    drained(&pond).await;
    assert_eq!(pond.metrics().commits_total, before, "it is not looked at again");
}

#[tokio::test]
async fn a_clock_that_is_set_back_a_little_runs_no_time_twice() {
    for edits in [false, true] {
        let (clock, pond) = memory();
        let start = clock.wall();
        pond.schedule("s", on_the_hour()).await.unwrap();
        pass(&pond, &clock, 1, HOUR).await;
        clock.set_wall(clock.wall() - SECOND * 1_800);
        if edits {
            pond.schedule("s", on_the_hour().at_most(50)).await.unwrap();
        }
        pass(&pond, &clock, 3, SECOND * 1_800).await;
        assert_eq!(runs(&pond, "s"), [start + HOUR, start + HOUR * 2], "{edits}");
    }
}

#[tokio::test]
async fn an_interval_is_measured_by_the_time_that_passes() {
    let (clock, pond) = memory();
    pond.schedule("s", every(HOUR).overlap(Overlap::Allow)).await.unwrap();
    clock.advance(HOUR / 2);
    clock.set_wall(clock.wall() - TEN_YEARS);
    clock.advance(HOUR / 2);
    drained(&pond).await;
    assert_eq!(runs(&pond, "s"), [clock.wall()]);
    assert_eq!(pond.schedules().get("s").unwrap().next, Some(clock.wall() + HOUR));
}

// --- overlap ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_run_is_left_out_while_the_previous_one_has_not_ended() {
    let (clock, pond) = memory();
    let mut events = pond.events();
    pond.schedule("s", every(HOUR)).await.unwrap();
    pass(&pond, &clock, 3, HOUR).await;
    assert_eq!(runs(&pond, "s").len(), 1);
    let missed = |event: &Event| matches!(event, Event::ScheduleMissed { from, to, reason, .. } if from == to && reason.contains("ended"));
    assert_eq!(heard(&mut events).iter().filter(|event| missed(event)).count(), 2);
    // While it runs, while it is retried, and when it has ended.
    let (worker, mut keeper) = gated(&pond, "q", 1);
    keeper.entered().await;
    clock.advance(HOUR);
    settled(&pond).await;
    assert_eq!(runs(&pond, "s").len(), 1);
    keeper.let_go(1);
    drained(&pond).await;
    clock.advance(HOUR);
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(pond.schedules().get("s").unwrap().runs, 2);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn at_most_one_run_waits_for_the_previous_one() {
    let (clock, pond) = memory();
    pond.schedule("s", every(HOUR).overlap(Overlap::Queue)).await.unwrap();
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    pass(&pond, &clock, 1, Duration::ZERO).await;
    for _ in 0..5 {
        clock.advance(HOUR);
        settled(&pond).await;
    }
    assert_eq!(keeper.entered().await, 1);
    assert_eq!((runs(&pond, "s").len(), keeper.waiting().len()), (2, 0), "one runs, and one waits for it");
    assert_eq!(jobs(&pond)[1].group.as_deref(), Some("schedule:s"));
    keeper.let_go(1);
    keeper.entered().await;
    clock.advance(HOUR);
    settled(&pond).await;
    assert_eq!(pond.schedules().get("s").unwrap().runs, 3);
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn runs_that_are_made_up_wait_for_each_other() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.schedule("s", every(HOUR).overlap(Overlap::Queue).misfire(Misfire::All { at_most: 5 })).await.unwrap();
    close(pond).await;
    disk.clock.advance(HOUR * 10);
    let pond = disk.open();
    drained(&pond).await;
    assert_eq!(runs(&pond, "s").len(), 5);
    let ran = record(&pond, "q", 10);
    drained(&pond).await;
    assert_eq!(ran.len(), 5);
}

// --- steering ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_paused_schedule_runs_nothing_and_makes_up_nothing() {
    let (clock, pond) = memory();
    let start = clock.wall();
    pond.schedule("s", on_the_hour().misfire(Misfire::All { at_most: 10 })).await.unwrap();
    pass(&pond, &clock, 1, HOUR).await;
    assert!(pond.schedules().pause("s").await.unwrap());
    assert!(!pond.schedules().pause("s").await.unwrap());
    assert_eq!(pond.schedules().get("s").unwrap().next, None);
    assert_eq!(pond.schedules().next("s", 1).unwrap(), [start + HOUR * 2]);
    // An edit does not resume it.
    pond.schedule("s", on_the_hour()).await.unwrap();
    pass(&pond, &clock, 5, HOUR).await;
    let by_hand = pond.schedules().run_now("s").await.unwrap();
    assert!(pond.schedules().resume("s").await.unwrap());
    assert!(!pond.schedules().resume("s").await.unwrap());
    pass(&pond, &clock, 1, HOUR).await;
    let now = start + HOUR * 6;
    assert_eq!(runs(&pond, "s"), [start + HOUR, now, now + HOUR]);
    let info = pond.schedules().get("s").unwrap();
    assert_eq!((info.runs, pond.job(by_hand).unwrap().scheduled_for.unwrap().at), (2, now));
}

#[tokio::test]
async fn a_removed_schedule_leaves_its_jobs_and_runs_no_more() {
    let (clock, pond) = memory();
    pond.schedule("s", on_the_hour()).await.unwrap();
    pass(&pond, &clock, 1, HOUR).await;
    assert!(pond.schedules().remove("s").await.unwrap());
    pass(&pond, &clock, 3, HOUR).await;
    assert_eq!((jobs(&pond).len(), pond.schedules().count().unwrap()), (1, 0));
    for unknown in [pond.schedules().pause("s").await, pond.schedules().resume("s").await] {
        assert!(matches!(unknown, Err(Error::NoSuchSchedule { name, .. }) if name == "s"));
    }
    assert!(matches!(pond.schedules().run_now("s").await, Err(Error::NoSuchSchedule { .. })));
    assert!(matches!(pond.schedules().get("s"), Err(Error::NoSuchSchedule { .. })));
    assert!(matches!(pond.schedules().next("s", 1), Err(Error::NoSuchSchedule { .. })));
    // A new one of this name begins anew.
    assert_eq!(pond.schedule("s", on_the_hour()).await.unwrap(), Scheduled::Created);
    assert_eq!(pond.schedules().get("s").unwrap().runs, 0);
}

#[tokio::test]
async fn a_full_queue_delays_a_run_and_does_not_lose_it() {
    let (clock, pond) = memory();
    let start = clock.wall();
    pond.queue("q").unwrap().configure(QueueSettings::default().capacity(Capacity::jobs(2))).await.unwrap();
    let ids = pond.enqueue_many("q", [work(8), work(9)]).await.unwrap();
    let mut events = pond.events();
    pond.schedule("s", on_the_hour().misfire(Misfire::Skip)).await.unwrap();
    pass(&pond, &clock, 1, HOUR).await;
    pass(&pond, &clock, 60, SECOND * 5).await;
    assert_eq!(runs(&pond, "s"), []);
    let held = heard(&mut events).into_iter().filter(|event| matches!(event, Event::ScheduleHeld { .. })).count();
    assert_eq!(held, 1, "it is told once");
    assert!(pond.schedules().get("s").unwrap().held.unwrap().contains("full"));
    // An edit does not lose it either.
    pond.schedule("s", on_the_hour().misfire(Misfire::Skip).at_most(9)).await.unwrap();
    drained(&pond).await;
    pond.cancel(ids[0], "room").await.unwrap();
    pass(&pond, &clock, 1, SECOND * 5).await;
    assert_eq!(runs(&pond, "s"), [start + HOUR]);
    let info = pond.schedules().get("s").unwrap();
    assert_eq!((info.held, info.next, info.runs), (None, Some(start + HOUR * 2), 1));
    assert!(matches!(pond.schedules().run_now("s").await, Err(Error::QueueFull { .. })));
}

#[tokio::test]
async fn what_happens_to_a_schedule_is_told() {
    let (clock, pond) = memory();
    let start = clock.wall();
    let mut events = pond.events();
    pond.schedule("s", on_the_hour()).await.unwrap();
    clock.advance(HOUR * 3);
    drained(&pond).await;
    let told: Vec<_> = heard(&mut events);
    let [
        Event::ScheduleMissed { schedule, from, to, .. },
        Event::Enqueued { .. },
        Event::ScheduleFired { id, queue, at, .. },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((&**schedule, *from, *to), ("s", start + HOUR, start + HOUR * 2));
    assert_eq!((*id, &**queue, *at), (JobId::new(1), "q", start + HOUR * 3));
}

// --- definitions ------------------------------------------------------------------------------

#[tokio::test]
async fn a_schedule_that_cannot_work_is_refused_by_name() {
    let (_, pond) = memory();
    let refused = |field: &'static str, schedule: Schedule| {
        let answer = pond.schedule("s", schedule);
        async move {
            let error = answer.await.unwrap_err();
            assert!(matches!(&error, Error::InvalidConfig { field: of, .. } if *of == field), "{field}: {error}");
        }
    };
    refused("every", every(SECOND - Duration::from_millis(1))).await;
    refused("jitter", every(HOUR).jitter(DAY + SECOND)).await;
    refused("misfire", every(HOUR).overlap(Overlap::Allow).misfire(Misfire::All { at_most: 0 })).await;
    refused("misfire", every(HOUR).overlap(Overlap::Allow).misfire(Misfire::All { at_most: 1_001 })).await;
    refused("overlap", every(HOUR).misfire(Misfire::All { at_most: 5 })).await;
    refused("ends_at", every(HOUR).starts_at(Timestamp::from_millis(2)).ends_at(Timestamp::from_millis(1))).await;
    let of = |job: NewJob| Schedule::new(Every::new(HOUR), "q", job);
    refused("job", of(work(1).delay(SECOND))).await;
    refused("job", of(work(1).run_at(Timestamp::from_millis(1)))).await;
    refused("job", of(work(1).expires_at(Timestamp::from_millis(1)))).await;
    refused("job", of(work(1).unique_key("k"))).await;
    refused("max_attempts", of(work(1).max_attempts(0))).await;
    let bad = pond.schedule("s", Schedule::new(Every::new(HOUR), "no spaces", work(1))).await;
    assert!(matches!(bad, Err(Error::InvalidName { what: "queue", .. })));
    for name in ["", &"é".repeat(101)] {
        let bad = pond.schedule(name, every(HOUR)).await;
        assert!(matches!(bad, Err(Error::InvalidKey { what: "schedule name", max: 200, .. })), "{bad:?}");
        assert!(matches!(pond.schedules().get(name), Err(Error::InvalidKey { .. })));
    }
    assert_eq!(pond.schedules().count().unwrap(), 0);
    pond.schedule(&"é".repeat(100), every(HOUR)).await.unwrap();
}

#[tokio::test]
async fn the_options_of_the_job_apply_to_each_run() {
    let (clock, pond) = memory();
    let job = work(1).group("g").max_attempts(2).expires_in(HOUR).priority(millpond::Priority::LAST);
    pond.schedule("s", Schedule::new(Every::new(DAY), "q", job)).await.unwrap();
    pass(&pond, &clock, 2, DAY).await;
    let jobs = jobs(&pond);
    assert_eq!(jobs.len(), 2);
    for (job, day) in jobs.iter().zip(1u32..) {
        assert_eq!((job.group.as_deref(), job.max_attempts, job.priority.get()), (Some("g"), Some(2), 9));
        let enqueued_at = Timestamp::from_millis(1_767_225_600_000) + DAY * day;
        assert_eq!((job.enqueued_at, job.expires_at), (enqueued_at, Some(enqueued_at + HOUR)));
    }
    assert_eq!(jobs[0].state, State::Cancelled, "it has expired, so the next run does not overlap");
}

#[tokio::test]
async fn a_schedule_belongs_to_its_transaction() {
    let (_, pond) = memory();
    let undone = pond.transaction(|tx| {
        tx.schedule("s", every(HOUR))?;
        Err::<(), _>("no".into())
    });
    undone.await.unwrap_err();
    assert_eq!(pond.schedules().count().unwrap(), 0);
    pond.transaction(|tx| Ok((tx.schedule("s", every(HOUR))?, tx.schedule("t", every(HOUR))?))).await.unwrap();
    let removed = pond.transaction(|tx| Ok((tx.unschedule("s")?, tx.unschedule("u")?))).await.unwrap();
    assert_eq!((removed, pond.schedules().count().unwrap()), ((true, false), 1));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_listing_goes_by_name_in_pages() {
    let (_, pond) = memory();
    for n in 0..25 {
        pond.schedule(&format!("s{n:02}"), every(HOUR)).await.unwrap();
    }
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = pond.schedules().list(&after, 10).unwrap();
        let Some(last) = page.last() else { break };
        after = last.name.clone();
        names.extend(page.into_iter().map(|schedule| schedule.name));
    }
    assert_eq!(names, (0..25).map(|n| format!("s{n:02}")).collect::<Vec<_>>());
}

// --- costs ------------------------------------------------------------------------------------

#[tokio::test]
async fn ten_thousand_schedules_cost_nothing_while_none_is_due() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let store = |from: usize| {
        pond.transaction(move |tx| {
            for n in from..from + 1_000 {
                tx.schedule(&format!("s{n}"), on_the_hour().jitter(SECOND * 60))?;
            }
            Ok(())
        })
    };
    for from in (0..10_000).step_by(1_000) {
        store(from).await.unwrap();
    }
    close(pond).await;
    let pond = disk.open();
    drained(&pond).await;
    let before = pond.metrics().commits_total;
    for _ in 0..50 {
        disk.clock.advance(SECOND * 60);
        settled(&pond).await;
    }
    assert_eq!(pond.metrics().commits_total, before);
    disk.clock.advance(SECOND * 660);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().pending, 10_000);
    assert!(pond.metrics().commits_total - before < 100, "they share commits");
}

// --- faults -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_run_whose_commit_fails_is_made_once_the_disk_works() {
    let disk = SimDisk::new();
    let clock = ManualClock::new();
    let start = clock.wall();
    let backends = disk.clone();
    let builder = Millpond::builder().clock(clock.clone()).seed(0);
    let pond = builder.open_backend_with(move || Ok(backends.clone())).unwrap();
    pond.schedule("s", on_the_hour()).await.unwrap();
    disk.fail(Fault::SYNC);
    clock.advance(HOUR);
    while pond.degraded().is_none() {
        tokio::task::yield_now().await;
    }
    disk.repair();
    for _ in 0..100 {
        clock.advance(SECOND);
        settled(&pond).await;
    }
    assert_eq!(runs(&pond, "s"), [start + HOUR]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_name_with_any_characters_is_accepted() {
    let (clock, pond) = memory();
    for name in ["a b", "é/😀", "\u{1b}[2J", "schedule:x"] {
        pond.schedule(name, on_the_hour().overlap(Overlap::Queue)).await.unwrap();
    }
    pass(&pond, &clock, 1, HOUR).await;
    assert_eq!(jobs(&pond).len(), 4);
    testing::assert_enqueued::<Work>(&pond, "q", |work| work.n == 1);
}

// --- damage -----------------------------------------------------------------------------------

/// A closed file with two schedules, of which the first one is damaged.
async fn with_a_damaged_schedule(bit: Bit) -> OnDisk {
    let disk = OnDisk::new();
    let pond = disk.open();
    for name in ["broken", "sound"] {
        pond.schedule(name, on_the_hour()).await.unwrap();
    }
    close(pond).await;
    let db = Database::open(disk.path()).unwrap();
    assert!(flip::<&'static str, Row>(&db, "schedules", 0, bit));
    disk
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_quarantined_and_the_others_go_on() {
    for bit in [Bit::OfTheVersion, Bit::OfTheChecksum, Bit::OfTheHeader, Bit::InTheMiddle, Bit::TheLast] {
        for by in ["its time", "a listing", "a call", "an opening"] {
            let disk = with_a_damaged_schedule(bit).await;
            let start = disk.clock.wall();
            let pond = match by {
                "an opening" => disk.builder().verify_on_open().open(disk.path()).unwrap(),
                _ => disk.open(),
            };
            match by {
                "a listing" => drop(pond.schedules().list("", 10).unwrap()),
                "a call" => drop(pond.schedules().pause("broken").await.unwrap_err()),
                _ => {}
            }
            pass(&pond, &disk.clock, 2, HOUR).await;
            assert_eq!(pond.quarantined().unwrap(), 1, "{bit:?}, {by}");
            let row = pond.quarantine().list(0, 1).unwrap().remove(0);
            assert_eq!((row.table.as_str(), row.queue, row.id), ("schedules", None, None));
            assert_eq!(runs(&pond, "sound"), [start + HOUR, start + HOUR * 2]);
            assert_eq!(runs(&pond, "broken"), []);
            assert_eq!(pond.schedule("broken", on_the_hour()).await.unwrap(), Scheduled::Created);
            pass(&pond, &disk.clock, 1, HOUR).await;
            assert_eq!(runs(&pond, "broken").len(), 1);
        }
    }
}

#[tokio::test]
async fn due_times_that_are_lost_or_wrong_are_found_and_made_anew() {
    const DUE: TableDefinition<(u8, u64, &str), ()> = TableDefinition::new("millpond/schedule_due");
    let disk = OnDisk::new();
    let start = disk.clock.wall();
    let pond = disk.open();
    pond.schedule("s", on_the_hour()).await.unwrap();
    close(pond).await;
    let db = Database::open(disk.path()).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut due = txn.open_table(DUE).unwrap();
        assert!(due.remove((0, (start + HOUR).as_millis(), "s")).unwrap().is_some());
        due.insert((0, (start + HOUR * 2).as_millis(), "s"), ()).unwrap();
        due.insert((1, (start + TEN_YEARS).as_millis(), "gone"), ()).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    let pond = disk.builder().open(disk.path()).unwrap();
    assert_eq!(pond.verify().await.unwrap().problems.len(), 3);
    close(pond).await;
    let pond = disk.builder().verify_on_open().open(disk.path()).unwrap();
    pass(&pond, &disk.clock, 2, HOUR).await;
    assert_eq!(runs(&pond, "s"), [start + HOUR, start + HOUR * 2]);
}
