//! The pages of flows.

use axum::body::Body;
use axum::http::StatusCode;
use millpond_dashboard::Options;
use millpond_dashboard::api::{Action, FlowDetail, FlowEdge, FlowNode, OnFailure};

use crate::support::{Hostile, get, request, send};

#[tokio::test]
async fn a_flow_is_drawn_with_links_titles_and_a_table_that_says_the_same() {
    let page = get("/flows/mail").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let drawing = page.text.split("<svg class=\"flow\"").nth(1).unwrap().split("</svg>").next().unwrap();
    assert_eq!(drawing.matches("<rect").count(), 3, "{drawing}");
    assert_eq!(drawing.matches("<polygon").count(), 1, "{drawing}");
    assert_eq!(drawing.matches("class=\"edge ").count(), 2, "{drawing}");
    assert_eq!(drawing.matches("<title>").count(), 6, "{drawing}");
    for text in [
        "href=\"/jobs/3\"",
        "class=\"node held\"",
        "class=\"edge cancel\"",
        "mail waits for mail, or runs if that fails",
        "mail, job 3 of kind mail in queue mail: blocked, held",
        "waits for the end",
    ] {
        assert!(drawing.contains(text), "no {text:?} in {drawing}");
    }
    let table = page.text.split("id=\"nodes\"").nth(1).unwrap();
    for text in ["href=\"/jobs/3\"", "mail, or is cancelled; mail, or runs if that fails", "signal", "callback"] {
        assert!(table.contains(text), "no {text:?} in {table}");
    }
    assert!(page.text.contains("href=\"/api/v1/flows/mail/dot\" download=\"mail.dot\""), "{}", page.text);
}

/// A flow with so many jobs, each of which waits for the one before.
fn chain(jobs: usize, is_partial: bool) -> FlowDetail {
    let node = |n: usize| FlowNode {
        id: n.to_string(),
        queue: Some("q".into()),
        kind: Some("k".into()),
        state: "blocked".into(),
        ..FlowNode::default()
    };
    let edge = |n: usize| FlowEdge { from: n.to_string(), to: (n + 1).to_string(), on_failure: OnFailure::Hold };
    let (nodes, edges) = ((1..=jobs).map(node).collect(), (1..jobs).map(edge).collect());
    FlowDetail { nodes, edges, is_partial, ..FlowDetail::default() }
}

#[tokio::test]
async fn a_large_flow_is_a_table_and_a_sentence() {
    for (jobs, is_partial, is_drawn) in [(200, false, true), (201, false, false), (5, true, false), (0, false, false)] {
        let source = Hostile::of_flow(chain(jobs, is_partial));
        let page = send(source, Options::new(), request("GET", "/flows/f").body(Body::empty()).unwrap()).await;
        assert_eq!(page.text.contains("<svg class=\"flow\""), is_drawn, "{jobs}");
        assert_eq!(page.text.contains("too large to be drawn"), !is_drawn && jobs > 0, "{jobs}");
        let table = page.text.split("id=\"nodes\"").nth(1).unwrap();
        assert_eq!(table.matches("<th scope=\"row\">").count(), jobs);
    }
}

#[tokio::test]
async fn a_flow_is_offered_what_can_be_done_in_its_state() {
    let shown = async |state: &str, of_job: &str, callbacks_running: u32| {
        let mut flow = chain(1, false);
        (flow.row.state, flow.row.callbacks_running) = (state.into(), callbacks_running);
        flow.nodes[0].state = of_job.into();
        if of_job == "missed" {
            // A signal that has missed its deadline.
            flow.nodes[0] = FlowNode { state: "dead".into(), ..FlowNode::default() };
        }
        let source = Hostile::of_flow(flow);
        let page = send(source, Options::new(), request("GET", "/flows/f").body(Body::empty()).unwrap()).await;
        ["Redrive what has died", "Cancel …", "Remove …"].map(|button| page.text.contains(button))
    };
    assert_eq!(shown("running", "active", 0).await, [false, true, false]);
    assert_eq!(shown("held", "dead", 0).await, [true, true, false]);
    assert_eq!(shown("held", "missed", 0).await, [false, true, false]);
    assert_eq!(shown("failed", "dead", 0).await, [true, false, true]);
    assert_eq!(shown("completed", "completed", 1).await, [false, false, false]);
    let read_only = Options::new().read_only(true);
    let page = send(Hostile::new("mail"), read_only, request("GET", "/flows/mail").body(Body::empty()).unwrap()).await;
    assert!(!page.text.contains("<form") && !page.text.contains("Cancel …"), "{}", page.text);
}

#[tokio::test]
async fn a_job_shows_its_flow_and_steps_and_sends_a_signal_for_which_it_waits() {
    let page = get("/jobs/1").await.text;
    assert!(page.contains("href=\"/flows/mail\""), "{page}");
    let steps = page.split("id=\"steps\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert_eq!((steps.matches("<li class=\"done\">").count(), steps.matches("<li").count()), (1, 3), "{steps}");
    assert!(steps.contains("waits until"), "{steps}");
    assert_eq!(page.matches("<option value=\"mail\">").count(), 1, "only one step waits: {page}");
    let action = page.split("name=\"action\" value=\"").find(|rest| rest.contains("signal_job")).unwrap();
    let action = action.split('"').next().unwrap().replace("&quot;", "\"");
    assert!(matches!(serde_json::from_str(&action).unwrap(), Action::SignalJob { .. }), "{action}");
}

#[tokio::test]
async fn after_its_removal_the_list_of_flows_is_shown() {
    let action = "%7B%22action%22%3A%22remove_flow%22%2C%22flow%22%3A%22mail%22%7D";
    let page = get(&format!("/confirm?action={action}&back=/flows/mail")).await.text;
    assert!(page.contains("name=\"back\" value=\"/flows\""), "{page}");
    assert!(page.contains("href=\"/flows/mail\">No<"), "{page}");
}

#[tokio::test]
async fn a_flow_is_read_as_dot() {
    let answer = get("/api/v1/flows/mail/dot").await;
    assert_eq!(answer.headers["content-type"], "text/vnd.graphviz; charset=utf-8");
    assert_eq!(answer.text, "mail");
}
