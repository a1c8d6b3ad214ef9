//! Links that have registered themselves: what is told of them, and what jobs that wait for them say.

use millpond::{Event, Explanation, JobId, LinkDirection, LinkGuard, LinkInfo, Millpond, Outcome};

use crate::support::*;

fn register(pond: &Millpond, queue: &str, direction: LinkDirection) -> LinkGuard {
    pond.register_link(LinkInfo::new(queue, direction, "hub", "an engine").unwrap()).unwrap()
}

fn forward(pond: &Millpond) -> LinkGuard {
    register(pond, "readings", LinkDirection::Forward)
}

/// The kinds of the events, without what they say.
fn told(events: &mut millpond::Events) -> Vec<String> {
    let name = |event: &Event| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned();
    heard(events).iter().map(name).collect()
}

#[tokio::test]
async fn each_outage_is_one_event_and_each_return_is_one() {
    let (clock, pond) = memory();
    let (guard, mut events) = (forward(&pond), pond.events());
    let link = guard.handle();
    assert_eq!(pond.links()[0].state.since, None);
    link.failed("refused");
    link.failed("refused again");
    let first = heard(&mut events);
    let [Event::LinkLost { link: name, queue, error, .. }] = &first[..] else { panic!("{first:?}") };
    assert_eq!((&**name, &**queue, error.as_str()), ("readings -> hub", "readings", "refused"));
    let since = pond.links()[0].state.since;
    clock.advance(SECOND);
    link.failed("refused again");
    let state = pond.links()[0].state.clone();
    assert_eq!(state.since, since, "an outage begins with its first error");
    assert_eq!(state.last_error_at, Some(pond.now()), "the latest error has a time of its own");
    for _ in 0..3 {
        link.update(|state| state.connected = true);
    }
    let state = pond.links()[0].state.clone();
    assert_eq!((state.since, state.last_error.as_deref()), (Some(pond.now()), Some("refused again")));
    link.update(|state| state.jobs += 2);
    link.update(|state| (state.engine_went_back, state.lost_batches) = (1, 4));
    link.update(|state| state.file_went_back += 1);
    link.failed("gone");
    assert_eq!(told(&mut events), ["LinkConnected", "LinkEngineWentBack", "LinkFileWentBack", "LinkLost"]);
}

#[tokio::test]
async fn what_was_lost_is_told_with_the_event() {
    let (_clock, pond) = memory();
    let (guard, mut events) = (forward(&pond), pond.events());
    let link = guard.handle();
    link.update(|state| (state.engine_went_back, state.lost_batches) = (1, 4));
    link.update(|state| (state.engine_went_back, state.lost_batches) = (2, 7));
    let lost: Vec<u64> = heard(&mut events)
        .iter()
        .map(|event| match event {
            Event::LinkEngineWentBack { lost_batches, .. } => *lost_batches,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lost, [4, 3]);
}

#[tokio::test]
async fn a_link_is_gone_with_its_guard_and_tells_nothing_more() {
    let (_clock, pond) = memory();
    let (guard, mut events) = (forward(&pond), pond.events());
    let link = guard.handle();
    let changes = pond.metrics().link_changes_total;
    link.update(|state| state.connected = true);
    link.update(|state| state.connected = true);
    assert_eq!(pond.metrics().link_changes_total, changes + 1, "what does not change is not told");
    drop(guard);
    assert!(pond.links().is_empty());
    link.failed("too late");
    assert_eq!(told(&mut events), ["LinkConnected"]);
}

#[tokio::test]
async fn two_links_never_have_one_name() {
    let (_clock, pond) = memory();
    let guards: Vec<_> = (0..3).map(|_| register(&pond, "jobs", LinkDirection::Receive)).collect();
    let names: Vec<_> = pond.links().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["hub -> jobs", "hub -> jobs (2)", "hub -> jobs (3)"]);
    drop(guards);
    let long = LinkInfo::new("jobs", LinkDirection::Take, "ü".repeat(1_000), "e").unwrap();
    assert!(long.remote.len() <= 256, "{}", long.remote.len());
    assert!(LinkInfo::new("a b", LinkDirection::Take, "hub", "e").is_err());
}

#[tokio::test]
async fn a_job_says_that_it_waits_for_its_link_and_since_when() {
    let (clock, pond) = memory();
    let id: JobId = pond.enqueue("readings", work(1)).await.unwrap().id;
    let guard = forward(&pond);
    let link = guard.handle();
    let why = pond.explain(id).unwrap();
    assert!(
        matches!(&why, Explanation::AwaitsLink { link, since: None, error: None, .. } if link == "readings -> hub")
    );
    assert_eq!(why.to_string(), "it waits for its link \"readings -> hub\", which is connecting to an engine");
    let down = pond.now();
    link.failed("connection refused");
    clock.advance(SECOND);
    let why = pond.explain(id).unwrap();
    let expected = format!(
        "it waits for its link \"readings -> hub\": an engine has not answered since {down}, because: connection refused"
    );
    assert_eq!(why.to_string(), expected);
    assert_eq!(pond.links()[0].state.lag, Some(1), "the jobs of its queue");

    // Another reason comes first.
    pond.queue("readings").unwrap().pause().await.unwrap();
    assert_eq!(pond.explain(id).unwrap(), Explanation::QueuePaused);
    let later = pond.enqueue("readings", work(2).delay(HOUR)).await.unwrap().id;
    assert!(matches!(pond.explain(later).unwrap(), Explanation::NotDue { .. }));
    pond.queue("readings").unwrap().resume().await.unwrap();
    drop(guard);
    assert!(matches!(pond.explain(id).unwrap(), Explanation::NoHandler { .. }));
}

#[tokio::test]
async fn a_job_that_was_given_back_to_a_queue_without_a_worker_waits_for_its_link() {
    let (clock, pond) = memory();
    let guard = forward(&pond);
    let worker = pond.worker("readings").handle(|_: millpond::Job<Work>| async { Ok(Outcome::snooze(SECOND)) });
    let worker = worker.start().unwrap();
    let id = pond.enqueue("readings", work(1)).await.unwrap().id;
    drained(&pond).await;
    worker.stop().await.unwrap();
    guard.handle().failed("down");
    assert!(matches!(pond.explain(id).unwrap(), Explanation::NotDue { .. }));
    clock.advance(SECOND * 2);
    assert!(matches!(pond.explain(id).unwrap(), Explanation::AwaitsLink { .. }), "{}", pond.explain(id).unwrap());
}

#[tokio::test]
async fn a_job_in_the_hands_of_its_link_is_being_sent() {
    let (_clock, pond) = memory();
    let guard = forward(&pond);
    let (_worker, mut keeper) = gated(&pond, "readings", 1);
    let id = pond.enqueue("readings", work(1)).await.unwrap().id;
    keeper.entered().await;
    let why = pond.explain(id).unwrap();
    assert!(matches!(&why, Explanation::BeingSent { link, .. } if link == "readings -> hub"), "{why:?}");
    drop(guard);
    assert_eq!(pond.explain(id).unwrap(), Explanation::Running);
    keeper.let_go(1);
}

#[tokio::test]
async fn jobs_of_a_queue_that_a_link_fills_wait_for_their_worker() {
    let (_clock, pond) = memory();
    let _guards = [LinkDirection::Receive, LinkDirection::Take].map(|direction| register(&pond, "jobs", direction));
    let id = pond.enqueue("jobs", work(1)).await.unwrap().id;
    assert!(matches!(pond.explain(id).unwrap(), Explanation::NoHandler { .. }));
    assert!(pond.links().iter().all(|link| link.state.lag.is_none()));
}
