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

#[tokio::test]
async fn the_connection_of_the_events_ends_with_them() {
    let request = request("GET", "/api/v1/events").body(Body::empty()).unwrap();
    let told = send(Hostile::new("mail"), Options::new(), request).await;
    assert_eq!(told.status, 200);
    assert!(!told.text.contains("data:"), "{}", told.text);
}
