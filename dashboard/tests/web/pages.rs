//! What the pages are like.

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use millpond_dashboard::{Options, router};
use tower::ServiceExt;

use crate::support::{Hostile, get, read, request};

#[tokio::test]
async fn nested_pages_link_to_pages_below_the_same_path() {
    let app = Router::new().nest("/admin/queues", router(Hostile::new("mail"), Options::new()));
    for path in ["/admin/queues", "/admin/queues/queues/mail", "/admin/queues/jobs/1"] {
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
    for path in
        ["/", "/queues/mail", "/queues/mail/groups", "/queues/mail/limits", "/jobs", "/jobs/1", "/dead", "/events"]
    {
        let page = get(path).await;
        assert!(!page.text.contains("<style") && !page.text.contains(" style=\"") && !page.text.contains(" onclick="));
        assert_eq!(page.text.matches("<script").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn the_number_of_jobs_is_said_before_all_of_them_are_changed() {
    let page = get(
        "/confirm?action=%7B%22action%22%3A%22delete_jobs%22%2C%22jobs%22%3A%7B%22tag%22%3A%22t%22%7D%7D&back=/jobs",
    )
    .await;
    assert!(page.text.contains("<h1>Delete 1,234 jobs?</h1>"), "{}", page.text);
    let page = get(
        "/confirm?action=%7B%22action%22%3A%22purge_jobs%22%2C%22jobs%22%3A%7B%7D%2C%22error_group%22%3A%22mail%22%7D",
    )
    .await;
    assert!(page.text.contains("<h1>Remove 7 jobs for good?</h1>"), "{}", page.text);
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
