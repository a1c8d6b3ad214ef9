//! A job's span: it has the job's fields, the handler runs inside it, and it names the span in which the job was
//! enqueued, without keeping that span open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, ThreadId};

use millpond::{Job, JobId, Millpond, Outcome, Retry};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::support::*;

pub type Fields = BTreeMap<String, String>;

struct Read<'a>(&'a mut Fields);

impl Visit for Read<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// A log line.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    pub target: &'static str,
    pub fields: Fields,
}

/// Records the spans of jobs and of callers, which thread is inside which span, which spans are open, and the events
/// inside the spans of callers.
#[derive(Clone, Default)]
pub struct Recorder {
    spans: Arc<Mutex<BTreeMap<u64, Fields>>>,
    /// Spans named `request`, as a caller would have them.
    requests: Arc<Mutex<BTreeMap<u64, &'static Metadata<'static>>>>,
    inside: Arc<Mutex<Vec<(ThreadId, u64)>>>,
    /// The number of handles of each open span.
    handles: Arc<Mutex<BTreeMap<u64, u32>>>,
    /// The log lines at level `INFO` and above.
    lines: Arc<Mutex<Vec<Line>>>,
    /// The events, with the span that they were in.
    events: Arc<Mutex<Vec<(u64, Fields)>>>,
    next: Arc<AtomicU64>,
}

/// The recorder of this process: any thread can create the span of a job.
pub fn recorder() -> &'static Recorder {
    static RECORDER: OnceLock<Recorder> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let recorder = Recorder::default();
        tracing::subscriber::set_global_default(recorder.clone()).unwrap();
        recorder
    })
}

impl Recorder {
    /// The log lines so far with this value of this field.
    pub fn lines_with(&self, field: &str, value: &str) -> Vec<Line> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.fields.get(field).is_some_and(|is| is == value)).cloned().collect()
    }

    fn here(&self) -> Option<u64> {
        let here = thread::current().id();
        let inside = self.inside.lock().unwrap();
        inside.iter().rev().find(|(thread, _)| *thread == here).map(|(_, id)| *id)
    }

    pub fn fields_here(&self) -> Option<Fields> {
        self.spans.lock().unwrap().get(&self.here()?).cloned()
    }

    fn is_open(&self, span: &Id) -> bool {
        self.handles.lock().unwrap().contains_key(&span.into_u64())
    }

    /// The events about a job in this span.
    fn events_in(&self, span: u64, job: JobId) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let of_it = |fields: &&Fields| fields.get("id").is_some_and(|id| *id == job.to_string());
        let here = events.iter().filter(|(at, _)| *at == span).map(|(_, fields)| fields);
        here.filter(of_it).map(|fields| fields["message"].clone()).collect()
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span() || ["job", "request"].contains(&metadata.name())
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        let mut fields = Fields::new();
        attributes.record(&mut Read(&mut fields));
        if attributes.metadata().name() == "request" {
            self.requests.lock().unwrap().insert(id, attributes.metadata());
        }
        if let Some(parent) = attributes.parent() {
            fields.insert("parent".into(), parent.into_u64().to_string());
        }
        if !attributes.is_root() && attributes.is_contextual() && self.here().is_some() {
            fields.insert("parent".into(), "by chance".into());
        }
        self.spans.lock().unwrap().insert(id, fields);
        self.handles.lock().unwrap().insert(id, 1);
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(fields) = self.spans.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(&mut Read(fields));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Read(&mut fields));
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if level <= Level::INFO {
            self.lines.lock().unwrap().push(Line { level, target, fields: fields.clone() });
        }
        let Some(span) = self.here() else { return };
        self.events.lock().unwrap().push((span, fields));
    }

    fn enter(&self, id: &Id) {
        self.inside.lock().unwrap().push((thread::current().id(), id.into_u64()));
    }

    fn current_span(&self) -> Current {
        let Some(id) = self.here() else { return Current::none() };
        match self.requests.lock().unwrap().get(&id) {
            Some(metadata) => Current::new(Id::from_u64(id), metadata),
            None => Current::none(),
        }
    }

    fn exit(&self, id: &Id) {
        let here = (thread::current().id(), id.into_u64());
        let mut inside = self.inside.lock().unwrap();
        if let Some(at) = inside.iter().rposition(|entry| *entry == here) {
            inside.remove(at);
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        let mut handles = self.handles.lock().unwrap();
        // As the registry of tracing-subscriber does.
        *handles.get_mut(&id.into_u64()).expect("a closed span cannot be opened again") += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut handles = self.handles.lock().unwrap();
        let left = handles.get_mut(&id.into_u64()).expect("it is closed once");
        *left -= 1;
        let closes = *left == 0;
        if closes {
            handles.remove(&id.into_u64());
        }
        closes
    }
}

/// The fields of the span of each run of this queue; `request` is the span that it was enqueued in.
fn fields_of_runs(pond: &Millpond, queue: &str, recorder: &'static Recorder) -> Log<(JobId, Option<Fields>)> {
    let seen = Log::new();
    let log = seen.clone();
    let handler = move |job: Job<Work>| {
        log.push((job.id(), recorder.fields_here()));
        async { Ok(()) }
    };
    pond.worker(queue).concurrency(1).handle(handler).start().unwrap();
    seen
}

fn fields(id: impl Into<JobId>, queue: &str, kind: &str, attempt: u32, request: Option<&Id>) -> Option<Fields> {
    let id = id.into().to_string();
    let fields = [
        ("attempt", attempt.to_string()),
        ("id", id.clone()),
        ("kind", kind.into()),
        ("queue", queue.into()),
        ("otel.name", format!("process {queue}")),
        ("otel.kind", "consumer".into()),
        ("messaging.system", "millpond".into()),
        ("messaging.operation.name", "process".into()),
        ("messaging.operation.type", "process".into()),
        ("messaging.destination.name", queue.into()),
        ("messaging.message.id", id),
    ];
    let mut fields: Fields = fields.map(|(name, value)| (name.to_owned(), value)).into();
    if let Some(request) = request {
        fields.insert("caller".into(), "request".into());
        fields.insert("caller_span".into(), request.into_u64().to_string());
    }
    Some(fields)
}

#[tokio::test]
async fn a_handler_runs_in_a_span_with_its_jobs_fields() {
    let recorder = recorder();
    let (_, pond) = memory();
    let seen = Log::new();
    let (for_async, for_blocking) = (seen.clone(), seen.clone());
    pond.worker("plain")
        .concurrency(1)
        .handle(move |job: Job<Work>| {
            let seen = for_async.clone();
            async move {
                tokio::task::yield_now().await;
                seen.push((job.id(), recorder.fields_here()));
                Ok(())
            }
        })
        .handle_blocking(move |job: Job<Packed>| {
            for_blocking.push((job.id(), recorder.fields_here()));
            Ok(())
        })
        .start()
        .unwrap();
    let id = pond.enqueue("plain", work(1)).await.unwrap();
    let other = pond.enqueue("plain", Packed { text: "x".into() }).await.unwrap();
    drained(&pond).await;
    assert_eq!(
        seen.all(),
        [(id.id, fields(id, "plain", "work", 1, None)), (other.id, fields(other, "plain", "packed", 1, None))]
    );
    assert_eq!(recorder.here(), None, "and no thread stays inside");
}

#[tokio::test]
async fn the_callers_span_closes_with_the_call_however_long_the_job_waits() {
    let recorder = recorder();
    let (clock, pond) = memory();
    let queue = pond.queue("waits").unwrap();
    let seen = fields_of_runs(&pond, "waits", recorder);
    settled(&pond).await;
    queue.pause().await.unwrap();
    let request = tracing::info_span!("request");
    let span = request.id().unwrap();
    let (paused, delayed, grouped) = request.in_scope(|| {
        let enqueue = |job| pond.enqueue("waits", job);
        (enqueue(work(1)), enqueue(work(2).delay(HOUR)), enqueue(member("g", 3)))
    });
    let ids = [paused.await.unwrap(), delayed.await.unwrap(), grouped.await.unwrap()];
    drop(request);
    assert!(!recorder.is_open(&span), "the request is answered: its span is closed");
    queue.resume().await.unwrap();
    drained(&pond).await;
    clock.advance(HOUR);
    drained(&pond).await;
    // The jobs have the span in which they were enqueued, though it is closed.
    let mut seen = seen.all();
    seen.sort_by_key(|(id, _)| *id);
    assert_eq!(seen, ids.map(|id| (id.id, fields(id, "waits", "work", 1, Some(&span)))));
}

#[tokio::test]
async fn every_run_of_a_job_names_the_span_that_enqueued_it() {
    let recorder = recorder();
    let (clock, pond) = memory();
    let seen = Log::new();
    let log = seen.clone();
    pond.worker("again")
        .retry(Retry::fixed(SECOND).jitter(0.0))
        .handle(move |job: Job<Work>, ctx: millpond::Context| {
            log.push((job.attempt(), recorder.fields_here()));
            let answer = match log.len() {
                1 => Err("again".into()),
                2 => Ok(Outcome::snooze(SECOND)),
                3 => Ok(Outcome::rate_limited(SECOND)),
                4 => {
                    ctx.on_complete(|_| Err("again".into()));
                    Ok(Outcome::Done(None))
                }
                _ => Ok(Outcome::Done(None)),
            };
            async { answer }
        })
        .start()
        .unwrap();
    let request = tracing::info_span!("request");
    let span = request.id().unwrap();
    let id = request.in_scope(|| pond.enqueue("again", work(1))).await.unwrap();
    drop(request);
    for _ in 0..5 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    let expected = [1, 2, 2, 2, 3].map(|attempt| (attempt, fields(id, "again", "work", attempt, Some(&span))));
    assert_eq!(seen.all(), expected);
}

#[tokio::test]
async fn jobs_of_a_transaction_name_the_callers_span_whichever_thread_runs_the_closure() {
    let recorder = recorder();
    let (_, pond) = memory();
    let seen = fields_of_runs(&pond, "in_tx", recorder);
    settled(&pond).await;
    let request = tracing::info_span!("request");
    let span = request.id().unwrap();
    let call = tracing::Instrument::instrument(
        pond.transaction(|tx| {
            tracing::info!(id = 0, "in the closure");
            Ok(tx.enqueue("in_tx", work(1))?)
        }),
        request,
    );
    let id = call.await.unwrap();
    drained(&pond).await;
    assert_eq!(seen.all(), [(id.id, fields(id, "in_tx", "work", 1, Some(&span)))]);
    assert!(!recorder.is_open(&span));
    let said = recorder.events.lock().unwrap().clone();
    assert!(said.iter().any(|(at, fields)| *at == span.into_u64() && fields["message"] == "in the closure"));
}

#[tokio::test]
async fn the_id_of_a_job_is_recorded_in_the_span_that_enqueues_it() {
    let recorder = recorder();
    let (_, pond) = memory();
    let request = tracing::info_span!("request");
    let span = request.id().unwrap().into_u64();
    let call = tracing::Instrument::instrument(pond.enqueue_many("said", [work(1), work(2)]), request);
    let ids = call.await.unwrap();
    for id in ids {
        assert_eq!(recorder.events_in(span, id.id), ["enqueued"]);
    }
}

#[tokio::test]
async fn the_span_of_a_failed_attempt_has_the_class_of_its_failure() {
    let recorder = recorder();
    let (_, pond) = memory();
    let worker = pond.worker("failing").retry(Retry::none());
    let fail = |_: Job<Work>| async { Err::<(), _>("down".into()) };
    worker
        .handle(fail)
        .handle_blocking(|_: Job<Packed>| -> millpond::Handled { panic!("on purpose") })
        .start()
        .unwrap();
    let failed = pond.enqueue("failing", work(1)).await.unwrap();
    let panicked = pond.enqueue("failing", Packed { text: "x".into() }).await.unwrap();
    let undecodable = pond.enqueue("failing", millpond::NewJob::json("work", &"no number")).await.unwrap();
    pond.worker("fine").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    let fine = pond.enqueue("fine", work(1)).await.unwrap();
    drained(&pond).await;
    let spans = recorder.spans.lock().unwrap().clone();
    let of = |id: JobId, queue: &str| {
        let is_its = |fields: &&Fields| {
            fields.get("id") == Some(&id.to_string()) && fields.get("queue").is_some_and(|is| is == queue)
        };
        let fields = spans.values().find(is_its).unwrap().clone();
        ["otel.status_code", "error.type"].map(|field| fields.get(field).cloned())
    };
    let error = |class: &str| [Some("ERROR".to_owned()), Some(class.to_owned())];
    assert_eq!(of(failed.id, "failing"), error("error"));
    assert_eq!(of(panicked.id, "failing"), error("panic"));
    assert_eq!(of(undecodable.id, "failing"), error("undecodable"));
    assert_eq!(of(fine.id, "fine"), [None, None]);
}
