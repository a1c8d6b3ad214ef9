//! The steps of a plugin are those of a Rust handler: what is stored is not done again, and a job that sleeps or waits leaves memory
//! without using an attempt.

use std::time::Duration;

use millpond::{
    Explanation, FailureKind, JobId, JobInfo, JobPatch, Millpond, NewJob, Plugin, PluginLimits, Retry, State, StepState,
};
use millpond_guest::testing::Host;

use super::built::hostile;
use crate::support::*;

#[path = "../guests/hostile/examples/steps_as_told.rs"]
mod told;

fn start(pond: &Millpond, plugin: Plugin) {
    let retry = Retry::fixed(SECOND).jitter(0.0).max_attempts(3);
    pond.worker("q").concurrency(1).retry(retry).handle_wasm("job", plugin).start().unwrap();
}

/// A job whose steps are these, after its first attempt.
async fn ran(pond: &Millpond, lines: &[&str]) -> JobId {
    start(pond, hostile("steps_as_told"));
    let id = pond.enqueue("q", NewJob::raw("job", lines.join("\n"))).await.unwrap().id;
    drained(pond).await;
    id
}

/// The result of a job that has completed.
fn result(pond: &Millpond, id: JobId) -> Vec<String> {
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Completed, "{job:?}");
    job.result_json().unwrap().unwrap()
}

/// The lines that all attempts of a job have logged.
fn lines(job: &JobInfo) -> Vec<&str> {
    job.logs.iter().flat_map(|attempt| &attempt.lines).map(|line| line.text.as_str()).collect()
}

fn names(pond: &Millpond, id: JobId) -> Vec<String> {
    let mut names: Vec<_> = pond.steps(id).unwrap().into_iter().map(|step| step.name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_step_of_a_plugin_does_not_run_again_after_a_later_failure() {
    let (clock, pond) = memory();
    let id = ran(&pond, &["step\tcharge\tone", "step\tcharge\ttwo", "fail\t2", "step\tmail\tthree"]).await;
    for attempt in 1..=2 {
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.attempts), (State::Retrying, attempt));
        assert_eq!(names(&pond, id), ["charge", "charge#2"]);
        assert_eq!(pond.steps(id).unwrap()[0].result_json::<String>().unwrap().unwrap(), "one");
        assert_sound(&pond).await;
        clock.advance(SECOND);
        drained(&pond).await;
    }
    assert_eq!(result(&pond, id), ["one", "two", "passed", "three"]);
    assert_eq!(lines(&pond.job(id).unwrap()), ["ran charge", "ran charge", "ran mail"]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_plugin_that_sleeps_leaves_memory_and_comes_back_without_using_an_attempt() {
    let (clock, pond) = memory();
    let hour = format!("sleep\tfirst\t{}", HOUR.as_nanos());
    let id = ran(&pond, &["step\tcharge\tone", &hour, "sleep\tsecond\t1000000000"]).await;
    for (slept, time) in [("first", HOUR), ("second", SECOND)] {
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.attempts, job.errors.len()), (State::Scheduled, 0, 0), "{job:?}");
        assert_eq!(pond.queue("q").unwrap().counts().running, 0);
        let steps = pond.steps(id).unwrap();
        let step = steps.iter().find(|step| step.name == slept).unwrap();
        assert!(matches!(step.state, StepState::Sleeps { .. }), "{step:?}");
        clock.advance(time - Duration::from_millis(1));
        drained(&pond).await;
        assert_eq!(state(&pond, id), State::Scheduled);
        clock.advance(Duration::from_millis(1));
        drained(&pond).await;
    }
    assert_eq!(result(&pond, id), ["one", "slept", "slept"]);
    let job = pond.job(id).unwrap();
    assert_eq!((job.attempts, lines(&job)), (1, vec!["ran charge"]));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_signal_wakes_the_plugin_that_waits_for_it() {
    let (_clock, pond) = memory();
    let id = ran(&pond, &["wait\tearly\t-", "wait\tapproved\t-"]).await;
    assert_eq!(state(&pond, id), State::Scheduled);
    let why = pond.explain(id).unwrap();
    assert!(matches!(&why, Explanation::AwaitsSignal { signal, .. } if signal == "early"), "{why:?}");
    pond.queue("q").unwrap().pause().await.unwrap();
    assert!(pond.signal_job(id, "early", "bob").await.unwrap());
    assert!(pond.signal_job(id, "approved", "ada").await.unwrap(), "it does not wait for this one yet");
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(result(&pond, id), ["bob", "ada"]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_wait_of_a_plugin_ends_at_its_timeout() {
    let (clock, pond) = memory();
    let id = ran(&pond, &["wait\tapproved\t1000000000"]).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.attempts), (State::Scheduled, 0));
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(result(&pond, id), ["timeout"]);
}

#[tokio::test]
async fn a_plugin_that_was_told_to_leave_sleeps_whichever_error_it_retries_with() {
    let (clock, pond) = memory();
    let id = ran(&pond, &["ignored-sleep\tnight\t1000000000", "fail\t0", "retry"]).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.attempts, job.errors.len()), (State::Scheduled, 0, 0), "{job:?}");
    clock.advance(SECOND);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.attempts), (State::Retrying, 1));
    assert_eq!(job.errors[0].message, "as told", "it has slept, and fails on its own");
}

#[tokio::test]
async fn a_plugin_that_was_told_to_leave_can_end_its_job() {
    let (_clock, pond) = memory();
    let hour = format!("ignored-sleep\tnight\t{}", HOUR.as_nanos());
    let completed = ran(&pond, &[&hour]).await;
    assert_eq!(result(&pond, completed), ["suspended"]);
    let dead = pond.enqueue("q", NewJob::raw("job", [&hour, "dead-letter"].join("\n"))).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(state(&pond, dead), State::Dead);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_name_that_is_no_name_of_a_step_is_refused() {
    for name in ["", "a#2", &"n".repeat(1_100)] {
        let (_clock, pond) = memory();
        let id = ran(&pond, &[&format!("step\t{name}\tx")]).await;
        let job = pond.job(id).unwrap();
        let error = &job.errors[0];
        assert_eq!((job.state, error.kind), (State::Retrying, FailureKind::Error));
        let told = if name.contains('#') { "the name \"a#2\" has a `#`" } else { "invalid step of" };
        assert!(error.message.contains(told), "{}", error.message);
        assert_eq!((names(&pond, id), lines(&job)), (vec![], vec![]));
    }
}

#[tokio::test]
async fn too_many_steps_of_a_plugin_are_refused() {
    let (_clock, pond) = memory();
    let id = ran(&pond, &["many\t1000", "step\tone more\tx"]).await;
    let job = pond.job(id).unwrap();
    assert!(job.errors[0].message.contains("too many steps"), "{}", job.errors[0].message);
    assert_eq!(pond.steps(id).unwrap().len(), 1_000);

    let (_clock, pond) = memory();
    let id = ran(&pond, &["large\tfirst\t1000000", "large\tsecond\t100000"]).await;
    assert!(pond.job(id).unwrap().errors[0].message.contains("too many bytes of their results"));
    assert_eq!(names(&pond, id), ["first"]);
}

#[tokio::test]
async fn a_plugin_cannot_use_more_names_of_steps_than_a_job_can_have_steps() {
    let (_clock, pond) = memory();
    let id = ran(&pond, &["failing\t1001"]).await;
    assert_eq!(result(&pond, id), ["1000"], "the host keeps the names, also of steps that are never stored");
}

#[tokio::test]
async fn other_work_under_the_name_of_a_step_makes_a_dead_letter() {
    let (clock, pond) = memory();
    let id = ran(&pond, &["step\tcharge\tone", "retry"]).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.update(id, JobPatch::new().payload(NewJob::raw("job", "sleep\tcharge\t1"))).await.unwrap();
    pond.queue("q").unwrap().resume().await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Dead, "{job:?}");
    assert!(job.reason.unwrap().contains("the step \"charge\" is not what it was"));
}

#[tokio::test]
async fn a_plugin_finishes_only_steps_that_it_has_begun() {
    let (_clock, pond) = memory();
    start(&pond, hostile("raw_steps"));
    let id = pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap().id;
    drained(&pond).await;
    let invalid = "invalid-name";
    let of_one = [invalid, "a", invalid, "1", "1", "a#2"];
    let numbered = ["1", invalid, invalid, invalid, invalid, invalid, invalid];
    let begun = [invalid, invalid, invalid];
    let others = ["suspended", "suspended", "suspended", "b", "changed", "slept", "timeout"];
    assert_eq!(result(&pond, id), [&of_one[..], &numbered, &begun, &others].concat());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn each_call_for_a_step_counts_as_a_call_of_the_host() {
    let (_clock, pond) = memory();
    start(&pond, hostile("steps_as_told").limits(PluginLimits::default().host_calls(100)));
    let id = pond.enqueue("q", NewJob::raw("job", "many\t100")).await.unwrap().id;
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.errors[0].kind, names(&pond, id).len()), (FailureKind::CallLimit, 50));
}

#[tokio::test]
async fn the_mock_host_answers_to_steps_as_the_queue_does() {
    let hour = format!("sleep\tnight\t{}", HOUR.as_nanos());
    let told = ["step\tcharge\tone", &hour, "step\tcharge\ttwo", "wait\tapproved\t-", "wait\tnever\t1000000000"];
    let payload = told.join("\n");
    let (clock, pond) = memory();
    let id = ran(&pond, &told).await;
    let mut mock = Host::new().now(std::time::SystemTime::UNIX_EPOCH);
    let stored = |mock: &Host| mock.steps().map(str::to_owned).collect::<Vec<_>>();
    for round in 0..4 {
        let mocked = mock.run_raw(told::steps_as_told, payload.as_str());
        assert_eq!(names(&pond, id), stored(&mock), "round {round}");
        if round == 3 {
            assert_eq!(mocked.json(), Some(result(&pond, id)));
            break;
        }
        assert!(mocked.is_suspended(), "{mocked:?}");
        assert_eq!(state(&pond, id), State::Scheduled, "round {round}");
        match round {
            0 => {
                mock.advance(HOUR);
                clock.advance(HOUR);
            }
            1 => {
                mock.signal("approved", "ada");
                assert!(pond.signal_job(id, "approved", "ada").await.unwrap());
            }
            _ => {
                mock.advance(SECOND);
                clock.advance(SECOND);
            }
        }
        drained(&pond).await;
    }
}

#[test]
fn the_mock_host_refuses_the_steps_that_the_queue_refuses() {
    let run = |lines: &[&str]| Host::new().run_raw(told::steps_as_told, lines.join("\n"));
    for refused in ["step\t\tx", "step\ta#2\tx", &format!("step\t{}\tx", "n".repeat(1_100))] {
        assert!(run(&[refused]).is_retried(), "{refused}");
    }
    assert!(Host::new().run(|| millpond_guest::steps::sleep("for ever", Duration::MAX), &()).is_suspended());
    assert!(run(&["many\t1000"]).is_done() && run(&["many\t1001"]).is_retried());
    assert!(run(&["large\ta\t1000000", "large\tb\t100000"]).is_retried());
    assert!(run(&["step\ta\tx", "step\ta\tx", "retry"]).is_retried());
    assert_eq!(run(&["failing\t1001"]).json(), Some(vec!["1000".to_owned()]));
    let mut host = Host::new();
    assert!(host.run_raw(told::steps_as_told, *b"step\ta\tx\nretry").is_retried());
    assert!(host.run_raw(told::steps_as_told, *b"sleep\ta\t1").is_dead_letter());
    assert_eq!(host.step::<String>("a"), Some("x".to_owned()));
    assert!(host.run_raw(told::steps_as_told, *b"sleep\ta\t0").is_done(), "another job has no steps yet");
}
