//! A job's span: it bears the job's fields, the handler runs inside it, and the span it was enqueued
//! in is its parent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use millpond::{Job, Retry};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::support::*;

type Fields = BTreeMap<String, String>;

struct Read<'a>(&'a mut Fields);

impl Visit for Read<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// Keeps the spans of jobs of the queue `traced`, and who is inside which.
#[derive(Clone, Default)]
struct Recorder {
    spans: Arc<Mutex<BTreeMap<u64, Fields>>>,
    /// Spans named `request`, as a caller has them.
    requests: Arc<Mutex<BTreeMap<u64, &'static Metadata<'static>>>>,
    inside: Arc<Mutex<Vec<(ThreadId, u64)>>>,
    next: Arc<AtomicU64>,
}

impl Recorder {
    fn fields_here(&self) -> Option<Fields> {
        let here = thread::current().id();
        let inside = self.inside.lock().unwrap();
        let (_, id) = inside.iter().rev().find(|(thread, _)| *thread == here)?;
        self.spans.lock().unwrap().get(id).cloned()
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && ["job", "request"].contains(&metadata.name())
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
        if fields.get("queue").is_some_and(|queue| queue == "traced") {
            self.spans.lock().unwrap().insert(id, fields);
        }
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        let number = id.into_u64();
        if self.spans.lock().unwrap().contains_key(&number) || self.requests.lock().unwrap().contains_key(&number) {
            self.inside.lock().unwrap().push((thread::current().id(), id.into_u64()));
        }
    }

    fn current_span(&self) -> Current {
        let here = thread::current().id();
        let inside = self.inside.lock().unwrap();
        let Some((_, id)) = inside.iter().rev().find(|(thread, _)| *thread == here) else { return Current::none() };
        match self.requests.lock().unwrap().get(id) {
            Some(metadata) => Current::new(Id::from_u64(*id), metadata),
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
}

#[tokio::test]
async fn a_handler_runs_in_a_span_with_its_jobs_fields() {
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let (clock, pond) = memory();
    let seen = Log::new();
    let (for_async, for_blocking) = (seen.clone(), seen.clone());
    let (here, there) = (recorder.clone(), recorder.clone());
    pond.worker("traced")
        .concurrency(1)
        .retry(Retry::fixed(SECOND).jitter(0.0))
        .handle(move |job: Job<Work>| {
            let (seen, recorder) = (for_async.clone(), here.clone());
            async move {
                tokio::task::yield_now().await;
                seen.push((job.id(), recorder.fields_here()));
                if job.attempt() == 1 { Err("again".into()) } else { Ok(()) }
            }
        })
        .handle_blocking(move |job: Job<Packed>| {
            for_blocking.push((job.id(), there.fields_here()));
            Ok(())
        })
        .start()
        .unwrap();
    // A job that the first page of the table shows comes without its span.
    settled(&pond).await;
    let request = tracing::info_span!("request");
    let enqueue = request.in_scope(|| pond.enqueue("traced", work(1)));
    let id = enqueue.await.unwrap();
    let other = pond.enqueue("traced", Packed { text: "x".into() }).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    let parent = request.id().unwrap().into_u64().to_string();
    let fields = |id: millpond::JobId, kind: &str, attempt: u32, parent: Option<&String>| {
        let fields = [
            ("attempt", attempt.to_string()),
            ("id", id.to_string()),
            ("kind", kind.into()),
            ("queue", "traced".into()),
        ];
        let mut fields: Fields = fields.map(|(name, value)| (name.to_owned(), value)).into();
        fields.extend(parent.map(|parent| ("parent".to_owned(), parent.clone())));
        (id, Some(fields))
    };
    assert_eq!(
        seen.all(),
        [
            fields(id, "work", 1, Some(&parent)),
            fields(other, "packed", 1, None),
            // By then the job has been in the file, where spans are not kept.
            fields(id, "work", 2, None)
        ]
    );
    assert_eq!(recorder.fields_here(), None, "and nobody stays inside");
}
