//! Flows and steps: what is shown of them, and what each action does.

use millpond::dashboard::api::{Action, Code, JobQuery, OnFailure, Order, Paging};
use millpond::dashboard::{PondSource, Source};
use millpond::{FlowState, State};
use serde_json::{Value, json};

use crate::pond::{Stocked, stocked};
use crate::stock::{FlowStock, stock_flows};
use crate::support::*;

const ORDER: &str = "order 7";

async fn with_flows() -> (Stocked, FlowStock) {
    let at = stocked().await;
    let flows = stock_flows(&at.pond).await;
    (at, flows)
}

fn order() -> String {
    ORDER.to_owned()
}

fn signal_flow(signal: &str, payload: Value) -> Action {
    Action::SignalFlow { flow: order(), signal: signal.to_owned(), payload, payload_text: None }
}

#[tokio::test]
async fn flows_are_listed_with_the_latest_first() {
    let (at, _) = with_flows().await;
    let page = |after: Option<&str>| Paging { after: after.map(str::to_owned), limit: Some(1) };
    let first = at.source.flows(page(None)).await.unwrap();
    assert_eq!((first.total, first.flows.len(), first.flows[0].name.as_str()), (2, 1, ORDER));
    let second = at.source.flows(page(first.next.as_deref())).await.unwrap();
    assert_eq!((second.flows[0].name.as_str(), second.next), ("batch", None));
    assert_eq!((second.flows[0].state.as_str(), second.flows[0].counts.completed), ("completed", 2));
    assert_eq!(at.source.flows(page(Some("never"))).await.unwrap_err().code, Code::NotFound);
    at.close().await;
}

#[tokio::test]
async fn a_flow_is_shown_with_what_waits_for_what() {
    let (at, stock) = with_flows().await;
    let flow = at.source.flow(ORDER).await.unwrap();
    let counts = flow.row.counts;
    assert_eq!((flow.row.state.as_str(), counts.blocked, counts.active, counts.dead), ("running", 2, 1, 1));
    assert!(flow.dot.starts_with("digraph \"order 7\" {") && !flow.is_partial, "{}", flow.dot);
    let node = |name: &str| flow.nodes.iter().find(|node| node.name.as_deref() == Some(name)).unwrap();
    let (charge, pack, mail, approved) = (node("charge"), node("pack"), node("mail"), node("approved"));
    assert_eq!((charge.id.clone(), charge.state.as_str()), (stock.charge.to_string(), "dead"));
    assert_eq!((charge.queue.as_deref(), charge.kind.as_deref()), (Some("shop"), Some("work")));
    assert_eq!((pack.waits, pack.failed, pack.held_by.as_ref()), (1, 1, Some(&charge.id)));
    assert!(approved.is_signal() && approved.state == "active" && !mail.is_signal());
    assert_eq!(flow.nodes.iter().filter(|node| node.is_callback).count(), 1);
    let mut edges: Vec<_> = flow.edges.iter().map(|edge| (&edge.from, &edge.to, edge.on_failure)).collect();
    edges.sort_by_key(|edge| edge.2 as u8);
    let expected = [
        (&charge.id, &pack.id, OnFailure::Hold),
        (&pack.id, &mail.id, OnFailure::Cancel),
        (&approved.id, &mail.id, OnFailure::Run),
    ];
    assert_eq!(edges, expected);
    let batch = at.source.flow("batch").await.unwrap();
    assert_eq!(batch.nodes[0].result.as_ref().unwrap().text, "{\n  \"receipt\": 4111\n}");
    assert_eq!(at.source.flow("never").await.unwrap_err().code, Code::NotFound);
    at.close().await;
}

#[tokio::test]
async fn a_job_is_shown_with_its_flow_what_holds_it_and_its_steps() {
    let (at, stock) = with_flows().await;
    let pack = at.source.job(&stock.pack.to_string()).await.unwrap();
    assert_eq!((pack.row.state.as_str(), pack.row.flow.as_deref()), ("blocked", Some(ORDER)));
    assert_eq!((pack.why.reason.as_str(), pack.why.job), ("Blocked", Some(stock.charge.to_string())));
    let job = at.source.job(&stock.stepped.to_string()).await.unwrap();
    assert_eq!((job.row.flow, job.why.reason.as_str()), (None, "AwaitsSignal"));
    let steps: Vec<_> = job.steps.iter().map(|step| (step.name.as_str(), step.state.as_str())).collect();
    assert_eq!(steps, [("charge", "done"), ("paid", "waits")]);
    assert_eq!(job.steps[0].result.as_ref().unwrap().text, "{\n  \"receipt\": 4111\n}");
    let query = JobQuery { state: Some("blocked".into()), ..JobQuery::of_queue("shop") };
    // Two jobs, and the callback.
    assert_eq!(at.source.count(query.clone()).await.unwrap(), 3);
    let listed = at.source.jobs(query, Order::Oldest, Paging::default()).await.unwrap();
    assert!(listed.jobs.iter().all(|job| job.flow.as_deref() == Some(ORDER)) && listed.jobs.len() == 3);
    let counts = at.source.queue("shop").await.unwrap().queue.counts;
    assert_eq!((counts.blocked, counts.in_state("blocked")), (3, Some(3)));
    assert_eq!(counts.unfinished(), at.pond.queue("shop").unwrap().counts().unfinished());
    let metrics = at.source.metrics().await.unwrap();
    assert!(metrics.contains("millpond_jobs{queue=\"shop\",state=\"blocked\"} 3\n"), "{metrics}");
    at.close().await;
}

#[tokio::test]
async fn a_flow_is_signalled_retried_cancelled_and_removed() {
    let (at, stock) = with_flows().await;
    let state = || at.pond.flows().get(ORDER).unwrap().state;
    at.changes(signal_flow("approved", json!({ "by": "ada" })), 1).await;
    at.changes(signal_flow("approved", json!("bob")), 0).await;
    let approved = at.pond.flows().node(ORDER, "approved").unwrap().unwrap();
    assert_eq!(approved.result_json::<Value>().unwrap(), Some(json!({ "by": "ada" })));
    assert_eq!(state(), FlowState::Held);
    at.changes(Action::RetryFlow { flow: order() }, 1).await;
    assert_eq!((at.pond.job(stock.charge).unwrap().state, state()), (State::Pending, FlowState::Running));
    at.changes(Action::RetryFlow { flow: order() }, 0).await;
    let refused = at.act(Action::RemoveFlow { flow: order() }).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{refused}");
    at.changes(Action::CancelFlow { flow: order(), reason: "out of stock".into() }, 1).await;
    at.changes(Action::CancelFlow { flow: order(), reason: String::new() }, 0).await;
    let flow = at.source.flow(ORDER).await.unwrap();
    assert_eq!((flow.row.state.as_str(), flow.row.cancelled.as_deref()), ("cancelled", Some("out of stock")));
    at.changes(Action::RemoveFlow { flow: "batch".into() }, 1).await;
    assert_eq!(at.source.flows(Paging::default()).await.unwrap().total, 1);
    at.close().await;
}

#[tokio::test]
async fn a_job_is_signalled_with_the_digits_that_were_sent() {
    let (at, stock) = with_flows().await;
    let text = "{\"cents\": 123456789012345678901234567890}";
    let signal = |payload_text: Option<&str>| Action::SignalJob {
        id: stock.stepped.to_string(),
        signal: "paid".into(),
        payload: Value::Null,
        payload_text: payload_text.map(str::to_owned),
    };
    assert_eq!(at.act(signal(Some("{"))).await.unwrap_err().code, Code::Invalid);
    at.changes(signal(Some(text)), 1).await;
    at.changes(signal(None), 0).await;
    let steps = at.pond.steps(stock.stepped).unwrap();
    assert_eq!(&steps[1].result.as_ref().unwrap()[..], text.replace(' ', "").as_bytes());
    assert_eq!(at.pond.job(stock.stepped).unwrap().state, State::Pending);
    at.close().await;
}

#[tokio::test]
async fn what_no_flow_has_is_not_found() {
    let (at, _) = with_flows().await;
    let never = || "never".to_owned();
    for action in [
        Action::CancelFlow { flow: never(), reason: String::new() },
        Action::RetryFlow { flow: never() },
        Action::RemoveFlow { flow: never() },
        Action::SignalFlow { flow: never(), signal: "s".into(), payload: Value::Null, payload_text: None },
        signal_flow("never", Value::Null),
        Action::SignalJob { id: "999".into(), signal: "s".into(), payload: Value::Null, payload_text: None },
    ] {
        let problem = at.act(action.clone()).await.unwrap_err();
        assert_eq!(problem.code, Code::NotFound, "{action:?}: {problem}");
    }
    at.close().await;
}

#[tokio::test]
async fn what_the_application_hides_of_results_signals_and_steps_is_in_no_answer() {
    let (_, pond) = memory();
    let stock = stock_flows(&pond).await;
    pond.signal(ORDER, "approved", &json!({ "receipt": 4111 })).await.unwrap();
    pond.signal_job(stock.stepped, "paid", &json!({ "receipt": 4111 })).await.unwrap();
    let source = PondSource::new(&pond).redact(|queue, kind, value| {
        assert!([("shop", "work"), ("", "signal")].contains(&(queue, kind)), "{queue:?} {kind:?}");
        if let Some(receipt) = value.get_mut("receipt") {
            *receipt = "hidden".into();
        }
    });
    let answers = [
        serde_json::to_string(&source.flow(ORDER).await.unwrap()).unwrap(),
        serde_json::to_string(&source.flow("batch").await.unwrap()).unwrap(),
        serde_json::to_string(&source.job(&stock.stepped.to_string()).await.unwrap()).unwrap(),
    ];
    for answer in answers {
        assert!(
            !answer.contains("4111") && answer.contains("hidden") && answer.contains("\"is_redacted\":true"),
            "{answer}"
        );
    }
}
