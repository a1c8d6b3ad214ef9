//! The API of another process, as a source.

mod address;
mod connect;
mod events;
mod request;
mod tls;

use std::path::Path;

use futures_util::stream::BoxStream;
use millpond::dashboard::api::{
    Action, Check, Consumer, DeadSummary, Done, EntryPage, EntryQuery, FlowDetail, FlowPage, GroupPage, Job, JobPage,
    JobQuery, JobRecordPage, Link, LiveEvent, Matched, OfStream, Order, Ordering, Overview, Paging, Plugin, Problem,
    QuarantinePage, QueueDetail, Schedule, SchedulePage, StreamDetail, StreamPage, TopicDetail, TopicMessage,
    TopicPage,
};
use millpond::dashboard::{Answer, Source};
use serde_json::Value;

use address::{Address, encoded, query};
use tls::Tls;

/// A client of the JSON API. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    /// How the server's certificate is checked, if the address is one with TLS.
    tls: Option<Tls>,
    token: Option<String>,
}

impl Client {
    /// The dashboard at this URL. With a `ca_file` only certificates of its authorities are trusted.
    pub fn at_url(url: &str, ca_file: Option<&Path>, token: Option<String>) -> Result<Self, Problem> {
        let address = Address::of_url(url)?;
        let tls = match (address.is_tls(), ca_file) {
            (true, ca_file) => Some(Tls::trusting(ca_file)?),
            (false, None) => None,
            (false, Some(_)) => {
                return Err(Problem::invalid("`--ca-file` is for TLS: the address must begin with https://"));
            }
        };
        Ok(Self { address, tls, token })
    }

    /// The dashboard at this Unix socket.
    pub fn at_socket(path: &Path, token: Option<String>) -> Self {
        Self { address: Address::of_socket(path), tls: None, token }
    }
}

impl Source for Client {
    fn revision(&self) -> Answer<'_, u64> {
        self.get("/api/v1/revision".to_owned())
    }

    fn overview(&self) -> Answer<'_, Overview> {
        self.get("/api/v1/overview".to_owned())
    }

    fn queue(&self, name: &str) -> Answer<'_, QueueDetail> {
        self.get(format!("/api/v1/queues/{}", encoded(name)))
    }

    fn groups(&self, queue: &str, page: Paging) -> Answer<'_, GroupPage> {
        self.get(format!("/api/v1/queues/{}/groups{}", encoded(queue), query(&[&value(&page)])))
    }

    fn jobs(&self, jobs: JobQuery, order: Order, page: Paging) -> Answer<'_, JobPage> {
        let ordering = Ordering { order: Some(order) };
        self.get(format!("/api/v1/jobs{}", query(&[&value(&jobs), &value(&ordering), &value(&page)])))
    }

    fn records(&self, jobs: JobQuery, page: Paging) -> Answer<'_, JobRecordPage> {
        self.get(format!("/api/v1/jobs/records{}", query(&[&value(&jobs), &value(&page)])))
    }

    fn count(&self, jobs: JobQuery) -> Answer<'_, u64> {
        self.get(format!("/api/v1/jobs/count{}", query(&[&value(&jobs)])))
    }

    fn job(&self, id: &str) -> Answer<'_, Job> {
        self.get(format!("/api/v1/jobs/{}", encoded(id)))
    }

    fn dead(&self, queue: Option<&str>) -> Answer<'_, DeadSummary> {
        self.get(format!("/api/v1/dead{}", query(&[&serde_json::json!({ "queue": queue })])))
    }

    fn schedules(&self, page: Paging) -> Answer<'_, SchedulePage> {
        self.get(format!("/api/v1/schedules{}", query(&[&value(&page)])))
    }

    fn schedule(&self, name: &str) -> Answer<'_, Schedule> {
        self.get(format!("/api/v1/schedules/{}", encoded(name)))
    }

    fn topics(&self, page: Paging) -> Answer<'_, TopicPage> {
        self.get(format!("/api/v1/topics{}", query(&[&value(&page)])))
    }

    fn topic(&self, name: &str, page: Paging) -> Answer<'_, TopicDetail> {
        self.get(format!("/api/v1/topics/{}{}", encoded(name), query(&[&value(&page)])))
    }

    fn matches(&self, topic: &str, message: TopicMessage) -> Answer<'_, Matched> {
        self.get(format!("/api/v1/topics/{}/matches{}", encoded(topic), query(&[&value(&message)])))
    }

    fn streams(&self, page: Paging) -> Answer<'_, StreamPage> {
        self.get(format!("/api/v1/streams{}", query(&[&value(&page)])))
    }

    fn stream(&self, name: &str) -> Answer<'_, StreamDetail> {
        self.get(format!("/api/v1/streams/{}", encoded(name)))
    }

    fn consumers(&self, stream: Option<&str>) -> Answer<'_, Vec<Consumer>> {
        let of = OfStream { stream: stream.map(str::to_owned) };
        self.get(format!("/api/v1/consumers{}", query(&[&value(&of)])))
    }

    fn entries(&self, stream: &str, asked: EntryQuery) -> Answer<'_, EntryPage> {
        self.get(format!("/api/v1/streams/{}/entries{}", encoded(stream), query(&[&value(&asked)])))
    }

    fn flows(&self, page: Paging) -> Answer<'_, FlowPage> {
        self.get(format!("/api/v1/flows{}", query(&[&value(&page)])))
    }

    fn flow(&self, name: &str) -> Answer<'_, FlowDetail> {
        self.get(format!("/api/v1/flows/{}", encoded(name)))
    }

    fn links(&self) -> Answer<'_, Vec<Link>> {
        self.get("/api/v1/links".to_owned())
    }

    fn plugins(&self) -> Answer<'_, Vec<Plugin>> {
        self.get("/api/v1/plugins".to_owned())
    }

    fn quarantine(&self, page: Paging) -> Answer<'_, QuarantinePage> {
        self.get(format!("/api/v1/quarantine{}", query(&[&value(&page)])))
    }

    fn check(&self) -> Answer<'_, Check> {
        self.post("/api/v1/check", Value::Null)
    }

    fn events(&self) -> BoxStream<'static, LiveEvent> {
        events::listen(self.clone())
    }

    fn metrics(&self) -> Answer<'_, String> {
        Box::pin(self.text("/metrics"))
    }

    fn act(&self, action: Action) -> Answer<'_, Done> {
        self.post("/api/v1/actions", value(&action))
    }
}

/// The types of the API can always be written as JSON.
fn value(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}
