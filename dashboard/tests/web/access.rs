//! Who is let in.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use millpond_dashboard::Options;

use crate::support::{Hostile, Read, request, send};

const TOKEN: &str = "a-token-of-26-characters-x";

async fn get(options: Options, request: Request<Body>) -> Read {
    send(Hostile::new("mail"), options, request).await
}

fn from(peer: &str, host: &str) -> axum::http::request::Builder {
    let peer: SocketAddr = peer.parse().unwrap();
    Request::builder().uri("/").header("host", host).extension(ConnectInfo(peer))
}

#[tokio::test]
async fn without_options_only_the_same_machine_is_let_in() {
    let empty = Body::empty;
    assert_eq!(get(Options::new(), from("127.0.0.1:1", "localhost").body(empty()).unwrap()).await.status, 200);
    assert_eq!(get(Options::new(), from("[::1]:1", "[::1]:80").body(empty()).unwrap()).await.status, 200);
    assert_eq!(get(Options::new(), from("[::ffff:127.0.0.1]:1", "127.0.0.1").body(empty()).unwrap()).await.status, 200);
    let refused = get(Options::new(), from("192.168.0.7:1", "localhost").body(empty()).unwrap()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("from another machine"), "{}", refused.text);
}

#[tokio::test]
async fn a_request_whose_origin_is_not_known_is_refused() {
    let unknown = Request::builder().uri("/").header("host", "localhost").body(Body::empty()).unwrap();
    let refused = get(Options::new(), unknown).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("into_make_service_with_connect_info"), "{}", refused.text);
}

#[tokio::test]
async fn a_request_through_a_proxy_is_not_from_the_same_machine() {
    for header in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
        let proxied = from("127.0.0.1:1", "localhost").header(header, "1.2.3.4").body(Body::empty()).unwrap();
        assert_eq!(get(Options::new(), proxied).await.status, StatusCode::FORBIDDEN, "{header}");
    }
}

#[tokio::test]
async fn a_foreign_name_that_leads_here_is_refused() {
    for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "", "10.0.0.1"] {
        let request = from("127.0.0.1:1", host).body(Body::empty()).unwrap();
        assert_eq!(get(Options::new(), request).await.status, StatusCode::FORBIDDEN, "{host:?}");
    }
    let named = from("127.0.0.1:1", "Pond.example:8080").body(Body::empty()).unwrap();
    assert_eq!(get(Options::new().host("pond.example"), named).await.status, 200);
}

#[tokio::test]
async fn with_a_token_everybody_needs_it() {
    let options = || Options::new().token(TOKEN);
    let plain = || from("8.8.8.8:1", "pond.example");
    let refused = get(options(), plain().body(Body::empty()).unwrap()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.text.contains("name=\"token\""), "{}", refused.text);
    for wrong in ["", "Bearer", "Bearer ", "Bearer x", &format!("Bearer {TOKEN}x"), &format!("Basic {TOKEN}"), TOKEN] {
        let request = plain().header("authorization", wrong).body(Body::empty()).unwrap();
        assert_eq!(get(options(), request).await.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    let right = plain().header("authorization", format!("Bearer {TOKEN}")).body(Body::empty()).unwrap();
    assert_eq!(get(options(), right).await.status, 200);
}

#[tokio::test]
async fn a_program_without_the_token_gets_a_problem_as_json() {
    let mut request = from("8.8.8.8:1", "pond.example");
    request = request.uri("/api/v1/overview");
    let refused = get(Options::new().token(TOKEN), request.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert!(refused.text.contains("\"code\":\"unauthorized\""), "{}", refused.text);
}

#[tokio::test]
async fn whoever_enters_the_token_gets_a_cookie_that_no_script_reads_and_no_other_site_sends() {
    use tower::ServiceExt;
    let app = millpond_dashboard::router(Hostile::new("mail"), Options::new().token(TOKEN));
    let enter = |token: &str| {
        let form = format!("token={token}");
        let request = from("8.8.8.8:1", "pond.example").method("POST").uri("/login");
        request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(form)).unwrap()
    };
    let wrong = app.clone().oneshot(enter("not-the-token-at-all")).await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(wrong.headers().get("set-cookie").is_none());
    let right = app.clone().oneshot(enter(TOKEN)).await.unwrap();
    assert_eq!(right.status(), StatusCode::SEE_OTHER);
    let cookie = right.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let with = from("8.8.8.8:1", "pond.example").header("cookie", pair).body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(with).await.unwrap().status(), 200);
}

#[tokio::test]
async fn whoever_logs_out_ends_the_own_session_and_no_other() {
    use tower::ServiceExt;
    let app = millpond_dashboard::router(Hostile::new("mail"), Options::new().token(TOKEN));
    let form = |path: &str| {
        let request = from("8.8.8.8:1", "pond.example:3001").method("POST").uri(path);
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    let enter = || app.clone().oneshot(form("/login").body(Body::from(format!("token={TOKEN}"))).unwrap());
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let entered = enter().await.unwrap();
        cookies.push(entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned());
    }
    assert!(cookies[0].starts_with("millpond_session_3001=") && cookies[0] != cookies[1], "{cookies:?}");
    let page = |cookie: &str| {
        // A dashboard above this one has a cookie of the same name.
        let cookies = format!("millpond_session_3001=other; {cookie}");
        let request = from("8.8.8.8:1", "pond.example:3001").header("cookie", cookies).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request);
        async move { crate::support::read(answer.await.unwrap()).await }
    };
    let text = page(&cookies[0]).await.text;
    let value = text.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let leave = form("/logout").header("cookie", &cookies[0]).body(Body::from(format!("form={value}"))).unwrap();
    assert_eq!(app.clone().oneshot(leave).await.unwrap().status(), StatusCode::SEE_OTHER);
    assert_eq!(page(&cookies[0]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(page(&cookies[1]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn behind_the_own_layer_of_the_application_nobody_is_asked() {
    let request = Request::builder().uri("/").header("host", "pond.example").body(Body::empty()).unwrap();
    assert_eq!(get(Options::new().behind_own_auth(), request).await.status, 200);
}

#[test]
#[should_panic(expected = "at least 16 characters")]
fn a_short_token_is_refused() {
    let _ = Options::new().token("short");
}

#[tokio::test]
async fn every_answer_limits_what_a_browser_does_with_it() {
    for path in ["/", "/jobs/missing", "/nowhere", "/api/v1/overview", "/assets/live.js"] {
        let answer = get(Options::new(), request("GET", path).body(Body::empty()).unwrap()).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["referrer-policy"], "same-origin", "{path}");
    }
}

#[tokio::test]
async fn somebody_without_the_token_sees_nothing_of_the_dashboard() {
    use tower::ServiceExt;
    let app = millpond_dashboard::router(Hostile::new("a secret"), Options::new().token(TOKEN));
    let action = r#"{"action":"pause_all"}"#;
    let change = from("8.8.8.8:1", "pond.example").method("POST").uri("/api/v1/actions");
    let change = change.header("authorization", format!("Bearer {TOKEN}")).header("content-type", "application/json");
    assert_eq!(app.clone().oneshot(change.body(Body::from(action)).unwrap()).await.unwrap().status(), 200);
    for path in ["/?note=0", "/login?note=0", "/queues/mail?note=0"] {
        let request = from("8.8.8.8:1", "pond.example").uri(path).body(Body::empty()).unwrap();
        let page = crate::support::read(app.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!page.text.contains("a secret") && !page.text.contains("name=\"form\""), "{path}: {}", page.text);
    }
}
