//! The page of nodes.

use axum::body::Body;
use axum::http::StatusCode;
use millpond_dashboard::Options;
use millpond_dashboard::api::{Node, NodeLink, NodeQueue, Nodes, Time};

use crate::support::{Hostile, POLYGLOT, Read, get, request, send};

/// A node that answers, and one that does not any more.
fn nodes(text: &str) -> Nodes {
    let text = || text.to_owned();
    let queue = NodeQueue {
        name: text(),
        is_paused: true,
        pending: 1_234,
        scheduled: u64::MAX,
        blocked: 1,
        ..NodeQueue::default()
    };
    let link = NodeLink { name: text(), last_error: Some(text()), lag: Some(5), went_back: 2, ..NodeLink::default() };
    let node = Node {
        name: text(),
        file: text(),
        version: text(),
        is_answering: true,
        seen_at: Time(1),
        degraded: Some(text()),
        queues: vec![queue],
        more_queues: 7,
        links: vec![link],
        more_links: 8,
    };
    let gone = Node { is_answering: false, seen_at: Time(2), ..node.clone() };
    Nodes { nodes: vec![node, gone], ignored: 3, problem: Some(text()) }
}

async fn with_nodes(text: &'static str, path: &str) -> Read {
    let options = Options::new().nodes(move || async move { nodes(text) });
    send(Hostile::new("mail"), options, request("GET", path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn each_node_says_whether_it_answers_and_when_it_was_seen() {
    let page = with_nodes("hub", "/nodes").await.text;
    for shown in [
        ">answers<",
        ">does not answer<",
        "datetime=\"1970-01-01T00:00:00.002Z\"",
        ">1,234<",
        ">18,446,744,073,709,551,615<",
        "and 7 more queues",
        "3 answers were ignored",
        "went back 2 times",
        "href=\"/nodes\" aria-current=\"page\"",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let api = with_nodes("hub", "/api/v1/nodes").await;
    assert_eq!(serde_json::from_str::<Nodes>(&api.text).unwrap(), nodes("hub"));
}

#[tokio::test]
async fn no_text_of_a_node_becomes_markup() {
    let page = with_nodes(POLYGLOT, "/nodes").await.text;
    let lower = page.to_lowercase();
    for markup in ["<svg/onload", "</style/", "</title/", "</script/", "onclick=\""] {
        assert!(!lower.contains(markup), "{markup} in {page}");
    }
    assert!(!page.contains("\"/**/("), "a quotation mark is not escaped: {page}");
}

#[tokio::test]
async fn a_dashboard_that_knows_no_fleet_has_no_such_page() {
    assert!(!get("/").await.text.contains("href=\"/nodes\""));
    for path in ["/nodes", "/api/v1/nodes"] {
        let answer = get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text.contains("knows no nodes"), "{}", answer.text);
    }
}
