//! Actions on all jobs that match.

use millpond::State;
use millpond::dashboard::api::{Action, JobQuery};

use crate::pond::stocked;
use crate::support::*;

#[tokio::test]
async fn all_jobs_that_match_are_run_moved_cancelled_and_removed() {
    let at = stocked().await;
    let mail = || JobQuery::of_queue("mail");
    let scheduled = JobQuery { state: Some("scheduled".into()), ..mail() };
    let done = at.changes(Action::RunJobsNow { jobs: scheduled }, 1).await;
    assert_eq!(done.message, "1 job is due now");
    assert_eq!(state(&at.pond, at.later), State::Pending);
    let tagged = JobQuery { tag: Some("tenant:7".into()), ..JobQuery::default() };
    at.changes(Action::MoveJobs { jobs: tagged, queue: "urgent".into() }, 1).await;
    assert_eq!(at.pond.job(at.waiting).unwrap().queue, "urgent");
    let done = at.changes(Action::CancelJobs { jobs: mail(), reason: "recalled".into() }, 3).await;
    assert_eq!(done.message, "3 jobs are cancelled");
    assert_eq!(at.pond.job(at.grouped[1]).unwrap().reason.as_deref(), Some("recalled"));
    at.changes(Action::DeleteJobs { jobs: JobQuery::default() }, 8).await;
    at.close().await;
}

#[tokio::test]
async fn all_dead_letters_that_match_are_redriven_or_purged() {
    let at = stocked().await;
    let refused = JobQuery { error: Some("refused".into()), ..JobQuery::of_queue("crm") };
    at.changes(Action::RedriveJobs { jobs: refused, error_group: None }, 2).await;
    at.changes(Action::PurgeJobs { jobs: JobQuery::default(), error_group: None }, 1).await;
    assert_eq!(at.pond.queue("crm").unwrap().counts().dead, 0);
    assert_eq!(at.pond.queue("mail").unwrap().counts().unfinished(), 4, "only dead letters are purged");
    at.close().await;
}
