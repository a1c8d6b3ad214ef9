//! Dead letters by their errors.

use millpond::dashboard::Source;
use millpond::dashboard::api::{Action, JobQuery};

use crate::pond::stocked;
use crate::support::*;

#[tokio::test]
async fn dead_letters_whose_errors_differ_only_in_numbers_are_one_group() {
    let at = stocked().await;
    for queue in [None, Some("crm")] {
        let summary = at.source.dead(queue).await.unwrap();
        assert_eq!((summary.total, summary.read), (3, 3));
        let [refused, unknown] = &summary.groups[..] else { panic!("{summary:?}") };
        assert_eq!((refused.error.as_str(), refused.count), ("order # was refused", 2));
        assert_eq!((refused.sample.as_str(), &refused.job), ("order 2 was refused", &at.dead[1].to_string()));
        assert_eq!((&refused.queues[..], &refused.kinds[..]), (&["crm".to_owned()][..], &["work".to_owned()][..]));
        assert!(refused.first_seen <= refused.last_seen && refused.first_seen.0 > 0);
        assert_eq!((unknown.error.as_str(), unknown.count), ("no such customer", 1));
    }
    let none = at.source.dead(Some("mail")).await.unwrap();
    assert_eq!((none.total, none.groups.len()), (0, 0));
    at.close().await;
}

#[tokio::test]
async fn one_group_of_dead_letters_is_redriven_or_purged() {
    let at = stocked().await;
    let group = |error: &str| Some(error.to_owned());
    let jobs = || JobQuery::of_queue("crm");
    let done = at.changes(Action::RedriveJobs { jobs: jobs(), error_group: group("order # was refused") }, 2).await;
    assert_eq!(done.message, "2 jobs are redriven");
    assert_eq!(at.pond.queue("crm").unwrap().counts().dead, 1);
    at.changes(Action::PurgeJobs { jobs: jobs(), error_group: group("order # was refused") }, 0).await;
    let done = at.changes(Action::PurgeJobs { jobs: jobs(), error_group: group("no such customer") }, 1).await;
    assert_eq!(done.message, "1 job is purged");
    assert_eq!(at.pond.queue("crm").unwrap().counts().dead, 0);
    at.close().await;
}

#[tokio::test]
async fn no_more_than_ten_thousand_dead_letters_are_read() {
    let (_, pond) = memory();
    let worker = pond.worker("q").concurrency(500);
    let worker = worker.handle(|job: millpond::Job<Work>| async move {
        Ok(millpond::Outcome::dead_letter(format!("no order {}", job.n)))
    });
    worker.start().unwrap();
    pond.enqueue_many("q", (0..10_000).map(work)).await.unwrap();
    pond.enqueue_many("q", (0..500).map(work)).await.unwrap();
    drained(&pond).await;
    let source = millpond::dashboard::PondSource::new(&pond);
    let summary = source.dead(None).await.unwrap();
    assert_eq!((summary.total, summary.read, summary.groups.len()), (10_500, 10_000, 1));
    let purge = Action::PurgeJobs { jobs: JobQuery::default(), error_group: Some("no order #".to_owned()) };
    assert_eq!(source.act(purge).await.unwrap().changed, 10_500, "a verb reads all of them");
}
