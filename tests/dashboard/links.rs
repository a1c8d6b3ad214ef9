//! Links are shown as they tell themselves.

use millpond::dashboard::Source;
use millpond::dashboard::api::LinkDirection;
use millpond::{LinkInfo, Timestamp};

use crate::pond::stocked;

fn seen(at: millpond::dashboard::api::Time) -> Timestamp {
    Timestamp::from_millis(at.0)
}

#[tokio::test]
async fn a_link_is_shown_with_all_that_it_has_told() {
    let at = stocked().await;
    assert_eq!(at.source.links().await.unwrap(), []);
    let before = at.source.revision().await.unwrap();
    let info = LinkInfo::new("mail", millpond::LinkDirection::Forward, "hub", "an engine").unwrap();
    let guard = at.pond.register_link(info).unwrap();
    let elsewhere = LinkInfo::new("crm", millpond::LinkDirection::Take, "shared", "an engine").unwrap();
    let other = at.pond.register_link(elsewhere).unwrap();
    guard.handle().update(|state| {
        (state.connected, state.jobs, state.position, state.in_doubt) = (true, 11, Some(3), 5);
        (state.known, state.unreadable, state.held, state.lost_leases) = (6, 7, 8, 9);
        (state.engine_went_back, state.file_went_back, state.lost_batches) = (1, 2, 4);
    });
    let connected = at.source.revision().await.unwrap();
    assert!(connected > before, "pages are made anew");
    guard.handle().failed("connection refused");
    assert!(at.source.revision().await.unwrap() > connected);

    let links = at.source.links().await.unwrap();
    let info = &at.pond.links()[0];
    let link = &links[0];
    assert_eq!(
        (link.name.as_str(), link.direction, link.remote.as_str()),
        ("mail -> hub", LinkDirection::Forward, "hub")
    );
    assert_eq!((link.engine.as_str(), link.state()), ("an engine", "down"));
    assert_eq!((link.jobs, link.position, link.in_doubt, link.lag), (11, Some(3), 5, Some(4)));
    assert_eq!((link.known, link.unreadable, link.held, link.lost_leases), (6, 7, 8, 9));
    assert_eq!((link.engine_went_back, link.file_went_back, link.lost_batches), (1, 2, 4));
    assert_eq!(link.last_error.as_deref(), Some("connection refused"));
    assert_eq!(link.since.map(seen), info.state.since);
    assert_eq!(link.last_error_at.map(seen), info.state.last_error_at);
    assert_eq!(link.latest_at.map(seen), info.state.latest_at);
    assert_eq!(seen(link.started_at), info.started_at);
    assert_eq!((links[1].direction, links[1].lag, links[1].state()), (LinkDirection::Take, None, "connecting"));

    let detail = at.source.queue("mail").await.unwrap();
    assert_eq!(detail.links, links[..1]);
    let job = at.source.job(&at.waiting.to_string()).await.unwrap();
    assert_eq!(job.why.reason, "AwaitsLink");
    assert!(job.why.sentence.contains("\"mail -> hub\""), "{}", job.why.sentence);
    let metrics = at.source.metrics().await.unwrap();
    assert!(metrics.contains("millpond_link_lag_jobs{link=\"mail -> hub\",queue=\"mail\"} 4\n"), "{metrics}");
    drop((guard, other));
    assert_eq!(at.source.links().await.unwrap(), []);
    at.close().await;
}
