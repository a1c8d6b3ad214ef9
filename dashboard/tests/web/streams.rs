//! The pages of streams: what they have, their consumers and entries, and the changes of them.

use axum::body::Body;
use axum::http::StatusCode;
use millpond_dashboard::api::{Action, NewEntry, Seek, StreamSettings};
use millpond_dashboard::{Options, router};
use tower::ServiceExt;

use crate::support::{Hostile, Read, get, read, request, send};

#[tokio::test]
async fn the_list_says_how_far_the_last_consumer_is_behind() {
    let page = get("/streams").await.text;
    for shown in ["href=\"/streams/mail\"", ">150<", ">15.0 KiB<", ">1,000<", ">1,200<", ">1,234<"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(page.contains("id=\"streams\" data-live"), "{page}");
    assert!(page.contains("href=\"/streams?after=mail\""), "{page}");
    assert!(page.contains("href=\"/streams\" aria-current=\"page\""), "{page}");
}

#[tokio::test]
async fn a_stream_is_shown_with_its_consumers_and_latest_entries() {
    let page = get("/streams/mail").await.text;
    let since = "<time datetime=\"1970-01-01T00:00:00.005Z\"";
    for shown in [">1,234<", since, ">7<", ">paused<", ">no worker<", "href=\"/queues/mail?state=dead\">2<"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    for live in ["id=\"facts\" data-live", "id=\"consumers\" data-live", "id=\"entries\" data-live"] {
        assert!(page.contains(live), "{live}: {page}");
    }
    assert!(page.contains(">1,198<") && page.contains(">1,199<") && !page.contains(">1,197<"), "{page}");
    assert!(page.contains(">Earlier<") && !page.contains(">Later<") && !page.contains(">Latest<"), "{page}");
}

#[tokio::test]
async fn entries_are_paged_by_their_offsets() {
    let page = get("/streams/mail?from=1100").await.text;
    assert!(page.contains("href=\"/streams/mail?from=1050\">Earlier"), "{page}");
    assert!(page.contains("href=\"/streams/mail?from=1150\">Later"), "{page}");
    assert!(page.contains("href=\"/streams/mail?\">Latest"), "{page}");
    let page = get("/streams/mail?from=1010&limit=20").await.text;
    assert!(
        page.contains("href=\"/streams/mail?from=1000&amp;limit=20\">Earlier"),
        "no earlier than the first: {page}"
    );
    assert!(!get("/streams/mail?from=1").await.text.contains(">Earlier<"));
    assert!(get("/streams/mail?from=1200").await.text.contains("No entries."));
    let page = get("/streams/mail?from=first").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_job_says_which_entry_it_is() {
    let page = get("/jobs/1").await.text;
    assert!(page.contains("href=\"/streams/mail?from=7\">mail, 7<"), "{page}");
}

/// What the source was asked for when the form with this action was sent with these fields, in place of an older page's secret.
async fn posted(action: &str, fields: &[(&str, &str)], secret: Option<&str>) -> (Read, Vec<Action>) {
    let source = Hostile::new("mail");
    let app = router(source.clone(), Options::new());
    let page = app.clone().oneshot(request("GET", "/streams/mail").body(Body::empty()).unwrap()).await.unwrap();
    let page = read(page).await.text;
    let own = page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let given = [("form", secret.unwrap_or(own)), ("action", action), ("back", "/streams/mail")];
    let fields: Vec<_> = given.into_iter().chain(fields.iter().copied()).collect();
    for (name, _) in &fields {
        assert!(page.contains(&format!("name=\"{name}\"")), "{name}: {page}");
    }
    let sent = request("POST", "/actions").header("content-type", "application/x-www-form-urlencoded");
    let sent =
        sent.header("origin", "http://localhost:8080").body(Body::from(serde_urlencoded::to_string(fields).unwrap()));
    let answer = read(app.oneshot(sent.unwrap()).await.unwrap()).await;
    let acts = source.acts.lock().unwrap().clone();
    (answer, acts)
}

fn mail() -> String {
    "mail".to_owned()
}

#[tokio::test]
async fn a_form_moves_a_consumer_to_a_word_an_offset_or_a_time() {
    let action = r#"{"action":"seek_consumer","stream":"mail","consumer":"","to":"earliest"}"#;
    for (to, offset, time, sought) in [
        ("latest", "", "", Seek::Latest),
        ("earliest", "7", "", Seek::Offset(7)),
        ("earliest", "", "2026-11-28T16:29", Seek::Time("2026-11-28T16:29".parse().unwrap())),
    ] {
        let fields = [("/consumer", "mail"), ("/to", to), ("/to/offset:json", offset), ("/to/time:option", time)];
        let (answer, acts) = posted(action, &fields, None).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        assert_eq!(acts, [Action::SeekConsumer { stream: mail(), consumer: mail(), to: sought }]);
    }
    let fields = [("/consumer", "mail"), ("/to/offset:json", "7"), ("/to/time:option", "2026-11-28T16:29")];
    let (answer, acts) = posted(action, &fields, None).await;
    assert_eq!((answer.status, &acts[..]), (StatusCode::BAD_REQUEST, &[][..]), "not both: {}", answer.text);
}

#[tokio::test]
async fn a_form_sets_what_a_stream_keeps_and_an_empty_field_is_no_limit() {
    let action =
        r#"{"action":"configure_stream","stream":"mail","settings":{"max_age_seconds":60.0,"max_bytes":1048576}}"#;
    let fields = [
        ("/settings/max_age_seconds:nullable_json", "0.5"),
        ("/settings/max_bytes:nullable_json", ""),
        ("/settings/max_entries:nullable_json", "1000"),
        ("/settings/is_compacted:json", "true"),
    ];
    let (answer, acts) = posted(action, &fields, None).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let settings =
        StreamSettings { max_age_seconds: Some(0.5), max_bytes: None, max_entries: Some(1_000), is_compacted: true };
    assert_eq!(acts, [Action::ConfigureStream { stream: mail(), settings }]);
}

#[tokio::test]
async fn a_form_appends_an_entry_but_not_if_it_is_forged() {
    let action = r#"{"action":"append","stream":"mail","entry":{}}"#;
    let fields = [("/entry/kind", "paid"), ("/entry/key:option", ""), ("/entry/payload_text:option", "{\"n\":1.50}")];
    let (answer, acts) = posted(action, &fields, None).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let payload_text = Some("{\"n\":1.50}".to_owned());
    let entry = NewEntry { kind: "paid".to_owned(), payload_text, ..NewEntry::default() };
    assert_eq!(acts, [Action::Append { stream: mail(), entry }]);
    let (answer, acts) = posted(action, &fields, Some("guessed")).await;
    assert_eq!((answer.status, &acts[..]), (StatusCode::FORBIDDEN, &[][..]), "{}", answer.text);
}

#[tokio::test]
async fn a_read_only_dashboard_shows_streams_without_forms_that_change_them() {
    let read_only = || Options::new().read_only(true);
    for path in ["/streams", "/streams/mail"] {
        let page = send(Hostile::new("mail"), read_only(), request("GET", path).body(Body::empty()).unwrap()).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.text.contains("method=\"post\"") && !page.text.contains("/confirm"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn what_is_removed_is_asked_about_first() {
    let page = get("/streams/mail").await.text;
    assert_eq!(page.matches("/confirm?action=").count(), 2, "the stream and its consumer: {page}");
    let asked = async |action: &str| {
        let action: String = action.bytes().map(|byte| format!("%{byte:02x}")).collect();
        get(&format!("/confirm?action={action}&back=/streams/mail")).await.text
    };
    let page = asked(r#"{"action":"remove_stream","stream":"mail"}"#).await;
    assert!(page.contains("Remove the stream mail with its 150 entries?"), "{page}");
    assert!(page.contains("name=\"back\" value=\"/streams\""), "{page}");
    let page = asked(r#"{"action":"remove_consumer","stream":"mail","consumer":"mail"}"#).await;
    assert!(page.contains("Remove the consumer mail of the stream mail with its 2 dead letters?"), "{page}");
    assert!(page.contains("name=\"back\" value=\"/streams/mail\""), "{page}");
}
