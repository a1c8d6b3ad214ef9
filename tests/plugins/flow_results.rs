//! What a plugin reads of its job's flow: the results of the other jobs, if it is granted them.

use millpond::{Grant, Job, Millpond, NewJob, Outcome, Plugin, Retry, State};

use super::built::hostile;
use crate::support::*;

/// A flow whose last job is a plugin's with this payload. Returns what the plugin was told.
async fn told(pond: &Millpond, plugin: Plugin, payload: &str) -> Vec<String> {
    pond.worker("q")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move { Outcome::done_json(&format!("receipt {}", job.n)) })
        .handle_wasm("job", plugin)
        .start()
        .unwrap();
    let flow = pond
        .flow("order", |flow| {
            let charge = flow.job("q", work(7)).named("charge");
            let later = flow.signal("later");
            let told = flow.job("q", NewJob::raw("job", payload.to_owned())).after(&charge);
            drop(flow.job("q", work(8)).named("last").after(&told).after(&later));
        })
        .await
        .unwrap();
    drained(pond).await;
    let job = pond.job(flow.jobs[1]).unwrap();
    assert_eq!(job.state, State::Completed, "{job:?}");
    job.result_json().unwrap().unwrap()
}

fn granted() -> Plugin {
    hostile("steps_as_told").grant(Grant::flow_results())
}

#[tokio::test]
async fn a_plugin_reads_the_result_of_an_earlier_job_of_its_flow() {
    let (_clock, pond) = memory();
    let lines = "result\tcharge\nresult\tlast\nresult\tlater\nrefused\tmail";
    let answers = ["receipt 7", "none", "none", "NoSuchName"];
    assert_eq!(told(&pond, granted(), lines).await, answers);
}

#[tokio::test]
async fn a_plugin_without_the_grant_reads_no_result_of_another_job() {
    let (_clock, pond) = memory();
    assert_eq!(told(&pond, hostile("steps_as_told"), "refused\tcharge\nrefused\tmail").await, ["AccessDenied"; 2]);
}

#[tokio::test]
async fn a_plugin_whose_job_belongs_to_no_flow_is_told_so() {
    let (_clock, pond) = memory();
    pond.worker("q").handle_wasm("job", granted()).start().unwrap();
    let job = pond.enqueue_and_wait("q", NewJob::raw("job", "refused\tcharge")).await.unwrap();
    assert_eq!(job.result_json::<Vec<String>>().unwrap().unwrap(), ["NoFlow"]);
}

#[test]
fn the_grant_of_results_is_described() {
    assert_eq!(Grant::flow_results().to_string(), "read the results of its flow");
    let imports = granted().check().unwrap().imports;
    let flow = imports.iter().find(|import| import.interface.contains("/flow@")).unwrap();
    assert_eq!(
        (flow.functions.as_slice(), flow.grant),
        (&["get-result".to_owned()][..], Some("Grant::flow_results()"))
    );
}
