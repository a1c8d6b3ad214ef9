//! What cannot be done is refused with the code that says why.

use millpond::dashboard::Source;
use millpond::dashboard::api::{
    Action, Change, Code, JobQuery, Misfire, NewJob, Order, Overrides, Paging, Rate, RateChange, ScheduleChange,
};

use crate::pond::stocked;

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let at = stocked().await;
    let text = String::from;
    for action in [
        Action::CancelJob { id: text("999"), reason: text("") },
        Action::RunJobNow { id: text("999") },
        Action::UpdateJob { id: text("999"), change: Change::default() },
        Action::DeleteJob { id: text("999") },
        Action::RedriveJob { id: text("999") },
        Action::PauseQueue { queue: text("nowhere") },
        Action::ResumeGroup { queue: text("nowhere"), group: text("g") },
        Action::DrainQueue { queue: text("nowhere") },
        Action::RenameQueue { queue: text("nowhere"), to: text("somewhere") },
        Action::RunSchedule { name: text("never") },
        Action::RemoveSchedule { name: text("never") },
        Action::RestoreRow { number: 9 },
        Action::PurgeRow { number: 9 },
    ] {
        let problem = at.act(action.clone()).await.unwrap_err();
        assert_eq!(problem.code, Code::NotFound, "{action:?}: {problem}");
    }
    assert_eq!(at.source.job("999").await.unwrap_err().code, Code::NotFound);
    assert_eq!(at.source.queue("nowhere").await.unwrap_err().code, Code::NotFound);
    assert_eq!(at.source.groups("nowhere", Paging::default()).await.unwrap_err().code, Code::NotFound);
    assert_eq!(at.source.schedule("never").await.unwrap_err().code, Code::NotFound);
    at.close().await;
}

#[tokio::test]
async fn what_cannot_be_understood_or_is_out_of_bounds_is_invalid() {
    let at = stocked().await;
    let text = String::from;
    let new = || NewJob { queue: text("mail"), kind: text("send"), ..NewJob::default() };
    let rate = RateChange::Limited(Rate { count: 1, period_seconds: -1.0, burst: None });
    for action in [
        Action::CancelJob { id: text("seven"), reason: text("") },
        Action::RunJobNow { id: text("0") },
        Action::Enqueue(NewJob { queue: text("a queue"), ..new() }),
        Action::Enqueue(NewJob { priority: Some(10), ..new() }),
        Action::Enqueue(NewJob { delay_seconds: Some(-1.0), ..new() }),
        Action::Enqueue(NewJob { delay_seconds: Some(1.0), run_at: Some(Default::default()), ..new() }),
        Action::Enqueue(NewJob { key: Some(text("")), ..new() }),
        Action::SetOverrides {
            queue: text("mail"),
            overrides: Overrides { concurrency: Some(0), ..Default::default() },
        },
        Action::SetOverrides { queue: text("mail"), overrides: Overrides { rate: Some(rate), ..Default::default() } },
        Action::SetLimit { name: text("none"), units: 1 },
        Action::DeleteJobs { jobs: JobQuery { state: Some(text("gone")), ..JobQuery::default() } },
    ] {
        let problem = at.act(action.clone()).await.unwrap_err();
        assert_eq!(problem.code, Code::Invalid, "{action:?}: {problem}");
    }
    let page = Paging { after: Some(text("page 2")), limit: None };
    assert_eq!(at.source.jobs(JobQuery::default(), Order::Oldest, page.clone()).await.unwrap_err().code, Code::Invalid);
    assert_eq!(at.source.quarantine(page).await.unwrap_err().code, Code::Invalid);
    assert_eq!(at.source.job("x").await.unwrap_err().code, Code::Invalid);
    at.close().await;
}

#[tokio::test]
async fn what_does_not_fit_the_state_is_a_conflict() {
    let at = stocked().await;
    for action in [
        Action::RunJobNow { id: at.done.to_string() },
        Action::RedriveJob { id: at.waiting.to_string() },
        Action::UpdateJob { id: at.done.to_string(), change: Change { priority: Some(1), ..Change::default() } },
        Action::RenameQueue { queue: "mail".into(), to: "crm".into() },
    ] {
        let problem = at.act(action.clone()).await.unwrap_err();
        assert_eq!(problem.code, Code::Conflict, "{action:?}: {problem}");
    }
    at.close().await;
}

#[tokio::test]
async fn a_plugin_that_is_not_there_cannot_be_resumed() {
    let at = stocked().await;
    let resume = Action::ResumePlugin { queue: "mail".into(), kind: "welcome".into() };
    assert_eq!(at.act(resume).await.unwrap_err().code, Code::NotFound);
    at.close().await;
}

#[tokio::test]
async fn a_schedule_is_not_changed_to_what_cannot_be() {
    let at = stocked().await;
    let none = ScheduleChange::default;
    let text = |text: &str| Some(text.to_owned());
    for change in [
        ScheduleChange { cron: text("every day"), ..none() },
        ScheduleChange { cron: text("0 3 * * *"), zone: text("Atlantis"), ..none() },
        ScheduleChange { cron: text("0 3 * * *"), every_seconds: Some(60.0), ..none() },
        ScheduleChange { every_seconds: Some(-1.0), ..none() },
        ScheduleChange { every_seconds: Some(0.0), ..none() },
        ScheduleChange { misfire: Some(Misfire::All { at_most: 3 }), ..none() },
        ScheduleChange { jitter_seconds: Some(90_000.0), ..none() },
    ] {
        let action = Action::UpdateSchedule { name: "daily".into(), change: change.clone() };
        assert_eq!(at.act(action).await.unwrap_err().code, Code::Invalid, "{change:?}");
    }
    let missing = Action::UpdateSchedule { name: "missing".into(), change: none() };
    assert_eq!(at.act(missing).await.unwrap_err().code, Code::NotFound);
    at.close().await;
}

#[tokio::test]
async fn a_closed_queue_is_unavailable() {
    let at = stocked().await;
    at.pond.shutdown(crate::support::SECOND).await.unwrap();
    assert_eq!(at.source.overview().await.unwrap_err().code, Code::Unavailable);
    assert_eq!(at.act(Action::PauseAll).await.unwrap_err().code, Code::Unavailable);
}
