//! Sequences that random operations seldom produce, one promise each.

use std::time::Duration;

use millpond_testkit::{JobSpec, When};

use crate::engine::{Engine, queue_name};
use crate::ops::{Answer, Fate, HOUR, Message, Op, QUEUES};
use crate::{be_quiet_about_panics_on_purpose, run};

const PLAIN: JobSpec = JobSpec::PLAIN;

#[track_caller]
fn holds(ops: &[Op]) {
    be_quiet_about_panics_on_purpose();
    if let Err(why) = run(ops) {
        panic!("{why}");
    }
}

fn grouped(group: u8) -> JobSpec {
    JobSpec { group: Some(group), ..PLAIN }
}

#[test]
fn a_job_that_was_tried_alone_is_not_blamed_once_others_have_started_beside_it() {
    let once = JobSpec { max: Some(1), ..PLAIN };
    let (start, mark) = (Op::StartWorker(0), Op::Advance(10));
    holds(&[
        Op::Enqueue(once),
        start.clone(),
        mark.clone(),
        Op::Crash,
        start,
        Op::Advance(6_000),
        Op::Enqueue(once),
        mark,
        Op::Crash,
    ]);
}

#[test]
fn a_job_that_was_tried_alone_is_not_blamed_for_one_that_kills_before_its_start_is_written() {
    let once = JobSpec { max: Some(1), ..PLAIN };
    // More than one start after the crash, so that start marks are written after the handler is called again.
    let mut ops = vec![Op::SetMaxRunning(2), Op::Enqueue(once), Op::StartWorker(0), Op::Advance(10), Op::Crash];
    ops.extend([Op::StartWorker(0), Op::Advance(6_000)]);
    for _ in 0..6 {
        ops.extend([Op::Enqueue(PLAIN), Op::Answer(1, Answer::Done)]);
    }
    ops.extend([Op::Enqueue(PLAIN), Op::Crash]);
    holds(&ops);
}

#[test]
fn a_suspect_that_is_rate_limited_does_not_hold_up_other_queues() {
    let elsewhere = JobSpec { queue: 1, ..PLAIN };
    holds(&[
        Op::Enqueue(PLAIN),
        Op::Enqueue(PLAIN),
        Op::StartWorker(0),
        Op::Advance(10),
        Op::Answer(0, Answer::RateLimited(HOUR)),
        Op::Crash,
        Op::Enqueue(elsewhere),
        Op::StartWorker(0),
        Op::StartWorker(1),
        Op::Advance(60_000),
    ]);
}

#[test]
fn a_shorter_rate_limit_does_not_replace_a_longer_one_in_the_file() {
    holds(&[
        Op::Enqueue(PLAIN),
        Op::Enqueue(PLAIN),
        Op::StartWorker(0),
        Op::Answer(0, Answer::RateLimited(HOUR)),
        Op::Answer(1, Answer::RateLimited(1)),
        Op::Crash,
        Op::StartWorker(0),
        Op::Advance(60_000),
    ]);
}

#[test]
fn a_group_paused_while_its_head_runs_is_paused_after_a_crash() {
    for mark in [1, 10] {
        let pause = |pause| Op::PauseGroup(0, 0, pause);
        let begin =
            [Op::Enqueue(grouped(0)), Op::Enqueue(grouped(0)), Op::StartWorker(0), Op::Advance(mark), pause(true)];
        holds(&[&begin[..], &[Op::Crash, Op::StartWorker(0), Op::Advance(6_000)]].concat());
        holds(&[&begin[..], &[pause(false), Op::Crash, Op::StartWorker(0), Op::Advance(6_000)]].concat());
        holds(&[&begin[..], &[pause(false), Op::Answer(0, Answer::RateLimited(0))]].concat());
        holds(&[&begin[..], &[Op::Answer(0, Answer::Fail), Op::Advance(HOUR), pause(false)]].concat());
    }
}

#[test]
fn the_head_of_a_group_keeps_its_place_when_it_is_changed() {
    let change = |at| Op::Update { job: 0, priority: Some(9), at };
    for queue in [0, 1] {
        let job = JobSpec { queue, ..grouped(0) };
        let late = JobSpec { when: When::Delay(HOUR), ..job };
        for op in [change(None), change(Some(0)), change(Some(HOUR as i64)), Op::RunNow(0)] {
            holds(&[Op::Enqueue(job), Op::Enqueue(job), op.clone(), Op::StartWorker(queue)]);
            holds(&[Op::Enqueue(late), Op::Enqueue(job), op, Op::StartWorker(queue)]);
        }
    }
}

fn on_a_thread<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test)
}

#[test]
fn a_stop_while_starts_are_being_made_durable_uses_no_attempt() {
    on_a_thread(async {
        for jobs in 1..8 {
            let mut engine = Engine::new(4, 4_096).await;
            for _ in 0..jobs {
                engine.pond.enqueue(&queue_name(0), crate::engine::new_job(&PLAIN, engine.wall())).await.unwrap();
            }
            engine = engine.crash(4).await; // from now on start marks are durable before handlers run
            engine.start_worker(0, 4);
            while engine.queue(0).counts().running == 0 {
                std::thread::yield_now(); // handed out; no handler is called while this thread spins
            }
            engine = engine.reopen(4).await;
            for (id, job) in engine.jobs() {
                assert!(job.errors.is_empty() && job.attempts == 0, "job {id}: {job:?}");
            }
            assert_eq!(engine.pond.verify().await.unwrap().problems, Vec::<String>::new());
        }
    });
}

#[test]
fn a_job_whose_end_is_not_durable_yet_is_still_counted() {
    on_a_thread(async {
        let mut engine = Engine::new(4, 4_096).await;
        let id = engine.pond.enqueue(&queue_name(0), crate::engine::new_job(&PLAIN, engine.wall())).await.unwrap();
        engine.start_worker(0, 4);
        engine.until_at_rest().await.unwrap();
        // No other commit is made while the guard exists.
        let guard = engine.pond.begin_write().unwrap();
        engine.answer(id.id.get(), Answer::Done).await;
        assert_eq!(engine.queue(0).counts().unfinished(), 1);
        drop(guard);
        engine.until_at_rest().await.unwrap();
        assert_eq!(engine.queue(0).counts().unfinished(), 0);
    });
}

#[test]
fn no_start_mark_is_written_after_the_attempts_end() {
    use millpond::{Job, Millpond};
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pond = Millpond::builder().open_backend(millpond_testkit::SimDisk::new()).unwrap();
        pond.worker("q")
            .concurrency(64)
            .handle_raw("k", |job: Job<bytes::Bytes>| async move {
                // Around the age at which a start mark is written.
                tokio::time::sleep(Duration::from_micros(8_000 + job.id().get() % 40 * 100)).await;
                Ok(())
            })
            .start()
            .unwrap();
        for _ in 0..20 {
            let jobs = (0..200).map(|_| millpond::NewJob::raw("k", ""));
            pond.enqueue_many("q", jobs).await.unwrap();
            pond.testing().idle().await;
            assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
        }
        pond.shutdown(Duration::ZERO).await.unwrap();
    });
}

/// One job kills the process twelve seconds after its start, an innocent one runs for hours: both run at
/// every death.
#[test]
fn a_job_that_kills_late_beside_a_long_job_is_blamed() {
    on_a_thread(async {
        let mut engine = Engine::new(4, 4_096).await;
        let once = JobSpec { max: Some(1), ..PLAIN };
        for _ in 0..2 {
            engine.pond.enqueue(&queue_name(0), crate::engine::new_job(&once, engine.wall())).await.unwrap();
        }
        let (killer, innocent) = (1, 2);
        for _death in 0..8 {
            engine.start_worker(0, 3);
            let mut seconds_run = 0;
            for _second in 0..60 {
                engine.until_at_rest().await.unwrap();
                if engine.parked().contains(&killer) {
                    seconds_run += 1;
                }
                if seconds_run > 12 {
                    break;
                }
                engine.clock.advance(Duration::from_secs(1));
            }
            engine = engine.crash(4).await;
            let jobs = engine.jobs();
            assert_eq!(jobs[&innocent].state, millpond::State::Pending);
            if jobs[&killer].state == millpond::State::Dead {
                return;
            }
        }
        panic!("eight deaths: {:#?}", engine.jobs());
    });
}

#[test]
fn a_message_is_in_a_queue_and_in_two_streams_or_nowhere() {
    let message = |tx| Op::Publish(Message { spec: grouped(1), key: 2, tx });
    let mut ops: Vec<Op> = [0, QUEUES, QUEUES + 1].map(|to| Op::Bind(to, 0, true)).into();
    ops.extend([message(None), message(Some((1, 0, Fate::Errs))), message(Some((1, 0, Fate::Panics))), Op::Crash]);
    ops.extend([message(Some((1, 0, Fate::Commits))), Op::RemoveStream(0), Op::Reopen, message(None)]);
    ops.extend([Op::Bind(QUEUES, 0, false), Op::Compact(1, true), message(None), Op::RemoveStream(0)]);
    holds(&ops);
}
