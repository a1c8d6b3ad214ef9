//! What links tell of themselves while the engine fails.

use std::time::Duration;

use millpond::{Event, Events, Explanation, JobId, LinkDirection, LinkInfo, Millpond, NewJob};
use millpond_links::{Fault, Forward, Link, MemoryLog, Receive, SharedQueue, Take};
use millpond_links_testkit::{SOON, hub, open};

async fn forward(pond: &Millpond, log: &MemoryLog) -> Link {
    Forward::new(pond, "readings", log, hub()).linger(Duration::from_millis(1)).start().await.unwrap()
}

async fn enqueue(pond: &Millpond, texts: std::ops::Range<u32>) -> Vec<JobId> {
    let jobs = texts.map(|n| NewJob::raw("reading", n.to_string()));
    pond.enqueue_many("readings", jobs).await.unwrap().iter().map(|job| job.id).collect()
}

/// The next event of a link.
async fn next(events: &mut Events) -> Event {
    let find = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if let Event::LinkConnected { .. }
            | Event::LinkLost { .. }
            | Event::LinkEngineWentBack { .. }
            | Event::LinkFileWentBack { .. } = event
            {
                return event;
            }
        }
    };
    tokio::time::timeout(SOON, find).await.expect("the event comes")
}

/// Waits until this is so of the only link.
async fn until(pond: &Millpond, so: impl Fn(&LinkInfo) -> bool) -> LinkInfo {
    let poll = async {
        loop {
            if let [link] = &pond.links()[..]
                && so(link)
            {
                return link.clone();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, poll).await.unwrap_or_else(|_| panic!("{:?}", pond.links()))
}

#[tokio::test]
async fn an_outage_is_one_event_and_the_jobs_name_the_link_that_they_wait_for() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let mut events = device.events();
    log.set_down(true);
    let link = forward(&device, &log).await;
    let Event::LinkLost { link: name, error, .. } = next(&mut events).await else { panic!("it is lost first") };
    assert_eq!((&*name, error.as_str()), ("readings -> hub", "the engine is not available: a fault of the test"));
    let job = enqueue(&device, 0..1).await[0];
    // The first worker is stopped by now, or soon.
    let explained = async {
        loop {
            let why = device.explain(job).unwrap();
            if let Explanation::AwaitsLink { since: Some(_), .. } = why {
                return why;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let why = tokio::time::timeout(SOON, explained).await.unwrap().to_string();
    assert!(why.starts_with("it waits for its link \"readings -> hub\": memory has not answered since "), "{why}");
    assert!(why.ends_with("because: the engine is not available: a fault of the test"), "{why}");
    let info = until(&device, |link| !link.state.connected).await;
    assert_eq!((info.state.lag, info.direction, info.state.jobs), (Some(1), LinkDirection::Forward, 0));

    log.set_down(false);
    assert!(matches!(next(&mut events).await, Event::LinkConnected { .. }), "however often it was tried meanwhile");
    let info = until(&device, |link| link.state.jobs == 1 && link.state.lag == Some(0)).await;
    assert_eq!((info.state.position, info.state.in_doubt), (Some(1), 0));
    assert!(info.state.last_error.is_some() && info.state.latest_at.is_some());
    link.stop().await;
    assert_eq!(device.links(), []);
    enqueue(&device, 1..2).await;
    // Nothing else was told of the link.
    device.shutdown(SOON).await.unwrap();
    while let Some(event) = events.next().await {
        let text = format!("{event:?}");
        assert!(!text.contains("Link"), "{text}");
    }
}

#[tokio::test]
async fn a_batch_without_an_answer_is_in_doubt_until_the_cursor_was_read() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let link = forward(&device, &log).await;
    until(&device, |link| link.state.connected).await;
    log.fail_next([Fault::AnswerLost].into_iter().chain([Fault::Unavailable; 1_000]));
    enqueue(&device, 0..5).await;
    let info = until(&device, |link| !link.state.connected).await;
    assert!((1..=5).contains(&info.state.in_doubt), "{info:?}");
    assert_eq!(info.state.position, Some(0));
    link.stop().await;
    device.shutdown(SOON).await.unwrap();

    // It is in doubt after a restart, too.
    let device = open(dir.path(), "device.redb");
    let link = forward(&device, &log).await;
    let again = until(&device, |_| true).await;
    assert_eq!(again.state.in_doubt, info.state.in_doubt);
    link.stop().await;
    let answers = MemoryLog::new();
    answers.go_back(&log.snapshot());
    let link = forward(&device, &answers).await;
    let info = until(&device, |link| link.state.known + link.state.jobs == 5).await;
    assert_eq!(info.state.known, again.state.in_doubt);
    until(&device, |link| link.state.in_doubt == 0 && link.state.lag == Some(0)).await;
    link.stop().await;
}

#[tokio::test]
async fn an_engine_or_a_file_that_went_back_is_an_event() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let mut events = device.events();
    let link = forward(&device, &log).await;
    enqueue(&device, 0..2).await;
    until(&device, |link| link.state.jobs == 2).await;
    device.backup(dir.path().join("copy.redb")).await.unwrap();
    let older = log.snapshot();
    enqueue(&device, 2..4).await;
    until(&device, |link| link.state.jobs == 4).await;
    log.go_back(&older);
    enqueue(&device, 4..5).await;
    assert!(matches!(next(&mut events).await, Event::LinkConnected { .. }));
    let event = next(&mut events).await;
    assert!(matches!(&event, Event::LinkEngineWentBack { lost_batches: 0, .. }), "{event:?}");
    until(&device, |link| link.state.jobs == 5).await;
    link.stop().await;

    let copy = open(dir.path(), "copy.redb");
    let mut events = copy.events();
    let link = forward(&copy, &log).await;
    let told = [next(&mut events).await, next(&mut events).await];
    assert!(matches!(told, [Event::LinkConnected { .. }, Event::LinkFileWentBack { .. }]), "{told:?}");
    link.stop().await;
}

#[tokio::test]
async fn a_receiver_says_how_far_it_is_and_what_is_left() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub_pond) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let to_hub = forward(&device, &log).await;
    enqueue(&device, 0..10).await;
    until(&device, |link| link.state.jobs == 10).await;
    let receive = |mailbox| Receive::new(&hub_pond, "readings", &log, mailbox).batch(4).unfinished_max(4);
    let link = receive(hub()).start().unwrap();
    // It reads on when fewer than 4 jobs wait, and nobody handles them.
    let info = until(&hub_pond, |link| link.state.jobs == 4).await;
    assert_eq!((info.name.as_str(), info.engine.as_str()), ("hub -> readings", "memory"));
    assert_eq!((info.state.lag, info.direction), (Some(6), LinkDirection::Receive));
    let position = info.state.position;
    assert!(position.is_some_and(|position| position >= 4), "{info:?}");
    link.stop().await;
    assert_eq!(hub_pond.links(), []);

    // After a restart it knows how far it was. Of some partitions it says which.
    let link = receive(hub()).unfinished_max(100).start().unwrap();
    until(&hub_pond, |link| link.state.jobs == 6 && link.state.lag == Some(0)).await;
    link.stop().await;
    let link = receive(hub().only(0..8).unwrap()).start().unwrap();
    assert_eq!(hub_pond.links()[0].name, "hub/0-8 -> readings");
    link.stop().await;
    to_hub.stop().await;
}

#[tokio::test]
async fn a_link_that_an_error_has_ended_is_seen_until_it_is_dropped() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let hub_pond = open(dir.path(), "hub.redb");
    let mut events = hub_pond.events();
    let headers = vec![("mp-v".to_owned(), "2".to_owned())];
    log.inject(hub(), millpond_links::Envelope { partition: 0, headers, payload: "?".into() });
    let link = Receive::new(&hub_pond, "readings", &log, hub()).start().unwrap();
    assert!(matches!(next(&mut events).await, Event::LinkConnected { .. }));
    let Event::LinkLost { error, .. } = next(&mut events).await else { panic!("it does not go on") };
    assert!(error.contains("version 2"), "{error}");
    assert!(!hub_pond.links()[0].state.connected);
    drop(link);
    assert_eq!(hub_pond.links(), []);
}

#[tokio::test]
async fn a_link_that_takes_shared_jobs_says_how_many_it_holds() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, other) = (open(dir.path(), "device.redb"), open(dir.path(), "other.redb"));
    let shared = SharedQueue::named("shared").unwrap();
    let sends = Forward::to_shared(&device, "readings", &log, shared.clone()).start().await.unwrap();
    enqueue(&device, 0..3).await;
    assert_eq!(until(&device, |link| link.state.jobs == 3).await.name, "readings -> shared");
    let takes = Take::new(&other, "jobs", &log, shared).start().await.unwrap();
    let info = until(&other, |link| link.state.held == 3).await;
    assert_eq!((info.name.as_str(), info.engine.as_str()), ("shared -> jobs", "memory"));
    assert_eq!((info.direction, info.state.jobs, info.state.lag), (LinkDirection::Take, 3, None));
    takes.stop().await;
    sends.stop().await;
    assert_eq!((device.links(), other.links()), (vec![], vec![]));
}
