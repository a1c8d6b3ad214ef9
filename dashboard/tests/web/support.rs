//! A source that says the same text everywhere, and requests to its dashboard.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body as Content;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http_body_util::BodyExt;
use millpond_dashboard::api::*;
use millpond_dashboard::{Answer, Options, Source, router};
use tower::ServiceExt;

/// Text that leaves every context of HTML in which it is not escaped.
pub const POLYGLOT: &str = "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=alert() )//%0D%0A\
                            </stYle/</titLe/</teXtarEa/</scRipt/--!>\\x3csVg/<sVg/oNloAd=alert()//>\\x3e";

/// Answers with this text in every field.
pub struct Hostile {
    pub text: &'static str,
    pub acts: Mutex<Vec<Action>>,
    /// The orders in which jobs were asked for.
    pub orders: Mutex<Vec<Order>>,
    /// The flow that is shown in place of a hostile one.
    pub flow: Option<FlowDetail>,
    /// Whether its events go on for ever, though none comes.
    pub is_quiet: bool,
}

impl Hostile {
    pub fn new(text: &'static str) -> Arc<Self> {
        Arc::new(Self { text, acts: Mutex::default(), orders: Mutex::default(), flow: None, is_quiet: false })
    }

    /// A harmless source at which nothing happens.
    pub fn quiet() -> Arc<Self> {
        Arc::new(Self { text: "mail", acts: Mutex::default(), orders: Mutex::default(), flow: None, is_quiet: true })
    }

    /// A harmless source with this flow.
    pub fn of_flow(flow: FlowDetail) -> Arc<Self> {
        let (acts, orders) = (Mutex::default(), Mutex::default());
        Arc::new(Self { text: "mail", acts, orders, flow: Some(flow), is_quiet: false })
    }

    fn text(&self) -> String {
        self.text.to_owned()
    }

    fn body(&self) -> Body {
        Body { format: Format::Json, bytes: 100, text: self.text(), is_cut: false, is_redacted: false }
    }

    /// A link that is down, of which all is known.
    fn link(&self) -> Link {
        Link {
            name: self.text(),
            queue: self.text(),
            direction: LinkDirection::Forward,
            remote: self.text(),
            engine: self.text(),
            started_at: Time(1),
            is_connected: false,
            since: Some(Time(2)),
            last_error: Some(self.text()),
            last_error_at: Some(Time(3)),
            jobs: 1_234,
            latest_at: Some(Time(2)),
            position: Some(17),
            lag: None,
            in_doubt: 5,
            known: 4,
            engine_went_back: 1,
            file_went_back: 2,
            lost_batches: 3,
            unreadable: 6,
            held: 7,
            lost_leases: 8,
        }
    }

    fn queue(&self) -> Queue {
        let point = Point { at: Time(1), enqueued: 3, completed: 2, failed: 1 };
        Queue {
            name: self.text(),
            counts: Counts { pending: 3, dead: 2, retrying: 1, ..Counts::default() },
            is_paused: true,
            has_worker: false,
            oldest_ready_seconds: Some(61.0),
            circuit: Some(Circuit { is_closed: false, state: self.text() }),
            rate_limited_for_seconds: Some(2.0),
            has_overrides: true,
            enqueued_per_second: 1.5,
            completed_per_second: 0.5,
            history: History { points: vec![point; 60] },
        }
    }

    fn row(&self) -> JobRow {
        JobRow {
            id: self.text(),
            queue: self.text(),
            kind: self.text(),
            state: "retrying".to_owned(),
            priority: 5,
            group: Some(self.text()),
            key: Some(self.text()),
            flow: Some(self.text()),
            tags: vec![self.text()],
            attempts: 2,
            max_attempts: Some(5),
            error: Some(self.text()),
            progress: Some(Progress { done: 1, total: Some(3), message: self.text() }),
            preview: self.text(),
            ..JobRow::default()
        }
    }

    fn topic_row(&self) -> Topic {
        Topic { name: self.text(), bindings: 1, alternate: Some(self.text()), ..Topic::default() }
    }

    fn stream_row(&self) -> Stream {
        let settings = StreamSettings { max_age_seconds: Some(60.0), max_bytes: Some(1 << 20), ..Default::default() };
        Stream {
            name: self.text(),
            first: 1_000,
            next: 1_200,
            entries: 150,
            bytes: 15_360,
            settings,
            consumers: 1,
            behind_max: Some(1_234),
            ..Stream::default()
        }
    }

    fn consumer(&self) -> Consumer {
        Consumer {
            stream: self.text(),
            name: self.text(),
            queue: self.text(),
            behind: 1_234,
            behind_since: Some(Time(5)),
            jobs: 3,
            dead: 2,
            lost: 7,
            is_paused: true,
            ..Consumer::default()
        }
    }

    fn entry(&self, offset: u64) -> Entry {
        Entry {
            offset,
            kind: self.text(),
            key: Some(self.text()),
            tags: vec![self.text()],
            headers: BTreeMap::from([(self.text(), self.text())]),
            payload: self.body(),
            codec_error: Some(self.text()),
            ..Entry::default()
        }
    }

    fn flow_row(&self) -> FlowRow {
        FlowRow {
            name: self.text(),
            state: self.text(),
            counts: FlowCounts { blocked: 1, active: 1, completed: 1, dead: 1, cancelled: 1 },
            cancelled: Some(self.text()),
            deadline: Some(Time(5)),
            ..FlowRow::default()
        }
    }

    /// A job, a signal that is awaited, a job that they hold, and a callback.
    fn nodes(&self) -> Vec<FlowNode> {
        let job = FlowNode {
            id: self.text(),
            name: Some(self.text()),
            queue: Some(self.text()),
            kind: Some(self.text()),
            state: self.text(),
            result: Some(self.body()),
            ..FlowNode::default()
        };
        let (text, blocked) = (|| Some(self.text()), || "blocked".to_owned());
        let signal = FlowNode { id: "2".into(), name: text(), state: "active".into(), ..FlowNode::default() };
        let held = FlowNode { id: "3".into(), state: blocked(), waits: 2, failed: 1, held_by: text(), ..job.clone() };
        let callback = FlowNode { id: "4".into(), state: blocked(), is_callback: true, ..job.clone() };
        vec![job, signal, held, callback]
    }

    fn step(&self, state: &str) -> Step {
        let result = Some(self.body());
        Step {
            name: self.text(),
            at: Time(6),
            state: state.to_owned(),
            until: Some(Time(7)),
            undone_at: Some(Time(8)),
            result,
        }
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            name: self.text(),
            when: self.text(),
            misfire: Misfire::All { at_most: 3 },
            queue: self.text(),
            kind: self.text(),
            payload: self.body(),
            held: Some(self.text()),
            upcoming: vec![Time(7)],
            last_job: Some(self.text()),
            ..Schedule::default()
        }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    async move { Ok(value) }.boxed()
}

impl Source for Hostile {
    fn revision(&self) -> Answer<'_, u64> {
        ready(1)
    }

    fn overview(&self) -> Answer<'_, Overview> {
        ready(Overview {
            degraded: Some(self.text()),
            is_paused: true,
            queues: vec![self.queue()],
            storage: Storage { path: Some(self.text()), file_bytes: Some(4096), ..Storage::default() },
            limits: vec![Limit { name: self.text(), units: 4, used: 1 }],
            quarantined: 3,
            ..Overview::default()
        })
    }

    fn degraded(&self) -> Answer<'_, Option<String>> {
        ready(Some(self.text()))
    }

    fn queue(&self, _name: &str) -> Answer<'_, QueueDetail> {
        let worker = Worker {
            concurrency: 4,
            circuit_breaker: Some(self.text()),
            group_circuit_breaker: Some(self.text()),
            ..Worker::default()
        };
        ready(QueueDetail {
            queue: self.queue(),
            worker: Some(worker.clone()),
            effective: Some(worker),
            overrides: Overrides { concurrency: Some(3), ..Overrides::default() },
            paused_kinds: vec![self.text()],
            links: vec![self.link()],
            tokens: Some(1.5),
            settings: serde_json::json!({ "text": self.text }),
        })
    }

    fn groups(&self, _queue: &str, _page: Paging) -> Answer<'_, GroupPage> {
        let group = Group {
            name: self.text(),
            is_paused: true,
            held_by: Some(self.text()),
            jobs: 3,
            next: Some(self.text()),
            why: self.text(),
        };
        ready(GroupPage { groups: vec![group], next: Some(self.text()) })
    }

    fn jobs(&self, _query: JobQuery, order: Order, _page: Paging) -> Answer<'_, JobPage> {
        self.orders.lock().unwrap().push(order);
        ready(JobPage { jobs: vec![self.row()], next: Some(self.text()) })
    }

    fn records(&self, _query: JobQuery, _page: Paging) -> Answer<'_, JobRecordPage> {
        ready(JobRecordPage::default())
    }

    fn count(&self, _query: JobQuery) -> Answer<'_, u64> {
        ready(1_234)
    }

    fn job(&self, id: &str) -> Answer<'_, Job> {
        if id == "missing" {
            return async { Err(Problem::not_found(self.text())) }.boxed();
        }
        ready(Job {
            row: self.row(),
            why: Why { reason: self.text(), sentence: self.text(), job: Some(self.text()) },
            payload: self.body(),
            result: Some(self.body()),
            headers: BTreeMap::from([(self.text(), self.text())]),
            idempotency_key: Some(self.text()),
            unique: Some(self.text()),
            entry: Some(EntryOf { stream: self.text(), offset: 7 }),
            scheduled_for: Some(ScheduledFor { schedule: self.text(), at: Time(9) }),
            plugins: vec![self.text()],
            timeline: vec![Attempt {
                number: 1,
                failure: Some(self.text()),
                error: Some(self.text()),
                lines: vec![LogLine { at: Time(8), text: self.text() }],
                ..Attempt::default()
            }],
            steps: vec![self.step("done"), self.step("waits"), self.step(self.text)],
            undoing: Some(self.text()),
            reason: Some(self.text()),
            codec_error: Some(self.text()),
            generation: 1,
            ..Job::default()
        })
    }

    fn dead(&self, _queue: Option<&str>) -> Answer<'_, DeadSummary> {
        let group = DeadGroup {
            error: self.text(),
            count: 7,
            sample: self.text(),
            job: self.text(),
            queues: vec![self.text()],
            kinds: vec![self.text()],
            ..DeadGroup::default()
        };
        ready(DeadSummary { total: 9, read: 7, groups: vec![group] })
    }

    fn schedules(&self, _page: Paging) -> Answer<'_, SchedulePage> {
        ready(SchedulePage { total: 1, schedules: vec![self.schedule()], next: Some(self.text()) })
    }

    fn schedule(&self, _name: &str) -> Answer<'_, Schedule> {
        ready(self.schedule())
    }

    fn topics(&self, _page: Paging) -> Answer<'_, TopicPage> {
        ready(TopicPage { total: 1, topics: vec![self.topic_row()], next: Some(self.text()) })
    }

    fn topic(&self, _name: &str, _page: Paging) -> Answer<'_, TopicDetail> {
        let headers = || vec![self.text()];
        let binding = Binding {
            queue: Some(self.text()),
            key: Some(self.text()),
            headers_all: headers(),
            headers_any: headers(),
            ..Binding::default()
        };
        let to_stream = Binding { queue: None, stream: Some(self.text()), ..binding.clone() };
        ready(TopicDetail { topic: self.topic_row(), bindings: vec![binding, to_stream], next: Some(self.text()) })
    }

    fn matches(&self, _topic: &str, message: TopicMessage) -> Answer<'_, Matched> {
        if message.key == "invalid" {
            return async { Err(Problem::invalid(self.text())) }.boxed();
        }
        ready(Matched { queues: vec![self.text()], streams: vec![self.text()], used_alternate: message.key == "lost" })
    }

    fn streams(&self, _page: Paging) -> Answer<'_, StreamPage> {
        ready(StreamPage { streams: vec![self.stream_row()], next: Some(self.text()) })
    }

    fn stream(&self, _name: &str) -> Answer<'_, StreamDetail> {
        ready(StreamDetail { stream: self.stream_row(), consumers: vec![self.consumer()] })
    }

    fn consumers(&self, _stream: Option<&str>) -> Answer<'_, Vec<Consumer>> {
        ready(vec![self.consumer()])
    }

    fn entries(&self, _stream: &str, query: EntryQuery) -> Answer<'_, EntryPage> {
        let from = query.from.unwrap_or(1_198).max(1_000);
        let entries: Vec<_> = (from..1_200).take(query.entries()).map(|offset| self.entry(offset)).collect();
        let next = entries.last().map(|last| last.offset + 1).filter(|next| *next < 1_200);
        ready(EntryPage { from, entries, next })
    }

    fn flows(&self, _page: Paging) -> Answer<'_, FlowPage> {
        ready(FlowPage { total: 1, flows: vec![self.flow_row()], next: Some(self.text()) })
    }

    fn flow(&self, _name: &str) -> Answer<'_, FlowDetail> {
        if let Some(flow) = &self.flow {
            return ready(flow.clone());
        }
        let to_held = |from: String, on_failure| FlowEdge { from, to: "3".to_owned(), on_failure };
        let edges = vec![to_held(self.text(), OnFailure::Cancel), to_held("2".to_owned(), OnFailure::Run)];
        ready(FlowDetail { row: self.flow_row(), nodes: self.nodes(), edges, is_partial: false, dot: self.text() })
    }

    fn links(&self) -> Answer<'_, Vec<Link>> {
        ready(vec![self.link()])
    }

    fn plugins(&self) -> Answer<'_, Vec<Plugin>> {
        ready(vec![Plugin {
            name: self.text(),
            hash: self.text(),
            queue: self.text(),
            kind: self.text(),
            grants: vec![self.text()],
            limits: vec![(self.text(), self.text())],
            state: PluginState::Suspended,
            attempts: 9,
            broken: 3,
            broken_in_a_row: 3,
            traps: 1,
            suspensions: 1,
            compute_seconds: 1.5,
            memory_bytes_max: 1 << 20,
        }])
    }

    fn quarantine(&self, _page: Paging) -> Answer<'_, QuarantinePage> {
        let row = QuarantinedRow {
            number: 3,
            table: self.text(),
            queue: Some(self.text()),
            job: Some(self.text()),
            bytes: 3,
            why: self.text(),
        };
        ready(QuarantinePage { total: 1, rows: vec![row], next: Some(self.text()) })
    }

    fn check(&self) -> Answer<'_, Check> {
        ready(Check { jobs: 1, problems: vec![self.text()] })
    }

    fn events(&self) -> BoxStream<'static, LiveEvent> {
        if self.is_quiet { stream::pending().boxed() } else { stream::empty().boxed() }
    }

    fn metrics(&self) -> Answer<'_, String> {
        ready("# EOF\n".to_owned())
    }

    fn act(&self, action: Action) -> Answer<'_, Done> {
        self.acts.lock().unwrap().push(action);
        ready(Done { changed: 1, message: self.text(), ..Done::default() })
    }
}

/// An answer that was read to its end.
pub struct Read {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// A request from the same machine.
pub fn request(method: &str, path: &str) -> axum::http::request::Builder {
    let peer: SocketAddr = "127.0.0.1:5000".parse().unwrap();
    Request::builder().method(method).uri(path).header("host", "localhost:8080").extension(ConnectInfo(peer))
}

/// Sends a request to the dashboard of a source.
pub async fn send(source: Arc<Hostile>, options: Options, request: Request<Content>) -> Read {
    let response = router(source, options).oneshot(request).await.unwrap();
    read(response).await
}

/// Reads an answer to its end.
pub async fn read(response: axum::response::Response) -> Read {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Read { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

/// A page of a harmless source.
pub async fn get(path: &str) -> Read {
    send(Hostile::new("mail"), Options::new(), request("GET", path).body(Content::empty()).unwrap()).await
}
