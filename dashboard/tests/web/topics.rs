//! The pages of topics: where a message would go, and the changes of bindings.

use axum::body::Body;
use axum::http::StatusCode;
use millpond_dashboard::api::{Action, Binding};
use millpond_dashboard::{Options, router};
use tower::ServiceExt;

use crate::support::{Hostile, get, read, request, send};

#[tokio::test]
async fn a_message_is_tried_with_a_key_and_headers() {
    let page = get("/topics/mail").await.text;
    assert!(page.contains("Try a message") && !page.contains("These get it"), "{page}");
    let page = get("/topics/mail?key=order.paid&headers=a%3D1").await.text;
    assert!(
        page.contains("These get it:")
            && page.contains("stream <a href=\"/streams/mail\"")
            && page.contains("href=\"/queues/mail\""),
        "{page}"
    );
    assert!(page.contains("value=\"order.paid\"") && page.contains("a=1"), "{page}");
    assert!(get("/topics/mail?key=lost").await.text.contains("the alternate queue gets it"));
    let page = get("/topics/mail?key=invalid").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("note problem"), "the bindings are shown nevertheless: {}", page.text);
}

#[tokio::test]
async fn a_form_binds_a_queue_or_a_stream_and_leaves_out_what_is_empty() {
    bind_by_form("crm", "", Binding { queue: Some("crm".to_owned()), ..Binding::default() }).await;
    bind_by_form("", "history", Binding { stream: Some("history".to_owned()), ..Binding::default() }).await;
}

async fn bind_by_form(queue: &str, stream: &str, to: Binding) {
    let source = Hostile::new("mail");
    let app = router(source.clone(), Options::new());
    let page = app.clone().oneshot(request("GET", "/topics/mail").body(Body::empty()).unwrap()).await.unwrap();
    let page = read(page).await;
    let secret = page.text.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let fields = [
        ("form", secret.as_str()),
        ("action", r#"{"action":"bind","topic":"mail","binding":{}}"#),
        ("back", "/topics/mail"),
        ("/binding/queue:nullable", queue),
        ("/binding/stream:nullable", stream),
        ("/binding/key:nullable", ""),
        ("/binding/headers_all:lines", "a=1\r\n\r\nb=2"),
        ("/binding/headers_any:lines", ""),
    ];
    let sent = request("POST", "/actions").header("content-type", "application/x-www-form-urlencoded");
    let sent =
        sent.header("origin", "http://localhost:8080").body(Body::from(serde_urlencoded::to_string(fields).unwrap()));
    let answer = read(app.oneshot(sent.unwrap()).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let headers_all = vec!["a=1".to_owned(), "b=2".to_owned()];
    let binding = Binding { headers_all, ..to };
    assert_eq!(*source.acts.lock().unwrap(), [Action::Bind { topic: "mail".to_owned(), binding }]);
}

#[tokio::test]
async fn a_read_only_dashboard_shows_topics_without_forms_that_change_them() {
    let read_only = || Options::new().read_only(true);
    for path in ["/topics", "/topics/mail"] {
        let page = send(Hostile::new("mail"), read_only(), request("GET", path).body(Body::empty()).unwrap()).await;
        assert!(!page.text.contains("method=\"post\"") && !page.text.contains("Unbind"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn what_is_removed_is_asked_about_first() {
    let page = get("/topics/mail").await.text;
    assert!(page.contains("/confirm?action=") && page.contains("Unbind"), "{page}");
    let action = "%7B%22action%22%3A%22remove_topic%22%2C%22topic%22%3A%22mail%22%7D";
    let page = get(&format!("/confirm?action={action}&back=/topics/mail")).await.text;
    assert!(page.contains("Remove the topic mail with its bindings?"), "{page}");
    assert!(page.contains("name=\"back\" value=\"/topics\""), "{page}");
}
