//! What a change needs.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use millpond_dashboard::api::Action;
use millpond_dashboard::{Options, router};
use tower::ServiceExt;

use crate::support::{Hostile, Read, read, request, send};

const PAUSE: &str = r#"{"action":"pause_queue","queue":"mail"}"#;

fn pause() -> Action {
    Action::PauseQueue { queue: "mail".to_owned() }
}

fn api(body: &str) -> axum::http::request::Builder {
    let _ = body;
    request("POST", "/api/v1/actions").header("content-type", "application/json")
}

async fn post(source: &Arc<Hostile>, options: Options, request: Request<Body>) -> Read {
    send(source.clone(), options, request).await
}

#[tokio::test]
async fn a_program_posts_an_action_as_json() {
    let source = Hostile::new("done");
    let answer = post(&source, Options::new(), api(PAUSE).body(PAUSE.into()).unwrap()).await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, r#"{"changed":1,"message":"done"}"#));
    assert_eq!(*source.acts.lock().unwrap(), [pause()]);
}

#[tokio::test]
async fn a_body_that_is_no_action_is_a_problem() {
    for body in [
        "",
        "{",
        "[]",
        r#"{"action":"explode"}"#,
        r#"{"action":"pause_queue"}"#,
        r#"{"action":"pause_queue","queue":"a","x":1}"#,
        r#"{"action":"delete_jobs","jobs":{"tags":"misspelt"}}"#,
    ] {
        let source = Hostile::new("done");
        let answer = post(&source, Options::new(), api(body).body(body.to_owned().into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{body}");
        assert!(source.acts.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_form_of_another_site_cannot_be_sent_as_json() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let source = Hostile::new("done");
        let forged = request("POST", "/api/v1/actions").header("content-type", kind).body(PAUSE.into()).unwrap();
        assert_eq!(post(&source, Options::new(), forged).await.status, StatusCode::BAD_REQUEST, "{kind}");
        assert!(source.acts.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_post_of_another_site_is_refused() {
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let source = Hostile::new("done");
        let forged = api(PAUSE).header(name, value).body(PAUSE.into()).unwrap();
        assert_eq!(post(&source, Options::new(), forged).await.status, StatusCode::FORBIDDEN, "{name}: {value}");
        assert!(source.acts.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_form_needs_the_value_that_only_pages_of_the_dashboard_have() {
    let source = Hostile::new("mail");
    let app = router(source.clone(), Options::new());
    let page =
        read(app.clone().oneshot(request("GET", "/queues/mail").body(Body::empty()).unwrap()).await.unwrap()).await;
    let secret = page.text.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = |secret: &str| {
        let action = "%7B%22action%22%3A%22pause_queue%22%2C%22queue%22%3A%22mail%22%7D";
        let body = format!("form={secret}&action={action}&back=/queues/mail?state=dead");
        let request = request("POST", "/actions").header("content-type", "application/x-www-form-urlencoded");
        request.header("origin", "http://localhost:8080").body(Body::from(body)).unwrap()
    };
    let forged = app.clone().oneshot(form("0000")).await.unwrap();
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    assert!(source.acts.lock().unwrap().is_empty());
    let sent = app.clone().oneshot(form(&secret)).await.unwrap();
    assert_eq!(sent.status(), StatusCode::SEE_OTHER);
    assert_eq!(sent.headers()["location"], "/queues/mail?state=dead&note=0");
    assert_eq!(*source.acts.lock().unwrap(), [pause()]);
    let back =
        read(app.oneshot(request("GET", "/queues/mail?state=dead&note=0").body(Body::empty()).unwrap()).await.unwrap())
            .await;
    assert!(back.text.contains("<p class=\"note\" role=\"status\">mail</p>"), "{}", back.text);
}

#[tokio::test]
async fn nothing_is_changed_by_a_get() {
    let source = Hostile::new("mail");
    for path in ["/actions", "/api/v1/actions", "/confirm?action=%7B%22action%22%3A%22pause_all%22%7D", "/logout"] {
        let _ = post(&source, Options::new(), request("GET", path).body(Body::empty()).unwrap()).await;
    }
    assert!(source.acts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_read_only_dashboard_changes_nothing_and_shows_no_button() {
    let source = Hostile::new("mail");
    let options = || Options::new().read_only(true);
    let answer = post(&source, options(), api(PAUSE).body(PAUSE.into()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(source.acts.lock().unwrap().is_empty());
    for path in
        ["/", "/queues/mail", "/queues/mail/limits", "/jobs/1", "/dead", "/schedules/a", "/plugins", "/quarantine"]
    {
        let page = post(&source, options(), request("GET", path).body(Body::empty()).unwrap()).await;
        assert!(!page.text.contains("method=\"post\"") && !page.text.contains("/confirm?"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn an_action_that_is_not_permitted_is_not_made_and_is_told_all_the_same() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let options = || {
        let told = told.clone();
        Options::new()
            .who(|parts| parts.headers.get("x-user").and_then(|name| name.to_str().ok()).map(str::to_owned))
            .permit(|actor, action| {
                actor.name.as_deref() == Some("ada") || !matches!(action, Action::PauseQueue { .. })
            })
            .audit(move |audited| {
                let outcome = audited.outcome.map(str::to_owned).map_err(|problem| problem.code);
                told.lock().unwrap().push((audited.actor.to_string(), audited.action.name(), outcome));
            })
    };
    let source = Hostile::new("done");
    let by = |name: &str| api(PAUSE).header("x-user", name).body(PAUSE.into()).unwrap();
    assert_eq!(post(&source, options(), by("bob")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(post(&source, options(), by("ada")).await.status, StatusCode::OK);
    assert_eq!(source.acts.lock().unwrap().len(), 1);
    let expected = [
        ("bob".to_owned(), "pause_queue".to_owned(), Err(millpond_dashboard::api::Code::Forbidden)),
        ("ada".to_owned(), "pause_queue".to_owned(), Ok("done".to_owned())),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let source = Hostile::new("done");
    let body = format!(r#"{{"action":"pause_queue","queue":"{}"}}"#, "a".repeat(3 << 20));
    let answer = post(&source, Options::new(), api(&body).body(body.into()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(source.acts.lock().unwrap().is_empty());
}

const BACKUP: &str = r#"{"action":"backup","path":"/var/backups/jobs.redb"}"#;

#[tokio::test]
async fn a_place_on_the_machine_is_named_only_from_that_machine() {
    const TOKEN: &str = "a-token-of-26-characters-x";
    let asks = |peer: &str| {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        let request = Request::builder().method("POST").uri("/api/v1/actions").header("host", "pond.example");
        let request =
            request.header("content-type", "application/json").header("authorization", format!("Bearer {TOKEN}"));
        request.extension(axum::extract::ConnectInfo(peer))
    };
    let source = Hostile::new("done");
    let options = || Options::new().token(TOKEN);
    for request in [asks("192.168.0.7:1"), asks("127.0.0.1:1").header("x-forwarded-for", "1.2.3.4")] {
        let answer = post(&source, options(), request.body(BACKUP.into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        assert!(answer.text.contains("on the same machine"), "{}", answer.text);
    }
    let unknown = Request::builder().method("POST").uri("/api/v1/actions").header("host", "pond.example");
    let unknown = unknown.header("content-type", "application/json").body(BACKUP.into()).unwrap();
    assert_eq!(post(&source, Options::new().behind_own_auth(), unknown).await.status, StatusCode::FORBIDDEN);
    assert!(source.acts.lock().unwrap().is_empty());
    assert_eq!(post(&source, options(), asks("127.0.0.1:1").body(BACKUP.into()).unwrap()).await.status, StatusCode::OK);
    assert_eq!(source.acts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_check_needs_a_permission_and_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let options = |permit: bool| {
        let told = told.clone();
        Options::new().permit(move |_, action| permit || *action != Action::Check).audit(move |audited| {
            told.lock().unwrap().push((audited.action.name(), audited.outcome.is_ok()));
        })
    };
    let check = || request("POST", "/api/v1/check").body(Body::empty()).unwrap();
    let act = || api("").body(r#"{"action":"check"}"#.into()).unwrap();
    for (request, permit, status) in [
        (check(), false, StatusCode::FORBIDDEN),
        (act(), false, StatusCode::FORBIDDEN),
        (check(), true, StatusCode::OK),
        (act(), true, StatusCode::OK),
    ] {
        assert_eq!(post(&Hostile::new("wrong"), options(permit), request).await.status, status);
    }
    let expected = [false, false, true, true].map(|is_permitted| ("check".to_owned(), is_permitted));
    assert_eq!(*told.lock().unwrap(), expected);
    // It changes nothing.
    assert_eq!(post(&Hostile::new("wrong"), Options::new().read_only(true), check()).await.status, StatusCode::OK);
}
