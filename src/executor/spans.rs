//! The spans of attempts. Their fields are listed in docs/logging.md: those of the queue's own names, and those of
//! OpenTelemetry's conventions for messaging.

use tracing::Span;
use tracing::field::{Empty, display};

use super::attempt::Attempt;
use crate::job::{Ending, FailureKind};

/// The attempt's span. It has no parent: the span in which the job was enqueued would have to stay open for as long as the job
/// waits. Two fields name that span instead.
pub(super) fn of_attempt(attempt: &Attempt) -> Span {
    let facts = &attempt.facts;
    let traceparent = || facts.labels().and_then(|labels| labels.traceparent());
    let has_run = || attempt.job().record.has_started();
    tracing::info_span!(
        parent: None,
        "job",
        id = facts.id().get(),
        queue = &*facts.queue,
        kind = &*facts.kind,
        attempt = facts.attempt,
        caller = attempt.caller.map(|caller| caller.name),
        caller_span = attempt.caller.map(|caller| caller.span),
        traceparent = traceparent().filter(|_| !has_run()),
        link = traceparent().filter(|_| has_run()),
        otel.name = %format_args!("process {}", facts.queue),
        otel.kind = "consumer",
        otel.status_code = Empty,
        error.type = Empty,
        messaging.system = "millpond",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = &*facts.queue,
        messaging.message.id = %facts.id(),
    )
}

/// The span of one call of a batch handler. It follows from the spans of its jobs, which end with the wait for the call.
pub(super) fn of_batch(first: &Attempt, jobs: usize) -> Span {
    let queue = &*first.facts.queue;
    tracing::info_span!(
        parent: None,
        "batch",
        queue,
        kind = &*first.facts.kind,
        jobs,
        otel.name = %format_args!("process {queue}"),
        otel.kind = "consumer",
        messaging.system = "millpond",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = queue,
        messaging.batch.message_count = jobs,
    )
}

/// Notes in the span of an attempt that the attempt has failed.
pub(super) fn note_end(span: &Span, ending: &Ending) {
    let kind = match ending {
        Ending::Failed { kind, .. } => *kind,
        Ending::Undecodable(_) => FailureKind::Undecodable,
        _ => return,
    };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", display(kind));
}
