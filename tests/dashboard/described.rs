//! The description of the API is true: every answer is as it says, and every route is in it.

use std::net::SocketAddr;
use std::sync::Arc;

use millpond::dashboard::api::{Action, JobQuery, NewEntry, Seek, StreamSettings};
use millpond::dashboard::{Options, Server, serve_source};
use millpond::{Job, NewJob};
use serde_json::{Value, json};

use crate::pond::{Stocked, stocked};
use crate::stock::{Work, stock_flows};

struct Served {
    at: Stocked,
    server: Server,
    url: String,
    description: Value,
}

async fn served() -> Served {
    let at = stocked().await;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let source = Arc::new(millpond::dashboard::PondSource::new(&at.pond));
    let server = serve_source(source, Options::new(), address).await.unwrap();
    let url = format!("http://{}", server.address().unwrap());
    let description = get(&format!("{url}/api/openapi.json")).await.1;
    Served { at, server, url, description }
}

async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

impl Served {
    /// The answer to a request of this route is as its description says.
    fn check(&self, method: &str, route: &str, status: u16, answer: &Value) {
        let kind = if status < 400 { "application~1json" } else { "application~1problem+json" };
        let route_name = route.replace('/', "~1");
        let status = if status < 400 { "200" } else { "default" };
        let pointer = format!("/paths/{route_name}/{method}/responses/{status}/content/{kind}/schema");
        let schema = self.description.pointer(&pointer).unwrap_or_else(|| panic!("{pointer} is not described"));
        let mut whole = schema.clone();
        whole["components"] = self.description["components"].clone();
        let validator = jsonschema::validator_for(&whole).unwrap_or_else(|error| panic!("{route}: {error}"));
        let errors: Vec<_> =
            validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{method} {route}: {errors:#?} in {answer:#}");
    }

    async fn get(&self, route: &str, path: &str, status: u16) -> Value {
        let (found, answer) = get(&format!("{}{path}", self.url)).await;
        assert_eq!(found, status, "{path}: {answer}");
        self.check("get", route, status, &answer);
        answer
    }

    async fn act(&self, action: Value, status: u16) -> Value {
        let request = reqwest::Client::new().post(format!("{}/api/v1/actions", self.url));
        let request = request.header("content-type", "application/json").body(action.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{action}");
        let answer = answer.json().await.unwrap();
        self.check("post", "/api/v1/actions", status, &answer);
        answer
    }
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let served = served().await;
    let stepped = stock_flows(&served.at.pond).await.stepped;
    let waiting = served.at.waiting;
    let orders = served.at.pond.topic("orders").unwrap();
    for queue in ["crm", "mail"] {
        orders.bind(millpond::Binding::to(queue).key("order.#").headers_any([("country", "de")])).await.unwrap();
    }
    let stream = served.at.pond.stream("orders").unwrap();
    stream.append_many((1..=5).map(|n| NewJob::json("paid", &json!({ "n": n })).group("customer 9"))).await.unwrap();
    stream.configure(millpond::StreamSettings::default().max_entries(100)).await.unwrap();
    let crm = served.at.pond.consumer("orders", "crm").handle(|_: Job<Work>| async { Ok(()) });
    crm.start().await.unwrap().stop().await.unwrap();
    orders.bind(millpond::Binding::to_stream("history")).await.unwrap();
    let link = millpond::LinkInfo::new("mail", millpond::LinkDirection::Forward, "hub", "an engine").unwrap();
    let link = served.at.pond.register_link(link).unwrap();
    link.handle().failed("connection refused");
    let dead = served.at.dead[0];
    for (route, path) in [
        ("/api/v1/revision", "/api/v1/revision".to_owned()),
        ("/api/v1/overview", "/api/v1/overview".to_owned()),
        ("/api/v1/queues/{name}", "/api/v1/queues/mail".to_owned()),
        ("/api/v1/queues/{name}/groups", "/api/v1/queues/mail/groups?limit=1".to_owned()),
        ("/api/v1/jobs", "/api/v1/jobs?tag=tenant:7".to_owned()),
        ("/api/v1/jobs", "/api/v1/jobs?pointer=/n&equals=1&limit=2&after=".to_owned()),
        ("/api/v1/jobs/records", "/api/v1/jobs/records".to_owned()),
        ("/api/v1/jobs/records", "/api/v1/jobs/records?state=dead&limit=1".to_owned()),
        ("/api/v1/jobs/count", "/api/v1/jobs/count?queue=mail".to_owned()),
        ("/api/v1/jobs/{id}", format!("/api/v1/jobs/{waiting}")),
        ("/api/v1/jobs/{id}", format!("/api/v1/jobs/{dead}")),
        ("/api/v1/jobs/{id}", format!("/api/v1/jobs/{}", served.at.done)),
        ("/api/v1/dead", "/api/v1/dead?queue=crm".to_owned()),
        ("/api/v1/schedules", "/api/v1/schedules".to_owned()),
        ("/api/v1/schedules/{name}", "/api/v1/schedules/daily".to_owned()),
        ("/api/v1/topics", "/api/v1/topics?limit=1".to_owned()),
        ("/api/v1/topics/{name}", "/api/v1/topics/orders?limit=1".to_owned()),
        (
            "/api/v1/topics/{name}/matches",
            "/api/v1/topics/orders/matches?key=order.paid&headers=country%3Dde".to_owned(),
        ),
        ("/api/v1/streams", "/api/v1/streams?limit=1".to_owned()),
        ("/api/v1/streams/{name}", "/api/v1/streams/orders".to_owned()),
        ("/api/v1/streams/{name}/entries", "/api/v1/streams/orders/entries?from=1&limit=2".to_owned()),
        ("/api/v1/streams/{name}/entries", "/api/v1/streams/orders/entries?from=".to_owned()),
        ("/api/v1/consumers", "/api/v1/consumers".to_owned()),
        ("/api/v1/consumers", "/api/v1/consumers?stream=orders".to_owned()),
        ("/api/v1/flows", "/api/v1/flows?limit=1".to_owned()),
        ("/api/v1/flows/{name}", "/api/v1/flows/order%207".to_owned()),
        ("/api/v1/jobs/{id}", format!("/api/v1/jobs/{stepped}")),
        ("/api/v1/links", "/api/v1/links".to_owned()),
        ("/api/v1/plugins", "/api/v1/plugins".to_owned()),
        ("/api/v1/quarantine", "/api/v1/quarantine".to_owned()),
    ] {
        served.get(route, &path, 200).await;
    }
    for (route, path, status) in [
        ("/api/v1/jobs/{id}", "/api/v1/jobs/999", 404),
        ("/api/v1/queues/{name}", "/api/v1/queues/nothing", 404),
        ("/api/v1/schedules/{name}", "/api/v1/schedules/nothing", 404),
        ("/api/v1/topics/{name}", "/api/v1/topics/nothing", 404),
        ("/api/v1/topics/{name}", "/api/v1/topics/orders?after=x", 400),
        ("/api/v1/topics/{name}/matches", "/api/v1/topics/nothing/matches?key=a", 404),
        ("/api/v1/topics/{name}/matches", "/api/v1/topics/orders/matches?headers=de", 400),
        ("/api/v1/streams/{name}", "/api/v1/streams/nothing", 404),
        ("/api/v1/streams/{name}/entries", "/api/v1/streams/nothing/entries", 404),
        ("/api/v1/streams/{name}/entries", "/api/v1/streams/orders/entries?from=first", 400),
        ("/api/v1/consumers", "/api/v1/consumers?stream=nothing", 404),
        ("/api/v1/flows/{name}", "/api/v1/flows/nothing", 404),
        ("/api/v1/jobs", "/api/v1/jobs?state=asleep", 400),
        ("/api/v1/jobs", "/api/v1/jobs?since=yesterday", 400),
        ("/api/v1/jobs", "/api/v1/jobs?after=nothing", 400),
        ("/api/v1/jobs", "/api/v1/jobs?limit=many", 400),
        ("/api/v1/jobs/records", "/api/v1/jobs/records?after=nothing", 400),
    ] {
        served.get(route, path, status).await;
    }
    served.act(json!({ "action": "pause_queue", "queue": "mail" }), 200).await;
    served.act(json!({ "action": "run_job_now", "id": "999" }), 404).await;
    served.act(json!({ "action": "pause_queue" }), 400).await;
    served.act(json!({ "action": "redrive_job", "id": waiting.to_string() }), 409).await;
    let checked = reqwest::Client::new().post(format!("{}/api/v1/check", served.url)).send().await.unwrap();
    served.check("post", "/api/v1/check", 200, &checked.json().await.unwrap());
    served.close().await;
}

#[tokio::test]
async fn the_actions_that_are_described_are_those_that_are_read() {
    let served = served().await;
    let schema = served.description.pointer("/components/schemas/Action").expect("actions are described").clone();
    let mut whole = schema;
    whole["components"] = served.description["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap();
    let jobs = || JobQuery { tag: Some("t".into()), ..JobQuery::of_queue("mail") };
    for action in [
        Action::PauseAll,
        Action::CancelJob { id: "1".into(), reason: "x".into() },
        Action::RedriveJobs { jobs: jobs(), error_group: Some("order #".into()) },
        Action::DeleteJobs { jobs: jobs() },
        Action::SetLimit { name: "bank".into(), units: 3 },
        Action::SeekConsumer { stream: "s".into(), consumer: "c".into(), to: Seek::Latest },
        Action::SeekConsumer { stream: "s".into(), consumer: "c".into(), to: Seek::Offset(7) },
        Action::ConfigureStream { stream: "s".into(), settings: StreamSettings::default() },
        Action::Append { stream: "s".into(), entry: NewEntry { kind: "k".into(), ..NewEntry::default() } },
        Action::CancelFlow { flow: "f".into(), reason: String::new() },
        Action::SignalFlow { flow: "f".into(), signal: "s".into(), payload: json!({ "n": 1 }), payload_text: None },
        Action::SignalJob { id: "1".into(), signal: "s".into(), payload: Value::Null, payload_text: Some("1".into()) },
    ] {
        let text = serde_json::to_value(&action).unwrap();
        assert!(validator.is_valid(&text), "{text}");
        assert_eq!(serde_json::from_value::<Action>(text).unwrap(), action);
    }
    for wrong in [json!({}), json!({ "action": "explode" }), json!({ "action": "pause_queue" }), json!([])] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
        assert!(serde_json::from_value::<Action>(wrong).is_err());
    }
    served.close().await;
}

impl Served {
    async fn close(self) {
        self.server.stop().await;
        self.at.close().await;
    }
}
