//! Spans for OpenTelemetry, in which a job belongs to the trace of the request that has enqueued it, also after a restart:
//! `cargo run --example traces`.
//!
//! The exporter here prints the spans. To send them to a collector, give `with_batch_exporter` that of `opentelemetry-otlp`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::{BoxError, Context, Job, Kind, Millpond, Next, Retry};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanId, SpanKind, TraceContextExt, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "welcome", queue = "mail")]
struct Welcome {
    to: String,
}

/// Prints each span, and keeps it for the end of this example.
#[derive(Clone, Debug, Default)]
struct Printer(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Printer {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        for span in &spans {
            let (own, parent) = (&span.span_context, span.parent_span_id);
            print!("{} {} in trace {}", own.span_id(), span.name, own.trace_id());
            if parent != SpanId::INVALID {
                print!(", child of {parent}");
            }
            span.links.iter().for_each(|link| print!(", linked to {}", link.span_context.span_id()));
            println!();
        }
        self.0.lock().unwrap().extend(spans);
        Ok(())
    }
}

/// The header `traceparent` of the span that is current.
fn traceparent() -> Option<String> {
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut headers);
    headers.remove("traceparent")
}

/// Puts the attempt into the trace of the span that has enqueued its job. Later attempts are traces of their own, with a link.
fn join_trace(context: &Context) {
    let Some(header) = context.header("traceparent") else { return };
    let headers = HashMap::from([("traceparent".to_owned(), header.to_owned())]);
    let producer = TraceContextPropagator::new().extract(&headers);
    if context.attempt() == 1 {
        let _ = Span::current().set_parent(producer);
    } else {
        Span::current().add_link(producer.span().span_context().clone());
    }
}

fn open(path: &Path) -> Result<Millpond, millpond::Error> {
    Millpond::builder()
        .on_enqueue(|_queue, job| match traceparent() {
            Some(traceparent) => Ok(job.header("traceparent", traceparent)),
            None => Ok(job),
        })
        .wrap(|context: Context, next: Next| async move {
            join_trace(&context);
            next.run().await
        })
        .open(path)
}

#[tracing::instrument(skip_all, name = "sign up")]
async fn sign_up(pond: &Millpond, to: &str) -> Result<millpond::JobId, millpond::Error> {
    Ok(pond.send(Welcome { to: to.to_owned() }).await?.id)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let printer = Printer::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(printer.clone()).build();
    // A span of OpenTelemetry begins only when it is needed: until then it can get another parent.
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop")).with_context_activation(false);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.redb");
    let pond = open(&path)?;
    let id = sign_up(&pond, "ada@example.org").await?;
    pond.shutdown(Duration::from_secs(5)).await?;

    // The process is started again: the job has the header.
    let pond = open(&path)?;
    pond.worker("mail")
        .retry(Retry::fixed(Duration::from_millis(10)))
        .handle(|job: Job<Welcome>| async move {
            if job.attempt() == 1 { Err(format!("{} cannot be reached", job.to).into()) } else { Ok(()) }
        })
        .start()?;
    pond.finished(id).await?;
    pond.shutdown(Duration::from_secs(5)).await?;
    provider.shutdown()?;

    let spans = printer.0.lock().unwrap().clone();
    let producer = spans.iter().find(|span| span.name == "sign up").expect("the span of the request");
    let attempts: Vec<_> = spans.iter().filter(|span| span.name == "process mail").collect();
    let [first, second] = attempts[..] else { panic!("two attempts: {attempts:?}") };
    assert!(attempts.iter().all(|attempt| attempt.span_kind == SpanKind::Consumer));
    assert_eq!(first.parent_span_id, producer.span_context.span_id());
    assert_eq!(first.span_context.trace_id(), producer.span_context.trace_id());
    assert_ne!(second.span_context.trace_id(), producer.span_context.trace_id());
    let link = second.links.iter().next().expect("a link to the request");
    assert_eq!(link.span_context.span_id(), producer.span_context.span_id());
    Ok(())
}
