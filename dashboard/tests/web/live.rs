//! Connections that tell what changes.

use axum::body::Body;
use millpond_dashboard::Options;

use crate::support::{Hostile, request, send};

#[tokio::test(start_paused = true)]
async fn a_connection_of_live_updates_ends_so_that_a_server_can_shut_down() {
    let told = send(Hostile::new("mail"), Options::new(), request("GET", "/live").body(Body::empty()).unwrap()).await;
    assert_eq!(told.headers["content-type"], "text/event-stream");
    assert!(told.text.starts_with("retry: 250\n"), "{}", told.text);
    // At once, and then every ten seconds although nothing changes.
    assert_eq!(told.text.matches("event: change\n").count(), 3, "{}", told.text);
}

/// The rest of a stream of events that nothing happens in.
async fn events_of(options: Options) -> crate::support::Read {
    let request = request("GET", "/api/v1/events").body(Body::empty()).unwrap();
    send(Hostile::quiet(), options, request).await
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_events_ends_so_that_a_server_can_shut_down() {
    let begun = tokio::time::Instant::now();
    let told = events_of(Options::new()).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert!(told.text.starts_with("retry: 250\n") && !told.text.contains("data:"), "{}", told.text);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_the_signal_of_the_application() {
    for path in ["/api/v1/events", "/live"] {
        let options = Options::new().until(tokio::time::sleep(std::time::Duration::from_secs(90)));
        let begun = tokio::time::Instant::now();
        send(Hostile::quiet(), options, request("GET", path).body(Body::empty()).unwrap()).await;
        assert_eq!(begun.elapsed().as_secs(), 90, "{path}");
    }
}

#[tokio::test]
async fn a_check_of_readiness_asks_for_no_more_than_that() {
    let source = Hostile::new("the disk is full");
    let answer = send(source, Options::new(), request("GET", "/health/ready").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.text.contains("the disk is full"), "{}", answer.text);
}

#[tokio::test]
async fn the_connection_of_the_events_ends_with_them() {
    let request = request("GET", "/api/v1/events").body(Body::empty()).unwrap();
    let told = send(Hostile::new("mail"), Options::new(), request).await;
    assert_eq!(told.status, 200);
    assert!(!told.text.contains("data:"), "{}", told.text);
}
