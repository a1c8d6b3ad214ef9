//! What the pages are like.

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use millpond_dashboard::api::Order;
use millpond_dashboard::{Options, router};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Hostile, get, read, request, send};

#[tokio::test]
async fn nested_pages_link_to_pages_below_the_same_path() {
    let app = Router::new().nest("/admin/queues", router(Hostile::new("mail"), Options::new()));
    for path in ["/admin/queues", "/admin/queues/queues/mail", "/admin/queues/jobs/1", "/admin/queues/flows/mail"] {
        let response = app.clone().oneshot(request("GET", path).body(Body::empty()).unwrap()).await.unwrap();
        let page = read(response).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for attribute in ["href=\"", "src=\"", "action=\""] {
            for link in page.text.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(link.starts_with("/admin/queues/") || link.starts_with('#'), "{path}: {link}");
            }
        }
    }
}

#[tokio::test]
async fn behind_a_proxy_the_links_have_its_path() {
    let app = router(Hostile::new("mail"), Options::new().public_path("/ops/"));
    let page = read(app.oneshot(request("GET", "/").body(Body::empty()).unwrap()).await.unwrap()).await;
    assert!(page.text.contains("href=\"/ops/jobs\""), "{}", page.text);
}

#[tokio::test]
async fn the_assets_are_small_and_are_kept_by_browsers() {
    let page = get("/").await;
    let assets: Vec<String> = ["href=\"/assets/", "src=\"/assets/"]
        .iter()
        .flat_map(|mark| page.text.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()))
        .collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    let mut bytes = 0;
    for asset in assets {
        let answer = get(&format!("/assets/{asset}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{asset}");
        assert!(answer.headers["cache-control"].to_str().unwrap().contains("immutable"), "{asset}");
        bytes += answer.text.len();
    }
    assert!(bytes < 150_000, "{bytes} bytes");
    assert_eq!(get("/assets/nothing.js").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_page_has_no_script_or_style_in_it() {
    for path in [
        "/",
        "/queues/mail",
        "/queues/mail/groups",
        "/queues/mail/limits",
        "/jobs",
        "/jobs/1",
        "/flows",
        "/flows/mail",
        "/topics",
        "/topics/mail",
        "/streams",
        "/streams/mail",
        "/dead",
        "/links",
        "/events",
    ] {
        let page = get(path).await;
        assert!(!page.text.contains("<style") && !page.text.contains(" style=\"") && !page.text.contains(" onclick="));
        assert_eq!(page.text.matches("<script").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn lists_of_ended_jobs_begin_with_the_newest_and_can_be_reversed() {
    for (path, asked, other) in [
        ("/jobs", Order::Oldest, "/jobs?order=newest"),
        ("/jobs?state=pending", Order::Oldest, "/jobs?state=pending&amp;order=newest"),
        ("/jobs?state=dead", Order::Newest, "/jobs?state=dead&amp;order=oldest"),
        ("/jobs?state=dead&order=oldest", Order::Oldest, "/jobs?state=dead&amp;order=newest"),
        ("/queues/mail?state=completed", Order::Newest, "/queues/mail?state=completed&amp;order=oldest"),
        ("/queues/mail?order=newest", Order::Newest, "/queues/mail?order=oldest"),
    ] {
        let source = Hostile::new("mail");
        let page = send(source.clone(), Options::new(), request("GET", path).body(Body::empty()).unwrap()).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        let orders = source.orders.lock().unwrap();
        assert!(!orders.is_empty() && orders.iter().all(|order| *order == asked), "{path}: {orders:?}");
        assert!(page.text.contains(&format!("href=\"{other}\"")), "{path}: {}", page.text);
    }
    let next = get("/jobs?order=newest").await;
    assert!(next.text.contains("href=\"/jobs?order=newest&amp;after=mail\""), "{}", next.text);
    let source = Hostile::new("mail");
    for (path, asked) in [("?state=cancelled", Order::Newest), ("?state=cancelled&order=oldest", Order::Oldest)] {
        let path = format!("/api/v1/jobs{path}");
        send(source.clone(), Options::new(), request("GET", &path).body(Body::empty()).unwrap()).await;
        assert_eq!(source.orders.lock().unwrap().pop(), Some(asked), "{path}");
    }
    assert_eq!(get("/api/v1/jobs?order=sideways").await.status, StatusCode::BAD_REQUEST);
}

/// The page that asks before an action.
async fn asked(action: serde_json::Value) -> crate::support::Read {
    let action: String = action.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    get(&format!("/confirm?action={action}&back=/jobs")).await
}

#[tokio::test]
async fn the_number_of_jobs_is_said_before_all_of_them_are_changed() {
    for (action, question) in [
        (json!({ "action": "delete_jobs", "jobs": { "tag": "t", "state": "dead" } }), "Delete 1,234 jobs?"),
        // The source says 1,234 for each state. Ended jobs are not cancelled, and only dead letters are redriven.
        (json!({ "action": "cancel_jobs", "jobs": { "tag": "t" } }), "Cancel 6,170 jobs?"),
        (json!({ "action": "cancel_jobs", "jobs": { "state": "completed" } }), "Cancel 0 jobs?"),
        (json!({ "action": "redrive_jobs", "jobs": {} }), "Redrive 1,234 jobs?"),
        (json!({ "action": "run_jobs_now", "jobs": { "state": "retrying" } }), "Run 1,234 jobs now?"),
        (json!({ "action": "purge_jobs", "jobs": {}, "error_group": "mail" }), "Remove at least 7 jobs for good?"),
        (json!({ "action": "cancel_flow", "flow": "mail" }), "Cancel 2 jobs of the flow mail?"),
        (json!({ "action": "remove_flow", "flow": "mail" }), "Remove the flow mail with the results of its jobs?"),
        (json!({ "action": "drain_queue", "queue": "mail" }), "Remove all 4 waiting jobs of the queue mail for good?"),
    ] {
        let page = asked(action).await;
        assert!(page.text.contains(&format!("<h1>{question}</h1>")), "{question}: {}", page.text);
    }
}

#[tokio::test]
async fn an_action_that_needs_no_question_cannot_be_hidden_behind_one() {
    let page = asked(json!({ "action": "enqueue", "queue": "mail", "kind": "send", "payload": 1 })).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(!page.text.contains("<form method=\"post\" action=\"/actions\""), "{}", page.text);
}

#[tokio::test]
async fn the_way_back_from_a_question_leads_to_no_other_site() {
    for back in ["//evil.example", "/%09/evil.example", "https://evil.example", "/%5Cevil.example"] {
        let page =
            get(&format!("/confirm?action=%7B%22action%22%3A%22cancel_job%22%2C%22id%22%3A%221%22%7D&back={back}"))
                .await;
        assert!(!page.text.contains("evil.example"), "{back}: {}", page.text);
    }
}

#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_said() {
    let page = get("/jobs?since=yesterday").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text.contains("not a time in UTC"), "{}", page.text);
}

#[tokio::test]
async fn health_says_why_the_queue_is_degraded() {
    assert_eq!(get("/health/live").await.text, "live\n");
    let ready = get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.text, r#"{"reason":"mail","status":"degraded"}"#);
}

#[tokio::test]
async fn the_description_of_the_api_names_every_route() {
    let text = get("/api/openapi.json").await.text;
    for path in [
        "overview",
        "queues/{name}",
        "queues/{name}/groups",
        "jobs",
        "jobs/count",
        "jobs/{id}",
        "dead",
        "schedules",
        "schedules/{name}",
        "topics",
        "topics/{name}",
        "topics/{name}/matches",
        "streams",
        "streams/{name}",
        "streams/{name}/entries",
        "consumers",
        "flows",
        "flows/{name}",
        "flows/{name}/dot",
        "plugins",
        "quarantine",
        "revision",
        "check",
        "events",
        "actions",
    ] {
        assert!(text.contains(&format!("\"/api/v1/{path}\"")), "{path}: {text}");
    }
}
