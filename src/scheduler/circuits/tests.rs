//! Tests of circuits through the scheduler.

use std::sync::Arc;
use std::time::Duration;

use super::of_queue::{GROUPS_MAX, UNUSED_FORGOTTEN_AFTER};
use super::*;
use crate::job::{
    BucketKey, Change, Circuit, CircuitBreaker, CircuitRow, CircuitStep, IdMap, JobId, Opened, QueueId, ReadyJob,
    Record, Suspect, Trial, Verdict,
};
use crate::scheduler::handed_out::{HandedOutJobs, RunId};
use crate::scheduler::{Blocked, LimitKey, Scheduler, Start, WindowLimits, WorkerLimits};
use crate::time::{Now, Timestamp};

const QUEUE: QueueId = 1;
const OPEN_FOR: u64 = 5_000;

fn at(millis: u64) -> Now {
    let time = Timestamp::from_millis(1_000_000 + millis);
    Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_millis(millis) }
}

/// Opens at two failures of the last three.
fn breaker() -> CircuitBreaker {
    CircuitBreaker::failures(0.6).of(3).open_for(Duration::from_millis(OPEN_FOR))
}

fn job(id: u64, group: Option<&str>) -> Arc<ReadyJob> {
    let mut record = Record { kind: 1, ..Record::plain() };
    if let Some(group) = group {
        record.extra_mut().group = Some(group.into());
    }
    Arc::new(ReadyJob::new(JobId::new(id), id, record, 32))
}

fn settings(breaker: Option<CircuitBreaker>, group_breaker: Option<CircuitBreaker>) -> WorkerLimits {
    WorkerLimits {
        kinds: [1].into_iter().collect(),
        concurrency: 100,
        circuit_breaker: breaker,
        group_circuit_breaker: group_breaker,
        ..WorkerLimits::default()
    }
}

fn scheduler_with(settings: WorkerLimits) -> Scheduler {
    let limits = WindowLimits { jobs_max: 8, bytes_max: 1 << 20, mark_after: Duration::from_secs(9) };
    let mut scheduler = Scheduler::new(100, limits);
    scheduler.open_queue(QUEUE, settings, at(0));
    start(&mut scheduler, 0);
    for refill in scheduler.chores(at(0)).refills {
        scheduler.refilled(refill, Vec::new(), true);
    }
    scheduler
}

fn enqueue(scheduler: &mut Scheduler, ids: impl IntoIterator<Item = u64>, group: Option<&str>) {
    scheduler.apply(ids.into_iter().map(|id| Change::Ready { queue: QUEUE, job: job(id, group) }));
}

/// Starts what may start, as the dispatcher does.
fn start(scheduler: &mut Scheduler, millis: u64) -> Vec<Start> {
    scheduler.chores(at(millis));
    scheduler.starts(at(millis), 100).into_iter().collect()
}

fn started(scheduler: &mut Scheduler, millis: u64) -> Vec<u64> {
    start(scheduler, millis).iter().map(|start| start.job.id.get()).collect()
}

fn key(group: Option<&str>) -> BucketKey {
    BucketKey { queue: QUEUE, group: group.map(Arc::from) }
}

/// The handler has returned.
fn returned(scheduler: &mut Scheduler, start: &Start, verdict: Option<Verdict>, millis: u64) -> Vec<CircuitStep> {
    assert!(scheduler.finished(start.run));
    let count = |verdict| scheduler.count_end(start.run, QUEUE, start.job.group(), verdict, at(millis));
    verdict.map(count).unwrap_or_default()
}

/// The end is durable, with what it does to circuits.
fn settle(scheduler: &mut Scheduler, start: &Start, steps: &[CircuitStep]) {
    let changes = steps.iter().map(|step| match step {
        CircuitStep::Open(Opened { key, until, .. }) => Change::CircuitOpened { key: key.clone(), until: *until },
        CircuitStep::Close { key, .. } => Change::CircuitClosed { key: key.clone() },
    });
    scheduler.apply(changes.chain([Change::Settled { id: start.job.id }]));
}

fn end(scheduler: &mut Scheduler, start: &Start, verdict: Option<Verdict>, millis: u64) -> Vec<CircuitStep> {
    let steps = returned(scheduler, start, verdict, millis);
    settle(scheduler, start, &steps);
    steps
}

const FAILED: Option<Verdict> = Some(Verdict::Failure);
const COMPLETED: Option<Verdict> = Some(Verdict::Success);

/// A scheduler whose queue has an open circuit since 0, and further jobs from number 10.
fn open() -> Scheduler {
    let mut scheduler = scheduler_with(settings(Some(breaker()), None));
    enqueue(&mut scheduler, [1, 2], None);
    for start in start(&mut scheduler, 0) {
        end(&mut scheduler, &start, FAILED, 0);
    }
    enqueue(&mut scheduler, 10..14, None);
    scheduler
}

fn why(scheduler: &Scheduler, id: u64, millis: u64) -> Blocked {
    scheduler.why(QUEUE, (JobId::new(id), &job(id, None).record), None, at(millis))
}

#[test]
fn it_opens_at_the_share_of_failures_and_nothing_else_starts() {
    let mut scheduler = scheduler_with(settings(Some(breaker()), None));
    enqueue(&mut scheduler, 1..6, None);
    let starts = start(&mut scheduler, 0);
    assert_eq!(starts.len(), 5);
    enqueue(&mut scheduler, [10], None);
    scheduler.set_concurrency(QUEUE, 5);
    assert_eq!(end(&mut scheduler, &starts[0], FAILED, 0), []);
    assert_eq!(started(&mut scheduler, 0), [10], "one of three is not enough");
    assert_eq!(end(&mut scheduler, &starts[1], COMPLETED, 0), []);
    enqueue(&mut scheduler, [11], None);
    let steps = returned(&mut scheduler, &starts[2], FAILED, 7);
    let until = Now { age: at(7 + OPEN_FOR).age, mono: at(7 + OPEN_FOR).mono, ..at(7) };
    let open_for = Duration::from_millis(OPEN_FOR);
    let opened = Opened { key: key(None), until, open_for, failures: 2, ends: 3, probe: None };
    assert_eq!(steps, [CircuitStep::Open(opened)]);
    assert_eq!(started(&mut scheduler, 7), [0; 0], "it is open before that is durable");
    settle(&mut scheduler, &starts[2], &steps);
    assert_eq!(end(&mut scheduler, &starts[3], FAILED, 7), [], "it has started before the circuit was open");
    assert_eq!(started(&mut scheduler, 6 + OPEN_FOR), [0; 0]);
    assert_eq!(why(&scheduler, 11, 6 + OPEN_FOR), Blocked::CircuitOpen(Duration::from_millis(1)));
    assert_eq!(scheduler.chores(at(7)).wait, Some(open_for), "the dispatcher wakes up when it is half open");
    assert_eq!(started(&mut scheduler, 7 + OPEN_FOR), [11]);
}

#[test]
fn only_the_last_ends_count() {
    let mut scheduler = scheduler_with(settings(Some(breaker()), None));
    for (id, verdict) in (1..).zip([FAILED, COMPLETED, COMPLETED, FAILED, COMPLETED, None, COMPLETED, FAILED]) {
        enqueue(&mut scheduler, [id], None);
        let starts = start(&mut scheduler, 0);
        assert_eq!(end(&mut scheduler, &starts[0], verdict, 0), [], "{id}");
    }
    let closed = Circuit::Closed { failures: 1, ends: 3 };
    assert_eq!(scheduler.circuit(&key(None), at(0)), closed);
    scheduler.apply([Change::CircuitClosed { key: key(None) }]);
    assert_eq!(scheduler.circuit(&key(None), at(0)), closed, "it was closed: its window stays");
}

#[test]
fn one_probe_starts_and_its_success_closes_the_circuit_once_it_is_durable() {
    let mut scheduler = open();
    let probe = start(&mut scheduler, OPEN_FOR);
    assert_eq!(probe.len(), 1);
    assert_eq!(why(&scheduler, 11, OPEN_FOR), Blocked::CircuitHalfOpen(JobId::new(10)));
    let steps = returned(&mut scheduler, &probe[0], COMPLETED, OPEN_FOR);
    assert_eq!(steps, [CircuitStep::Close { key: key(None), probe: JobId::new(10) }]);
    assert_eq!(started(&mut scheduler, OPEN_FOR), [0; 0], "it is not durable yet");
    settle(&mut scheduler, &probe[0], &steps);
    assert_eq!(scheduler.circuit(&key(None), at(OPEN_FOR)), Circuit::Closed { failures: 0, ends: 0 });
    assert_eq!(started(&mut scheduler, OPEN_FOR), [11, 12, 13]);
}

#[test]
fn a_failed_probe_opens_the_circuit_for_the_same_time() {
    let mut scheduler = open();
    let probe = start(&mut scheduler, OPEN_FOR + 100);
    let steps = end(&mut scheduler, &probe[0], FAILED, OPEN_FOR + 200);
    assert!(matches!(&steps[..], [CircuitStep::Open(Opened { probe: Some(_), failures: 1, ends: 1, .. })]));
    assert_eq!(started(&mut scheduler, 2 * OPEN_FOR + 199), [0; 0]);
    assert_eq!(started(&mut scheduler, 2 * OPEN_FOR + 200), [11]);
}

#[test]
fn a_probe_without_a_verdict_is_followed_by_another() {
    let mut scheduler = open();
    let first = start(&mut scheduler, OPEN_FOR);
    returned(&mut scheduler, &first[0], None, OPEN_FOR);
    assert_eq!(started(&mut scheduler, OPEN_FOR), [0; 0]);
    scheduler.apply([Change::Returned { job: first[0].job.clone() }]);
    let second = start(&mut scheduler, OPEN_FOR);
    assert_eq!((second.len(), second[0].job.id), (1, JobId::new(10)), "it is at its place again");
    scheduler.given_back(second[0].run, second[0].job.clone());
    let third = start(&mut scheduler, OPEN_FOR);
    assert_eq!(third.len(), 1);
    // Put off, or cancelled.
    assert_eq!(end(&mut scheduler, &third[0], None, OPEN_FOR), []);
    assert_eq!(started(&mut scheduler, OPEN_FOR), [11]);
}

#[test]
fn a_completion_whose_writes_fail_counts_as_a_failure() {
    let mut scheduler = scheduler_with(settings(Some(breaker()), None));
    enqueue(&mut scheduler, [1, 2], None);
    let starts = start(&mut scheduler, 0);
    for (start, opens) in starts.iter().zip([false, true]) {
        assert_eq!(returned(&mut scheduler, start, COMPLETED, 0), []);
        let steps = scheduler.count_end(start.run, QUEUE, None, Verdict::FailureAfterAll, at(0));
        assert_eq!(!steps.is_empty(), opens);
        let counted_once = Circuit::Closed { failures: 1, ends: 1 };
        assert!(opens || scheduler.circuit(&key(None), at(0)) == counted_once);
        settle(&mut scheduler, start, &steps);
    }
    enqueue(&mut scheduler, [10, 11], None);
    let probe = start(&mut scheduler, OPEN_FOR);
    let steps = returned(&mut scheduler, &probe[0], COMPLETED, OPEN_FOR);
    assert!(matches!(&steps[..], [CircuitStep::Close { .. }]));
    let steps = scheduler.count_end(probe[0].run, QUEUE, None, Verdict::FailureAfterAll, at(OPEN_FOR));
    settle(&mut scheduler, &probe[0], &steps);
    assert_eq!(started(&mut scheduler, 2 * OPEN_FOR - 1), [0; 0], "the probe has failed after all");
    assert_eq!(started(&mut scheduler, 2 * OPEN_FOR), [11]);
}

#[test]
fn a_group_is_held_and_the_others_are_not() {
    let mut scheduler = scheduler_with(settings(None, Some(breaker())));
    for id in [1, 2] {
        enqueue(&mut scheduler, [id], Some("bad"));
        let starts = start(&mut scheduler, 0);
        end(&mut scheduler, &starts[0], FAILED, 0);
    }
    enqueue(&mut scheduler, [3], Some("bad"));
    enqueue(&mut scheduler, [4], Some("good"));
    enqueue(&mut scheduler, [5], None);
    assert_eq!(started(&mut scheduler, 0).len(), 2);
    let probe = start(&mut scheduler, OPEN_FOR);
    assert_eq!(probe[0].job.id, JobId::new(3));
    enqueue(&mut scheduler, [6], Some("bad"));
    assert_eq!(started(&mut scheduler, OPEN_FOR), [0; 0]);
    end(&mut scheduler, &probe[0], None, OPEN_FOR);
    let probe = start(&mut scheduler, OPEN_FOR);
    assert_eq!(probe[0].job.id, JobId::new(6), "the parked head is the next probe");
    end(&mut scheduler, &probe[0], COMPLETED, OPEN_FOR);
    let circuits = scheduler.circuit(&key(Some("bad")), at(OPEN_FOR));
    assert_eq!(circuits, Circuit::Closed { failures: 0, ends: 0 });
}

#[test]
fn a_stored_circuit_holds_the_next_worker_and_one_without_a_breaker_drops_it() {
    for has_breaker in [true, false] {
        let limits = WindowLimits { jobs_max: 8, bytes_max: 1 << 20, mark_after: Duration::from_secs(9) };
        let mut scheduler = Scheduler::new(100, limits);
        for group in [None, Some("g")] {
            scheduler.restore_circuit(&key(group), CircuitRow { until: at(OPEN_FOR).age }, at(0));
        }
        let breaker = has_breaker.then(breaker);
        scheduler.open_queue(QUEUE, settings(breaker, breaker), at(0));
        let forgotten = scheduler.chores(at(0)).forget_circuits;
        let all = [key(None), key(Some("g"))];
        assert_eq!(forgotten, if has_breaker { &[][..] } else { &all });
        assert!(forgotten.iter().all(|key| scheduler.forget_circuit(key, at(0))));
        let open = Circuit::Open { wait: Duration::from_millis(OPEN_FOR) };
        let is = if has_breaker { open } else { Circuit::Closed { failures: 0, ends: 0 } };
        assert_eq!((scheduler.circuit(&all[0], at(0)), scheduler.circuit(&all[1], at(0))), (is, is));
    }
}

#[test]
fn an_end_of_an_earlier_worker_counts_for_nothing() {
    let mut scheduler = scheduler_with(settings(Some(breaker()), None));
    enqueue(&mut scheduler, [1, 2, 3], None);
    let starts = start(&mut scheduler, 0);
    scheduler.close_queue(QUEUE);
    end(&mut scheduler, &starts[0], FAILED, 0);
    let steps = returned(&mut scheduler, &starts[1], FAILED, 0);
    assert_eq!(steps.len(), 1, "running jobs finish under the worker that was stopped");
    scheduler.open_queue(QUEUE, settings(None, None), at(0));
    scheduler.chores(at(0));
    settle(&mut scheduler, &starts[1], &steps);
    assert!(scheduler.chores(at(0)).forget_circuits.contains(&key(None)), "the row was written late");
    scheduler.close_queue(QUEUE);
    scheduler.open_queue(QUEUE, settings(Some(breaker().of(1)), None), at(0));
    assert_eq!(end(&mut scheduler, &starts[2], FAILED, 0), []);
}

#[test]
fn it_is_closed_by_hand_while_it_is_open_or_a_probe_runs() {
    let mut scheduler = open();
    scheduler.apply([Change::CircuitClosed { key: key(None) }]);
    assert_eq!(started(&mut scheduler, 0), [10, 11, 12, 13]);
    let mut scheduler = open();
    let probe = start(&mut scheduler, OPEN_FOR);
    scheduler.apply([Change::CircuitClosed { key: key(None) }]);
    assert_eq!(started(&mut scheduler, OPEN_FOR), [11, 12, 13]);
    assert_eq!(end(&mut scheduler, &probe[0], FAILED, OPEN_FOR), []);
    let window = scheduler.circuit(&key(None), at(OPEN_FOR));
    assert_eq!(window, Circuit::Closed { failures: 0, ends: 0 }, "it started before the circuit was closed");
}

#[test]
fn a_queue_that_waits_for_a_probe_does_not_keep_its_turn_at_a_limit() {
    let shared: IdMap<Arc<[LimitKey]>, u32> = [(1, vec![LimitKey::Named(0)].into())].into_iter().collect();
    let mut scheduler = scheduler_with(WorkerLimits { shared: shared.clone(), ..settings(Some(breaker()), None) });
    scheduler.set_limit(0, 1);
    enqueue(&mut scheduler, [1], None);
    let first = start(&mut scheduler, 0);
    enqueue(&mut scheduler, [2, 3, 4], None);
    assert_eq!(started(&mut scheduler, 0), [0; 0], "the queue waits for the limit");
    end(&mut scheduler, &first[0], FAILED, 0);
    let second = start(&mut scheduler, 0);
    scheduler.open_queue(2, WorkerLimits { shared, ..settings(None, None) }, at(0));
    start(&mut scheduler, 0);
    for refill in scheduler.chores(at(0)).refills {
        scheduler.refilled(refill, Vec::new(), true);
    }
    scheduler.apply([Change::Ready { queue: 2, job: job(20, None) }]);
    assert_eq!(started(&mut scheduler, 0), [0; 0]);
    end(&mut scheduler, &second[0], FAILED, 0);
    let other = start(&mut scheduler, 0);
    assert_eq!(other[0].job.id, JobId::new(20));
    assert!(scheduler.finished(other[0].run));
    scheduler.apply([Change::Settled { id: other[0].job.id }]);
    let probe = start(&mut scheduler, OPEN_FOR);
    assert_eq!((probe.len(), probe[0].job.id), (1, JobId::new(3)));
    scheduler.apply([Change::Ready { queue: 2, job: job(21, None) }]);
    assert_eq!(started(&mut scheduler, OPEN_FOR), [0; 0]);
    returned(&mut scheduler, &probe[0], COMPLETED, OPEN_FOR);
    assert_eq!(started(&mut scheduler, OPEN_FOR), [21], "the success of the probe is not durable yet");
}

#[test]
fn a_suspect_waits_for_its_circuit_and_is_the_probe() {
    let mut scheduler = open();
    let mut record = job(1, None).record.clone();
    record.extra_mut().crashes = 1;
    let suspect = Suspect {
        queue: QUEUE,
        job: Arc::new(ReadyJob::new(JobId::new(1), 1, record, 32)),
        started_at: Timestamp::from_millis(1),
        is_last_attempt: false,
        is_held_back: false,
    };
    scheduler.restore_crashed(Trial::new(vec![suspect], Some(at(0).wall)), 0);
    assert_eq!(started(&mut scheduler, OPEN_FOR - 1), [0; 0]);
    let probe = start(&mut scheduler, OPEN_FOR);
    assert_eq!((probe.len(), probe[0].job.id), (1, JobId::new(1)));
    end(&mut scheduler, &probe[0], COMPLETED, OPEN_FOR);
    assert_eq!(started(&mut scheduler, OPEN_FOR), [10, 11, 12, 13]);
}

#[test]
fn a_queue_without_a_breaker_has_no_circuits() {
    let mut scheduler = scheduler_with(settings(None, None));
    enqueue(&mut scheduler, 1..4, None);
    for start in start(&mut scheduler, 0) {
        assert_eq!(end(&mut scheduler, &start, FAILED, 0), []);
    }
    assert!(scheduler.queues.get(QUEUE).unwrap().circuits.is_none());
}

fn runs(count: u64) -> Vec<RunId> {
    let mut handed_out = HandedOutJobs::default();
    (1..=count).map(|id| handed_out.hand_out(QUEUE, &job(id, None), false, None, at(0))).collect()
}

#[test]
fn the_number_of_groups_is_bounded() {
    let runs = runs(2 * GROUPS_MAX as u64 + 9);
    let mut runs = runs.into_iter();
    let mut circuits = Circuits::default();
    circuits.set_breakers(None, Some(breaker()), 0);
    let mut fail = |circuits: &mut Circuits, group: usize, verdict| {
        let group: Arc<str> = group.to_string().into();
        circuits.ended((QUEUE, Some(&group)), runs.next().unwrap(), verdict, 0, at(0))
    };
    assert_eq!(fail(&mut circuits, 0, Verdict::Success), []);
    assert_eq!(circuits.groups_held(), (0, 0), "a group without a failure needs no memory");
    (0..GROUPS_MAX + 2).for_each(|group| drop(fail(&mut circuits, group, Verdict::Failure)));
    assert_eq!(circuits.groups_held(), (GROUPS_MAX, GROUPS_MAX));
    assert_eq!(fail(&mut circuits, 0, Verdict::Failure), [], "its window was forgotten");
    assert_eq!(fail(&mut circuits, 9, Verdict::Failure).len(), 1);
    assert_eq!(circuits.groups_held(), (GROUPS_MAX, GROUPS_MAX - 1));
    for group in 10..GROUPS_MAX + 2 {
        drop(fail(&mut circuits, group, Verdict::Failure));
    }
    assert_eq!(circuits.groups_held().0, GROUPS_MAX);
}

#[test]
fn a_group_that_was_open_is_forgotten_before_one_with_failures() {
    let mut runs = runs(2 * GROUPS_MAX as u64).into_iter();
    let mut circuits = Circuits::default();
    circuits.set_breakers(None, Some(breaker()), 0);
    let mut end = |circuits: &mut Circuits, group: &str, verdict| {
        circuits.ended((QUEUE, Some(&group.into())), runs.next().unwrap(), verdict, 0, at(0)).len()
    };
    for group in 0..GROUPS_MAX - 1 {
        end(&mut circuits, &group.to_string(), Verdict::Failure);
    }
    circuits.opened(Some(&"was open".into()), Duration::from_millis(1), true, 0);
    circuits.closed(Some(&"was open".into()), 1);
    end(&mut circuits, "new", Verdict::Failure);
    assert_eq!(circuits.groups_held(), (GROUPS_MAX, GROUPS_MAX));
    assert_eq!(end(&mut circuits, "0", Verdict::Failure), 1, "its first failure is still known");
}

#[test]
fn a_group_that_has_no_jobs_any_more_is_forgotten_after_a_day() {
    let mut scheduler = scheduler_with(settings(None, Some(breaker())));
    let steps = [key(Some("g")), key(Some("h"))].map(|key| Change::CircuitOpened { key, until: at(OPEN_FOR) });
    scheduler.apply(steps);
    enqueue(&mut scheduler, [1], Some("h"));
    assert_eq!(started(&mut scheduler, OPEN_FOR), [1], "a probe runs");
    let later = OPEN_FOR + UNUSED_FORGOTTEN_AFTER.as_millis() as u64;
    assert_eq!(scheduler.unused_circuits(9, at(later - 1)), []);
    assert_eq!(scheduler.unused_circuits(9, at(later)), [key(Some("g"))]);
    assert!(!scheduler.forget_circuit(&key(Some("g")), at(later - 1)));
    assert!(scheduler.forget_circuit(&key(Some("g")), at(later)));
    assert_eq!(scheduler.circuit(&key(Some("g")), at(later)), Circuit::Closed { failures: 0, ends: 0 });
}

#[test]
fn a_removed_queue_leaves_no_circuit_to_the_next_one_with_its_number() {
    let mut scheduler = open();
    scheduler.apply([Change::QueueRemoved { queue: QUEUE, now: at(0) }]);
    assert_eq!(scheduler.circuit(&key(None), at(0)), Circuit::Closed { failures: 0, ends: 0 });
    enqueue(&mut scheduler, [50, 51], None);
    start(&mut scheduler, 0);
    for refill in scheduler.chores(at(0)).refills {
        scheduler.refilled(refill, Vec::new(), true);
    }
    enqueue(&mut scheduler, [52, 53], None);
    let starts = start(&mut scheduler, 0);
    end(&mut scheduler, &starts[0], FAILED, 0);
    assert_eq!(end(&mut scheduler, &starts[1], FAILED, 0).len(), 1, "the worker keeps its breaker");
}
