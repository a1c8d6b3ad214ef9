//! What comes from jobs stays text, whatever it is.

use axum::body::Body;
use millpond_dashboard::Options;

use crate::support::{Hostile, POLYGLOT, request, send};

/// Every page, with the polyglot in its address where it takes something.
fn paths() -> Vec<String> {
    let hostile: String = POLYGLOT.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let action = format!("%7B%22action%22%3A%22cancel_jobs%22%2C%22jobs%22%3A%7B%22tag%22%3A%22{}%22%7D%7D", "x");
    [
        "/".to_owned(),
        format!("/queues/{hostile}"),
        format!("/queues/{hostile}/groups?after={hostile}"),
        format!("/queues/{hostile}/limits"),
        format!("/jobs?queue={hostile}&kind={hostile}&group={hostile}&key={hostile}&tag={hostile}&payload={hostile}"),
        format!("/jobs?pointer={hostile}&equals={hostile}&error={hostile}&state={hostile}&after={hostile}"),
        format!("/jobs?since={hostile}"),
        format!("/jobs/{hostile}"),
        "/jobs/missing".to_owned(),
        format!("/dead?queue={hostile}"),
        "/schedules".to_owned(),
        format!("/schedules/{hostile}"),
        format!("/topics?after={hostile}"),
        format!("/topics/{hostile}?key={hostile}&headers={hostile}"),
        format!("/topics/{hostile}?key=lost"),
        format!("/topics/{hostile}?key=invalid"),
        format!("/streams?after={hostile}"),
        format!("/streams/{hostile}?from=1"),
        format!("/streams/{hostile}?from={hostile}"),
        format!("/flows?after={hostile}"),
        format!("/flows/{hostile}"),
        format!("/confirm?action=%7B%22action%22%3A%22cancel_flow%22%2C%22flow%22%3A%22{}%22%7D", "x"),
        format!("/confirm?action=%7B%22action%22%3A%22remove_topic%22%2C%22topic%22%3A%22{}%22%7D", "x"),
        format!("/confirm?action=%7B%22action%22%3A%22remove_stream%22%2C%22stream%22%3A%22{}%22%7D", "x"),
        "/links".to_owned(),
        "/plugins".to_owned(),
        "/quarantine".to_owned(),
        "/events".to_owned(),
        format!("/confirm?action={action}&back={hostile}"),
        format!("/confirm?action={hostile}"),
        format!("/confirm?action=%7B%22action%22%3A%22cancel_job%22%2C%22id%22%3A%22{}%22%7D&back=/{hostile}", "1"),
        format!("/nowhere/{hostile}"),
        format!("/?note={hostile}"),
    ]
    .into()
}

#[tokio::test]
async fn no_text_of_a_job_becomes_markup() {
    for path in paths() {
        let source = Hostile::new(POLYGLOT);
        let options = Options::new().title(POLYGLOT);
        let page = send(source, options, request("GET", &path).body(Body::empty()).unwrap()).await;
        let lower = page.text.to_lowercase();
        for markup in ["<svg/onload", "</style/", "</title/", "</textarea/", "</script/", "onclick=\""] {
            assert!(!lower.contains(markup), "{path}: {markup} in {}", page.text);
        }
        assert!(!page.text.contains("\"/**/("), "{path}: a quotation mark is not escaped: {}", page.text);
        assert!(lower.starts_with("<!doctype html>"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn the_text_is_there_as_text() {
    let page =
        send(Hostile::new("<b>bold</b>"), Options::new(), request("GET", "/").body(Body::empty()).unwrap()).await;
    assert!(page.text.contains("&lt;b&gt;bold&lt;/b&gt;"), "{}", page.text);
    assert!(!page.text.contains("<b>bold"), "{}", page.text);
}

#[tokio::test]
async fn no_link_leads_to_a_script() {
    let source = Hostile::new("javascript:alert()");
    let page = send(source, Options::new(), request("GET", "/jobs/1").body(Body::empty()).unwrap()).await;
    assert!(!page.text.contains("href=\"javascript"), "{}", page.text);
}
