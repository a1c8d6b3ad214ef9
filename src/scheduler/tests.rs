//! Tests of the scheduler.

use std::sync::Arc;
use std::time::Duration;

use super::choose::{UNSETTLED_BYTES_MAX, UNSETTLED_MAX};
use super::*;
use crate::job::{
    BucketKey, Change, JobId, KindId, Order, Overrides, Priority, QueueId, Rate, ReadyJob, Record, Steered, Suspect,
    Trial,
};
use crate::time::{Now, Timestamp};

const QUEUE: QueueId = 1;
const KIND: KindId = 1;

fn at(millis: u64) -> Now {
    let time = Timestamp::from_millis(1_000_000 + millis);
    Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_millis(millis) }
}

fn record(priority: u8, group: Option<&str>) -> Record {
    let mut record = Record { kind: KIND, priority: Priority::new(priority).unwrap(), ..Record::plain() };
    if let Some(group) = group {
        record.extra_mut().group = Some(group.into());
    }
    record
}

fn ready_job(id: u64, priority: u8, group: Option<&str>) -> Arc<ReadyJob> {
    Arc::new(ReadyJob::new(JobId::new(id), id, record(priority, group), 32))
}

fn ready(id: u64, priority: u8, group: Option<&str>) -> Change {
    Change::Ready { queue: QUEUE, job: ready_job(id, priority, group) }
}

fn settings(concurrency: usize) -> WorkerLimits {
    WorkerLimits { kinds: [KIND].into_iter().collect(), concurrency, ..WorkerLimits::default() }
}

/// A scheduler with a worker, whose tables were read and are empty.
fn open(concurrency: usize) -> Scheduler {
    open_with(settings(concurrency))
}

fn open_with(settings: WorkerLimits) -> Scheduler {
    let limits = WindowLimits { jobs_max: 8, bytes_max: 1 << 20, mark_after: Duration::from_millis(10) };
    let mut scheduler = Scheduler::new(100, limits);
    scheduler.open_queue(QUEUE, settings, at(0));
    answer_pages(&mut scheduler, &[], at(0));
    scheduler
}

/// Answers every page that was requested with `rows`.
fn answer_pages(scheduler: &mut Scheduler, rows: &[Arc<ReadyJob>], now: Now) {
    scheduler.starts(now, 0);
    scheduler.starts(now, 1);
    for refill in scheduler.chores(now).refills {
        let page = rows.iter().filter(|row| row.is_grouped() == refill.grouped).cloned().collect();
        scheduler.refilled(refill, page, true);
    }
}

fn start(scheduler: &mut Scheduler, now: Now) -> Vec<Start> {
    scheduler.starts(now, 100).into_iter().collect()
}

fn ids(starts: &[Start]) -> Vec<u64> {
    starts.iter().map(|start| start.job.id.get()).collect()
}

/// Suspects that were running at one death and have attempts left.
fn trial(suspects: &[Suspect]) -> Trial {
    Trial::new(suspects.to_vec(), Some(at(0).wall))
}

fn suspect(id: u64, group: Option<&str>) -> Suspect {
    let mut record = record(5, group);
    record.extra_mut().crashes = 1;
    let job = Arc::new(ReadyJob::new(JobId::new(id), id, record, 32));
    let started_at = Timestamp::from_millis(500_000 - id);
    Suspect { queue: QUEUE, job, started_at, is_last_attempt: false, is_held_back: false }
}

fn on_its_last(suspect: Suspect) -> Suspect {
    Suspect { is_last_attempt: true, ..suspect }
}

fn end(scheduler: &mut Scheduler, start: &Start) {
    assert!(scheduler.finished(start.run));
    scheduler.apply([Change::Settled { id: start.job.id }]);
}

#[test]
fn jobs_start_by_priority_and_then_in_the_order_of_their_enqueues() {
    let mut scheduler = open(10);
    scheduler.apply([ready(1, 5, None), ready(2, 9, None), ready(3, 0, None), ready(4, 5, None)]);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [3, 1, 4, 2]);
}

#[test]
fn heads_and_plain_jobs_of_one_priority_alternate() {
    let mut scheduler = open(10);
    scheduler.apply([
        ready(1, 5, None),
        ready(2, 5, None),
        ready(3, 5, None),
        ready(4, 5, Some("a")),
        ready(5, 5, Some("b")),
    ]);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [1, 4, 2, 5, 3]);
}

#[test]
fn running_jobs_never_exceed_the_slots_even_while_the_slots_change() {
    let mut scheduler = open(2);
    scheduler.apply((1..=6).map(|id| ready(id, 5, None)));
    let first = start(&mut scheduler, at(0));
    assert_eq!(first.len(), 2);
    scheduler.set_concurrency(QUEUE, 1);
    end(&mut scheduler, &first[0]);
    assert!(start(&mut scheduler, at(0)).is_empty(), "one still runs, one is allowed");
    scheduler.set_concurrency(QUEUE, 3);
    assert_eq!(start(&mut scheduler, at(0)).len(), 2);
    scheduler.set_running_max(1);
    end(&mut scheduler, &first[1]);
    assert!(start(&mut scheduler, at(0)).is_empty());
}

#[test]
fn a_slot_is_freed_only_once_however_often_an_end_is_reported() {
    let mut scheduler = open(1);
    scheduler.apply([ready(1, 5, None), ready(2, 5, None)]);
    let first = start(&mut scheduler, at(0));
    assert!(scheduler.finished(first[0].run));
    assert!(!scheduler.finished(first[0].run), "the second report is void");
    scheduler.apply([Change::Settled { id: JobId::new(1) }]);
    assert!(!scheduler.finished(first[0].run), "so is one after the end");
    assert_eq!(start(&mut scheduler, at(0)).len(), 1);
    assert_eq!(scheduler.running(), 1);
}

#[test]
fn a_job_is_not_handed_out_again_before_its_end_is_durable() {
    let mut scheduler = open(5);
    scheduler.apply([ready(1, 5, None)]);
    let first = start(&mut scheduler, at(0));
    assert!(scheduler.finished(first[0].run));
    scheduler.read_again(QUEUE);
    answer_pages(&mut scheduler, &[ready_job(1, 5, None)], at(0));
    assert!(start(&mut scheduler, at(0)).is_empty(), "the table still has it, a run does too");
}

#[test]
fn jobs_without_a_handler_are_skipped_until_a_worker_starts() {
    let mut scheduler = open(10);
    let mut unknown = record(0, None);
    unknown.kind = 99;
    let unknown = Arc::new(ReadyJob::new(JobId::new(1), 1, unknown, 32));
    scheduler.apply([Change::Ready { queue: QUEUE, job: unknown.clone() }, ready(2, 5, None)]);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [2]);
    assert_eq!(
        scheduler.why(QUEUE, (JobId::new(1), &Record { kind: 99, ..record(5, None) }), None, at(0)),
        Blocked::NoHandler
    );

    let kinds = [KIND, 99].into_iter().collect();
    scheduler.open_queue(QUEUE, WorkerLimits { kinds, ..settings(10) }, at(0));
    scheduler.starts(at(0), 1);
    for refill in scheduler.chores(at(0)).refills {
        let page = if refill.grouped { vec![] } else { vec![unknown.clone(), ready_job(2, 5, None)] };
        scheduler.refilled(refill, page, true);
    }
    assert_eq!(ids(&start(&mut scheduler, at(0))), [1], "2 runs already");
}

#[test]
fn a_queue_whose_worker_was_stopped_holds_no_rows_and_requests_none() {
    let mut scheduler = open(1);
    let heads = [ready_job(4, 5, Some("a")), ready_job(5, 5, Some("b"))];
    scheduler.apply((1..=3).map(|id| ready(id, 5, None)).chain([ready(4, 5, Some("a")), ready(5, 5, Some("b"))]));
    let running = start(&mut scheduler, at(0));
    scheduler.close_queue(QUEUE);
    let rows_held = |scheduler: &Scheduler| scheduler.queues.get(QUEUE).unwrap().rows_held();
    assert_eq!(rows_held(&scheduler), 0);
    // Events that wake the queue meanwhile do not bring rows back.
    end(&mut scheduler, &running[0]);
    scheduler.apply([Change::Paused { queue: QUEUE, paused: false }, ready(6, 5, None)]);
    scheduler.read_again(QUEUE);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [0; 0]);
    assert!(scheduler.chores(at(0)).refills.is_empty());
    assert_eq!(rows_held(&scheduler), 0);
    // The next worker gets all of them.
    scheduler.open_queue(QUEUE, settings(10), at(0));
    let rows: Vec<_> = [2, 3, 6].map(|id| ready_job(id, 5, None)).into_iter().chain(heads).collect();
    answer_pages(&mut scheduler, &rows, at(0));
    let mut started = ids(&start(&mut scheduler, at(0)));
    started.sort_unstable();
    assert_eq!(started, [2, 3, 4, 5, 6]);
}

#[test]
fn a_backlog_larger_than_the_window_starts_completely_and_in_order() {
    let mut scheduler = open(3);
    let table: Vec<_> = (1..=50).map(|id| ready_job(id, 5, None)).collect();
    scheduler.apply(table.iter().map(|job| Change::Ready { queue: QUEUE, job: job.clone() }));
    let mut seen = Vec::new();
    while seen.len() < 50 {
        for started in start(&mut scheduler, at(0)) {
            seen.push(started.job.id.get());
            end(&mut scheduler, &started);
        }
        for refill in scheduler.chores(at(0)).refills {
            let behind = |row: &&Arc<ReadyJob>| refill.after.is_none_or(|after| row.order > after);
            let rows: Vec<_> = table
                .iter()
                .filter(behind)
                .filter(|row| !refill.grouped && !seen.contains(&row.id.get()))
                .cloned()
                .collect();
            let page: Vec<_> = rows.iter().take(refill.jobs_max).cloned().collect();
            let whole = page.len() == rows.len();
            scheduler.refilled(refill, page, whole);
        }
    }
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_limited_group_does_not_delay_other_jobs() {
    let group_rate = Some(Rate::per_second(1));
    let mut scheduler = open_with(WorkerLimits { group_rate, ..settings(10) });
    scheduler.apply([ready(1, 5, Some("a")), ready(2, 5, Some("b"))]);
    let mut seen = Vec::new();
    let mut turn = |scheduler: &mut Scheduler, now| {
        for _ in 0..3 {
            for started in start(scheduler, now) {
                seen.push(started.job.id.get());
                end(scheduler, &started);
            }
            for reservation in scheduler.chores(now).reserve {
                scheduler.apply([Change::Reserved { key: reservation.key, tokens: reservation.tokens }]);
            }
        }
        seen.clone()
    };
    assert_eq!(turn(&mut scheduler, at(0)), [1, 2]);
    // The next job of group a is limited, the jobs behind it are not.
    scheduler.apply([ready(3, 5, Some("a")), ready(4, 5, Some("c")), ready(5, 5, None)]);
    let after = turn(&mut scheduler, at(10));
    assert!(after.contains(&4) && after.contains(&5) && !after.contains(&3), "{after:?}");
    assert!(scheduler.chores(at(10)).wait.unwrap() <= Duration::from_millis(991));
    scheduler.chores(at(1_001));
    assert!(turn(&mut scheduler, at(1_001)).contains(&3));
}

/// Its number can be the one of another queue next, which has no overrides.
#[test]
fn nothing_that_an_operator_has_set_outlives_a_removed_queue() {
    let mut scheduler = open(3);
    let overrides = Overrides::new().concurrency(1).rate(Rate::per_second(1));
    let steered = Steered { overrides, paused_kinds: [KIND].into() };
    scheduler.apply([Change::Steered { queue: QUEUE, steered: Arc::new(steered), now: at(1) }]);
    answer_pages(&mut scheduler, &[], at(1));
    scheduler.apply([ready(1, 5, None), ready(2, 5, None), ready(3, 5, None)]);
    assert_eq!(ids(&start(&mut scheduler, at(2))), [0; 0], "the kind is paused");
    let gone = |id| Change::Gone {
        queue: QUEUE,
        grouped: false,
        order: Order { priority: 5, position: id },
        id: JobId::new(id),
    };
    scheduler.apply([gone(1), gone(2), gone(3), Change::QueueRemoved { queue: QUEUE, now: at(3) }]);
    answer_pages(&mut scheduler, &[], at(3));
    scheduler.apply([ready(4, 5, None), ready(5, 5, None), ready(6, 5, None)]);
    assert_eq!(ids(&start(&mut scheduler, at(4))), [4, 5, 6]);
}

#[test]
fn a_withdrawn_job_does_not_start_until_it_is_reinstated() {
    let mut scheduler = open(10);
    scheduler.apply([ready(1, 5, None), ready(2, 5, None)]);
    assert!(scheduler.withdraw(JobId::new(1)));
    assert_eq!(ids(&start(&mut scheduler, at(0))), [2]);
    assert!(!scheduler.withdraw(JobId::new(2)), "a handler has it");
    scheduler.reinstate(JobId::new(1));
    assert_eq!(ids(&start(&mut scheduler, at(0))), [1]);
}

#[test]
fn a_job_cancelled_while_withdrawn_never_starts() {
    let mut scheduler = open(10);
    scheduler.apply([ready(1, 5, None)]);
    scheduler.withdraw(JobId::new(1));
    assert!(start(&mut scheduler, at(0)).is_empty());
    let order = Order { priority: 5, position: 1 };
    scheduler.apply([Change::Gone { queue: QUEUE, grouped: false, order, id: JobId::new(1) }]);
    scheduler.reinstate(JobId::new(1));
    assert!(start(&mut scheduler, at(0)).is_empty());
}

#[test]
fn nothing_starts_while_too_many_ends_wait_for_the_disk() {
    let mut scheduler = open(usize::MAX);
    scheduler.set_running_max(usize::MAX);
    for id in 1..=UNSETTLED_MAX as u64 {
        scheduler.apply([ready(id, 5, None)]);
        let started = start(&mut scheduler, at(0));
        assert!(scheduler.finished(started[0].run));
    }
    scheduler.apply([ready(1_000_000, 5, None)]);
    assert!(start(&mut scheduler, at(0)).is_empty());
    scheduler.apply([Change::Settled { id: JobId::new(1) }]);
    assert_eq!(start(&mut scheduler, at(0)).len(), 1);
}

#[test]
fn nothing_starts_while_too_many_bytes_of_ends_wait_for_the_disk() {
    let mut scheduler = open(usize::MAX);
    scheduler.set_running_max(usize::MAX);
    let ready = |id: u64| {
        let record = ready_job(id, 5, None).record.clone();
        Change::Ready { queue: QUEUE, job: Arc::new(ReadyJob::new(JobId::new(id), id, record, 1 << 20)) }
    };
    let mut finished = 0;
    // Each end holds 2 MiB with its result.
    for id in 1..=100 {
        scheduler.apply([ready(id)]);
        let started = start(&mut scheduler, at(0));
        let Some(first) = started.first() else { break };
        assert!(scheduler.finished(first.run));
        scheduler.ends_with(first.run, 1 << 20);
        finished += 1;
    }
    assert_eq!(finished, UNSETTLED_BYTES_MAX >> 21);
    scheduler.apply([Change::Settled { id: JobId::new(1) }]);
    assert_eq!(start(&mut scheduler, at(0)).len(), 1);
    // Jobs that are given back no longer count either.
    for id in 2..=finished as u64 {
        scheduler.apply([Change::Settled { id: JobId::new(id) }]);
    }
    scheduler.apply([ready(1_000)]);
    let started = start(&mut scheduler, at(0));
    assert_eq!(started.len(), 1);
    assert!(scheduler.finished(started[0].run));
}

#[test]
fn a_long_run_is_reported_once_for_a_start_mark() {
    let mut scheduler = open(10);
    scheduler.apply([ready(1, 5, None), ready(2, 5, None)]);
    let started = start(&mut scheduler, at(0));
    let age = Duration::from_millis(10);
    assert!(scheduler.long_running(at(5), age).is_empty());
    end(&mut scheduler, &started[0]);
    assert_eq!(scheduler.long_running(at(10), age), [started[1].run]);
    assert!(scheduler.long_running(at(30), age).is_empty());
}

#[test]
fn nothing_starts_before_the_first_pages_of_both_tables_are_read() {
    let limits = WindowLimits { jobs_max: 8, bytes_max: 1 << 20, mark_after: Duration::from_millis(10) };
    let mut scheduler = Scheduler::new(100, limits);
    scheduler.open_queue(QUEUE, settings(1), at(0));
    assert!(start(&mut scheduler, at(0)).is_empty());
    let mut refills = scheduler.chores(at(0)).refills;
    refills.sort_by_key(|refill| refill.grouped);
    scheduler.refilled(refills[0], vec![ready_job(1, 5, None)], true);
    assert!(start(&mut scheduler, at(0)).is_empty(), "a head may be more urgent");
    scheduler.refilled(refills[1], vec![ready_job(2, 0, Some("a"))], true);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [2]);
}

/// A job that its rate holds back starts when the wait is over, although nothing else happens: the scheduler tells the
/// dispatcher when to run again, and the dispatcher then finds the job.
#[test]
fn jobs_that_wait_for_a_rate_start_when_the_wait_is_over() {
    for group in [None, Some("g")] {
        let rate = Some(Rate::per_second(20));
        let limited = WorkerLimits {
            rate: rate.filter(|_| group.is_none()),
            group_rate: rate.filter(|_| group.is_some()),
            ..settings(10)
        };
        let mut scheduler = open_with(limited);
        scheduler.apply([ready(1, 5, group)]);
        let (mut now, mut started) = (0, Vec::new());
        // Each round is a round of the dispatcher, and a sleep for as long as the scheduler says.
        for _ in 0..20 {
            for one in start(&mut scheduler, at(now)) {
                started.push((one.job.id.get(), now));
                end(&mut scheduler, &one);
                scheduler.apply([ready(one.job.id.get() + 1, 5, group)]);
            }
            scheduler.long_running(at(now), Duration::from_millis(10));
            let chores = scheduler.chores(at(now));
            for reservation in chores.reserve {
                scheduler.apply([Change::Reserved { key: reservation.key, tokens: reservation.tokens }]);
            }
            let is_woken = scheduler.have_chores_changed();
            if !is_woken {
                let Some(wait) = chores.wait else { break };
                now += wait.as_micros().div_ceil(1_000) as u64;
            }
        }
        let expected: Vec<_> = (0..started.len() as u64).map(|n| (n + 1, n * 50)).collect();
        assert!(started.len() > 3, "{group:?}: {started:?}");
        assert_eq!(started, expected, "{group:?}");
    }
}

#[test]
fn a_suspect_on_its_last_attempt_runs_alone_for_at_most_a_second() {
    let mut scheduler = open(10);
    scheduler.restore_crashed(trial(&[on_its_last(suspect(7, None)), on_its_last(suspect(8, None))]), 4);
    scheduler.apply([ready(1, 0, None), ready(2, 0, None)]);
    let first = start(&mut scheduler, at(0));
    assert_eq!(ids(&first), [7]);
    assert!(first[0].alone && first[0].commit_first);
    assert_eq!(ids(&start(&mut scheduler, at(999))), [0; 0]);
    assert_eq!(
        scheduler.why(QUEUE, (JobId::new(1), &record(5, None)), None, at(999)),
        Blocked::Recovering(Duration::from_millis(1))
    );
    let others = start(&mut scheduler, at(1_000));
    assert_eq!(ids(&others), [8, 1]);
    assert!(others.iter().all(|start| start.commit_first && !start.alone));
    // The commit of the first start beside it notes that it no longer runs alone.
    assert_eq!(scheduler.marked(others[0].run), Some(JobId::new(7)));
    assert_eq!(scheduler.marked(others[1].run), None);
}

#[test]
fn a_suspect_with_attempts_left_does_not_delay_other_jobs() {
    let mut scheduler = open(10);
    scheduler.restore_crashed(trial(&[suspect(7, None), suspect(8, None)]), 0);
    scheduler.apply([ready(1, 0, None), ready(2, 0, None)]);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [7, 1, 2]);
    assert_eq!(
        scheduler.why(QUEUE, (JobId::new(8), &record(5, None)), None, at(0)),
        Blocked::Recovering(Duration::from_secs(1))
    );
    assert_eq!(ids(&start(&mut scheduler, at(999))), [0; 0]);
    assert_eq!(ids(&start(&mut scheduler, at(1_000))), [8]);
}

#[test]
fn the_next_suspect_starts_as_soon_as_the_one_before_has_ended() {
    let mut scheduler = open(10);
    scheduler.restore_crashed(trial(&[on_its_last(suspect(7, None)), on_its_last(suspect(8, None))]), 0);
    let first = start(&mut scheduler, at(0));
    assert_eq!(ids(&first), [7]);
    end(&mut scheduler, &first[0]);
    let second = start(&mut scheduler, at(1));
    assert_eq!(ids(&second), [8]);
    assert!(second[0].alone);
}

#[test]
fn a_suspect_on_its_last_attempt_waits_for_running_jobs_only_for_a_limited_time() {
    for ends in [false, true] {
        let mut scheduler = open(10);
        scheduler.apply([ready(1, 0, None)]);
        let running = start(&mut scheduler, at(0));
        // Its worker was started after the other one.
        scheduler.restore_crashed(trial(&[on_its_last(suspect(7, None))]), 0);
        scheduler.apply([ready(2, 0, None)]);
        assert_eq!(ids(&start(&mut scheduler, at(10))), [0; 0]);
        if ends {
            end(&mut scheduler, &running[0]);
            let tried = start(&mut scheduler, at(100));
            assert_eq!(ids(&tried), [7]);
            assert!(tried[0].alone);
        } else {
            assert_eq!(ids(&start(&mut scheduler, at(509))), [0; 0]);
            let tried = start(&mut scheduler, at(510));
            assert_eq!(ids(&tried), [7, 2]);
            assert!(!tried[0].alone);
        }
    }
}

#[test]
fn after_a_crash_others_start_one_at_a_time_for_a_second() {
    let mut scheduler = open(100);
    scheduler.restore_crashed(Trial::default(), 100);
    scheduler.apply((1..=50).map(|id| ready(id, 5, None)));
    let first = start(&mut scheduler, at(0));
    assert_eq!(ids(&first), [1]);
    assert_eq!(ids(&start(&mut scheduler, at(19))), [0; 0]);
    assert_eq!(ids(&start(&mut scheduler, at(20))), [2], "the one before has run for 20 ms");
    end(&mut scheduler, &first[0]);
    assert_eq!(ids(&start(&mut scheduler, at(21))), [0; 0]);
    let third = start(&mut scheduler, at(40));
    assert_eq!(ids(&third), [3]);
    end(&mut scheduler, &third[0]);
    assert_eq!(ids(&start(&mut scheduler, at(41))), [4], "the one before has ended");
    let rest = start(&mut scheduler, at(1_000));
    assert_eq!(ids(&rest), [5, 6, 7, 8], "all that the window holds");
    assert!(rest.iter().all(|start| start.commit_first), "still with care");
}

/// Otherwise a job that kills the process at its start is never known if two jobs start before it each time.
#[test]
fn in_the_first_second_after_a_crash_every_start_is_durable_first() {
    let mut scheduler = open(100);
    scheduler.restore_crashed(Trial::default(), 2);
    scheduler.apply((1..=4).map(|id| ready(id, 5, None)));
    let first = start(&mut scheduler, at(0));
    assert_eq!(ids(&first), [1]);
    end(&mut scheduler, &first[0]);
    let others = start(&mut scheduler, at(1));
    assert_eq!(ids(&others), [2, 3, 4], "the second careful one, and no longer one at a time");
    assert!(others.iter().all(|start| start.commit_first), "durable first, although there are more than two");
    others.iter().for_each(|start| end(&mut scheduler, start));
    scheduler.apply([ready(5, 5, None)]);
    let later = start(&mut scheduler, at(1_001));
    assert_eq!(ids(&later), [5]);
    assert!(!later[0].commit_first, "the second is over");
}

#[test]
fn a_suspect_whose_group_is_held_does_not_delay_other_jobs() {
    let mut scheduler = open(10);
    scheduler.restore_crashed(trial(&[on_its_last(suspect(7, Some("held")))]), 0);
    let key = BucketKey { queue: QUEUE, group: Some("held".into()) };
    scheduler.apply([Change::Limited { key, until: at(60_000) }, ready(1, 5, None), ready(2, 5, None)]);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [1, 2]);
    scheduler.apply([ready(3, 5, None)]);
    assert_eq!(ids(&start(&mut scheduler, at(1))), [3]);
}

#[test]
fn a_suspect_whose_group_has_a_rate_is_tried_alone_too() {
    let settings = WorkerLimits { group_rate: Some(Rate::per_second(5)), ..settings(10) };
    let mut scheduler = open_with(settings);
    scheduler.restore_crashed(trial(&[on_its_last(suspect(7, Some("g")))]), 0);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [0; 0]);
    let reservations = scheduler.chores(at(0)).reserve;
    let [Reservation { key, tokens }] = &reservations[..] else { panic!("{reservations:?}") };
    scheduler.apply([Change::Reserved { key: key.clone(), tokens: *tokens }, ready(9, 0, None)]);
    let starts = start(&mut scheduler, at(0));
    assert_eq!(ids(&starts), [7]);
    assert!(starts[0].alone && starts[0].commit_first);
    assert_eq!(ids(&start(&mut scheduler, at(1_000))), [9]);
}

#[test]
fn a_suspect_that_waits_for_its_group_starts_when_the_group_opens() {
    let mut scheduler = open(10);
    scheduler.restore_crashed(trial(&[suspect(7, Some("g"))]), 0);
    scheduler.apply([Change::Limited { key: BucketKey { queue: QUEUE, group: Some("g".into()) }, until: at(300) }]);
    assert_eq!(ids(&start(&mut scheduler, at(0))), [0; 0]);
    assert_eq!(scheduler.chores(at(0)).wait, Some(Duration::from_millis(300)));
    assert_eq!(ids(&start(&mut scheduler, at(300))), [7]);
}

#[test]
fn a_suspect_that_waits_for_a_thread_starts_when_another_queue_frees_one() {
    const OTHER: QueueId = QUEUE + 1;
    let blocking = WorkerLimits { blocking: [KIND].into_iter().collect(), ..settings(10) };
    let mut scheduler = open_with(blocking.clone());
    scheduler.set_threads_max(1);
    scheduler.open_queue(OTHER, blocking.clone(), at(0));
    answer_pages(&mut scheduler, &[], at(0));
    scheduler.restore_crashed(trial(&[suspect(7, None)]), 0);
    scheduler.close_queue(QUEUE);
    scheduler.apply([20, 21].map(|id| Change::Ready { queue: OTHER, job: ready_job(id, 5, None) }));
    let first = start(&mut scheduler, at(0));
    assert_eq!(ids(&first), [20]);
    scheduler.open_queue(QUEUE, blocking, at(0));
    answer_pages(&mut scheduler, &[], at(0));
    assert_eq!(ids(&start(&mut scheduler, at(1))), [0; 0]);
    assert_eq!(scheduler.why(QUEUE, (JobId::new(7), &record(5, None)), None, at(1)), Blocked::NoThread);
    end(&mut scheduler, &first[0]);
    assert_eq!(ids(&start(&mut scheduler, at(2))), [7], "ahead of the queue that waits for a thread");
}

#[test]
fn a_delayed_start_mark_does_not_delay_the_marks_of_other_runs() {
    let mut scheduler = open(10);
    scheduler.apply([ready(1, 5, None), ready(2, 5, None)]);
    let started = start(&mut scheduler, at(0));
    scheduler.not_marked(started[1].run, at(5));
    let due = scheduler.long_running(at(10), Duration::from_millis(10));
    assert!(due.contains(&started[0].run), "{due:?}");
}

#[test]
fn the_dispatcher_sleeps_while_a_suspect_waits_for_its_queues_rate() {
    for others in [0, 1] {
        let hourly = Rate::new(1, Duration::from_secs(3_600)).burst(1);
        let mut scheduler = open_with(WorkerLimits { rate: Some(hourly), ..settings(10) });
        scheduler.take_tokens(&BucketKey { queue: QUEUE, group: None }, 1, at(0)).unwrap();
        scheduler.restore_crashed(trial(&[suspect(7, None)]), 0);
        scheduler.apply((0..others).map(|id| ready(20 + id, 5, None)));
        // Rounds that have another cause, each at a later time.
        let mut woken = 0;
        for look in 0..100 {
            assert_eq!(ids(&start(&mut scheduler, at(look))), [0; 0]);
            woken += u32::from(scheduler.have_chores_changed());
            let wait = scheduler.chores(at(look)).wait.expect("it is to be looked at again");
            assert!(wait > Duration::from_secs(3_599) && wait <= Duration::from_secs(3_600), "{wait:?}");
        }
        assert!(woken < 5, "it was woken by its own look {woken} times");
    }
}

#[test]
fn a_suspect_that_is_withdrawn_and_reinstated_stays_a_suspect() {
    let mut scheduler = open(10);
    scheduler.restore_crashed(trial(&[suspect(7, None)]), 0);
    assert!(scheduler.withdraw(JobId::new(7)));
    assert_eq!(ids(&start(&mut scheduler, at(0))), [0; 0]);
    scheduler.reinstate(JobId::new(7));
    let starts = start(&mut scheduler, at(0));
    assert_eq!(ids(&starts), [7]);
    assert!(starts[0].alone);
}

#[test]
fn a_suspect_that_was_handed_out_and_did_not_start_is_tried_again() {
    let mut scheduler = open(10);
    let suspect = on_its_last(suspect(7, None));
    scheduler.restore_crashed(trial(std::slice::from_ref(&suspect)), 0);
    let first = start(&mut scheduler, at(0));
    scheduler.given_back(first[0].run, suspect.job);
    scheduler.apply([ready(9, 0, None)]);
    let again = start(&mut scheduler, at(0));
    assert_eq!(ids(&again), [7]);
    assert!(again[0].alone);
    assert_eq!(ids(&start(&mut scheduler, at(999))), [0; 0]);
}

#[test]
fn a_cancelled_suspect_does_not_keep_a_slot() {
    let mut scheduler = open(1);
    scheduler.restore_crashed(trial(&[suspect(7, None), suspect(8, None)]), 0);
    let first = start(&mut scheduler, at(0));
    scheduler.apply([ready(1, 5, None)]);
    end(&mut scheduler, &first[0]);
    scheduler.withdraw(JobId::new(8));
    let order = Order { priority: 5, position: 8 };
    scheduler.apply([Change::Gone { queue: QUEUE, grouped: false, order, id: JobId::new(8) }]);
    scheduler.reinstate(JobId::new(8));
    assert_eq!(ids(&start(&mut scheduler, at(1))), [1]);
}

/// Adds queues that have nothing to do. Some of them have a rate or delayed jobs.
fn beside_idle_queues(scheduler: &mut Scheduler, queues: u32) {
    for queue in 100..100 + queues {
        scheduler.restore(queue, false, None, at(0));
        let rate = queue.is_multiple_of(3).then(|| Rate::per_second(1));
        scheduler.open_queue(queue, WorkerLimits { rate, ..settings(1) }, at(0));
        if queue.is_multiple_of(2) {
            let later = crate::time::Due::after(at(0), Duration::from_secs(3_600));
            scheduler.apply([Change::Due { queue, due: later }]);
        }
    }
    // Until all their pages and promotions are answered.
    loop {
        start(scheduler, at(0));
        let chores = scheduler.chores(at(0));
        let is_done = chores.refills.is_empty() && chores.promote.is_empty();
        chores.refills.into_iter().for_each(|refill| scheduler.refilled(refill, Vec::new(), true));
        let due = crate::time::Due::after(at(0), Duration::from_secs(3_600));
        let next_due = [None, Some(due)];
        for queue in chores.promote {
            scheduler.apply([Change::Promoted { queue, next_due }]);
        }
        if is_done && !scheduler.have_chores_changed() {
            return;
        }
    }
}

#[test]
fn a_single_job_costs_the_same_beside_any_number_of_idle_queues() {
    let looks = |queues| {
        let mut scheduler = open(10);
        scheduler.restore_crashed(trial(&[suspect(7, Some("nobody has a worker for this one"))]), 0);
        beside_idle_queues(&mut scheduler, queues);
        let before = scheduler.queues.accesses();
        for id in 1..=10 {
            scheduler.apply([ready(id, 5, None)]);
            let started = start(&mut scheduler, at(id));
            scheduler.chores(at(id));
            started.iter().for_each(|start| end(&mut scheduler, start));
            start(&mut scheduler, at(id));
            scheduler.chores(at(id));
            assert!(scheduler.is_quiet(at(id)));
        }
        scheduler.queues.accesses() - before
    };
    assert_eq!(looks(10), looks(3_000));
}

/// A group that was passed over because too many groups waited starts when its bucket is filled by a call.
#[test]
fn a_group_that_was_passed_over_starts_when_its_bucket_is_filled() {
    let hourly = Some(Rate::per_hour(1));
    let mut scheduler = open_with(WorkerLimits { group_rate: hourly, ..settings(100) });
    let groups: Vec<String> = (0..20).map(|n| format!("g{n}")).collect();
    for (id, group) in (1..).zip(&groups) {
        scheduler.take_tokens(&BucketKey { queue: QUEUE, group: Some(group.as_str().into()) }, 1, at(0)).unwrap();
        scheduler.apply([ready(id, 5, Some(group))]);
    }
    let rows: Vec<_> = (1..).zip(&groups).map(|(id, group)| ready_job(id, 5, Some(group))).collect();
    let mut started = Vec::new();
    let mut look = |scheduler: &mut Scheduler| {
        for _ in 0..30 {
            started.extend(ids(&start(scheduler, at(0))));
            let chores = scheduler.chores(at(0));
            for refill in chores.refills {
                let behind = rows.iter().filter(|row| refill.grouped && refill.after.is_none_or(|at| row.order > at));
                let page: Vec<_> = behind.take(refill.jobs_max).cloned().collect();
                let is_last = page.last().is_none_or(|row| row.id.get() == 20);
                scheduler.refilled(refill, page, is_last);
            }
            for Reservation { key, tokens } in chores.reserve {
                scheduler.apply([Change::Reserved { key, tokens }]);
            }
        }
        started.clone()
    };
    assert_eq!(look(&mut scheduler), [0; 0]);
    for n in [0, 19] {
        scheduler.fill_bucket(&BucketKey { queue: QUEUE, group: Some(groups[n].as_str().into()) }, at(0));
    }
    assert_eq!(look(&mut scheduler), [1, 20]);
}

/// Calls fill buckets all the time, so the table is always to be read again. The scan of the table reaches its end all the
/// same.
#[test]
fn a_job_behind_many_limited_groups_is_reached_although_the_table_is_to_be_read_again() {
    let hourly = Some(Rate::per_hour(1));
    let mut scheduler = open_with(WorkerLimits { group_rate: hourly, ..settings(100) });
    let key = |group: &str| BucketKey { queue: QUEUE, group: Some(group.into()) };
    let groups: Vec<String> = (0..61).map(|n| format!("g{n}")).collect();
    groups[..60].iter().for_each(|group| assert_eq!(scheduler.take_tokens(&key(group), 1, at(0)), Ok(true)));
    let rows: Vec<_> = (1..).zip(&groups).map(|(id, group)| ready_job(id, 5, Some(group))).collect();
    scheduler.read_again(QUEUE);
    let mut started = Vec::new();
    let mut look = |scheduler: &mut Scheduler| {
        for _ in 0..100 {
            started.extend(ids(&start(scheduler, at(0))));
            let chores = scheduler.chores(at(0));
            for refill in chores.refills {
                let behind = rows.iter().filter(|row| refill.grouped && refill.after.is_none_or(|at| row.order > at));
                let page: Vec<_> = behind.take(refill.jobs_max).cloned().collect();
                let is_last = page.last().is_none_or(|row| row.id.get() == 61);
                scheduler.refilled(refill, page, is_last);
            }
            for Reservation { key, tokens } in chores.reserve {
                scheduler.apply([Change::Reserved { key, tokens }]);
            }
            scheduler.fill_bucket(&key("elsewhere"), at(0));
        }
        started.clone()
    };
    assert_eq!(look(&mut scheduler), [61]);
    scheduler.fill_bucket(&key("g50"), at(0));
    assert_eq!(look(&mut scheduler), [61, 51], "and it is read again then");
}

#[test]
fn suspects_that_cannot_start_are_not_checked_at_each_start_of_another_job() {
    const NO_WORKER: QueueId = 8;
    const FULL: QueueId = 9;
    let mut scheduler = open(10);
    scheduler.open_queue(FULL, settings(1), at(0));
    let of = |queue, kind, ids: std::ops::Range<u64>| {
        ids.map(move |id| {
            let mut record = record(5, None);
            (record.kind, record.extra_mut().crashes) = (kind, 1);
            let job = Arc::new(ReadyJob::new(JobId::new(id), id, record, 32));
            Suspect { queue, job, ..suspect(id, None) }
        })
    };
    let no_worker = of(NO_WORKER, KIND, 1_000..1_100);
    let other_kind = of(QUEUE, 99, 1_100..1_200);
    let suspects: Vec<_> = no_worker.chain(other_kind).chain(of(FULL, KIND, 1_200..1_300)).collect();
    scheduler.restore_crashed(trial(&suspects), 0);
    let others = start(&mut scheduler, at(0));
    assert_eq!(ids(&others).len(), 1, "the slot of one queue is taken by a suspect");
    let before = scheduler.probation.checks();
    for id in 1..=50 {
        scheduler.apply([ready(id, 5, None)]);
        let started = start(&mut scheduler, at(id));
        assert_eq!(ids(&started), [id]);
        scheduler.chores(at(id));
        end(&mut scheduler, &started[0]);
    }
    assert_eq!(scheduler.probation.checks() - before, 0);
    // They are checked as soon as a worker handles them.
    scheduler.open_queue(NO_WORKER, settings(1), at(100));
    assert_eq!(ids(&start(&mut scheduler, at(10_000))), [1_000]);
    let kinds = [KIND, 99].into_iter().collect();
    scheduler.open_queue(QUEUE, WorkerLimits { kinds, ..settings(10) }, at(10_000));
    assert_eq!(ids(&start(&mut scheduler, at(20_000))), [1_100]);
    let paused = |paused| Change::Paused { queue: QUEUE, paused };
    scheduler.apply([paused(true)]);
    assert_eq!(ids(&start(&mut scheduler, at(30_000))), [0; 0]);
    scheduler.apply([paused(false)]);
    assert_eq!(ids(&start(&mut scheduler, at(30_000))), [1_101]);
}

#[test]
fn starts_beside_a_job_that_ran_at_two_deaths_are_durable_first_only_for_a_limited_time() {
    let mut scheduler = open(10);
    let crashed = |id, deaths| {
        let mut record = record(5, None);
        record.extra_mut().crashes = deaths;
        Arc::new(ReadyJob::new(JobId::new(id), id, record, 32))
    };
    scheduler.restore_crashed(trial(&[Suspect { job: crashed(7, 2), ..suspect(7, None) }]), 0);
    let watched = start(&mut scheduler, at(0));
    assert_eq!(ids(&watched), [7]);
    scheduler.marked(watched[0].run);
    let mut is_durable_first = |job: Arc<ReadyJob>, minutes: u64| {
        let id = job.id.get();
        scheduler.apply([Change::Ready { queue: QUEUE, job }]);
        let started = start(&mut scheduler, at(minutes * 60_000));
        assert_eq!(ids(&started), [id]);
        if started[0].commit_first {
            scheduler.marked(started[0].run);
        }
        end(&mut scheduler, &started[0]);
        started[0].commit_first
    };
    let expected = [(0, true), (1, true), (19, true), (20, false), (600, false)];
    for (id, (minutes, expected)) in (100..).zip(expected) {
        assert_eq!(is_durable_first(ready_job(id, 5, None), minutes), expected, "after {minutes} min");
    }
    assert!(is_durable_first(crashed(200, 1), 700), "a job that was there at a death itself");
    assert!(!is_durable_first(ready_job(201, 5, None), 700));
}

#[test]
fn jobs_that_wait_for_a_limit_are_kept_up_to_the_size_of_a_window() {
    let shared = [(KIND, [LimitKey::Kind(QUEUE, KIND)].into())].into_iter().collect();
    let mut scheduler = open_with(WorkerLimits { shared, concurrency_of: vec![(KIND, 1)], ..settings(10) });
    let rows: Vec<_> = (1..=100).map(|id| ready_job(id, 5, None)).collect();
    scheduler.apply(rows.iter().map(|job| Change::Ready { queue: QUEUE, job: job.clone() }));
    let mut started = Vec::new();
    for _ in 0..2_000 {
        let starts = start(&mut scheduler, at(0));
        assert!(scheduler.queues.get(QUEUE).unwrap().rows_held() <= 16);
        assert!(starts.len() <= 1, "the kind has one slot");
        for refill in scheduler.chores(at(0)).refills {
            let left = rows.iter().filter(|job| !started.contains(&job.id.get()) && !refill.grouped);
            let behind = left.filter(|job| refill.after.is_none_or(|after| job.order > after)).cloned();
            let page: Vec<_> = behind.take(refill.jobs_max).collect();
            let end = page.len() < refill.jobs_max;
            scheduler.refilled(refill, page, end);
        }
        for start in &starts {
            started.push(start.job.id.get());
            end(&mut scheduler, start);
        }
    }
    assert_eq!(started, (1..=100).collect::<Vec<_>>());
}
