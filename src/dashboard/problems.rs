//! Errors of the queue as problems of the API.

use crate::{Error, ParseCursorError, ParseJobIdError};

use super::api::{Code, Problem};

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(code(&error), sentence(&error))
    }
}

impl From<ParseJobIdError> for Problem {
    fn from(error: ParseJobIdError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ParseCursorError> for Problem {
    fn from(error: ParseCursorError) -> Self {
        Self::invalid(error.to_string())
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::NoSuchJob { .. }
        | Error::NoSuchSchedule { .. }
        | Error::NoSuchQueue { .. }
        | Error::NoSuchFlow { .. }
        | Error::NoSuchTopic { .. }
        | Error::NoSuchStream { .. }
        | Error::NoSuchConsumer { .. }
        | Error::NoSuchSignal { .. } => Code::NotFound,
        Error::InvalidName { .. }
        | Error::InvalidKey { .. }
        | Error::InvalidTag { .. }
        | Error::TooManyTags { .. }
        | Error::InvalidHeader { .. }
        | Error::HeadersTooLarge { .. }
        | Error::InvalidConfig { .. }
        | Error::InvalidFlow { .. }
        | Error::InvalidBinding { .. }
        | Error::InvalidRoutingKey { .. }
        | Error::PayloadTooLarge { .. }
        | Error::BatchTooLarge { .. }
        | Error::Unencodable { .. } => Code::Invalid,
        Error::EnqueueRefused { .. }
        | Error::QueueFull { .. }
        | Error::NotAllowed { .. }
        | Error::FlowEnded { .. }
        | Error::FlowRuns { .. }
        | Error::Unroutable { .. }
        | Error::TooManyTopics { .. }
        | Error::TooManyBindings { .. }
        | Error::TooManySteps { .. }
        | Error::NotBackedUp { .. }
        | Error::CorruptRecord { .. }
        | Error::StreamInUse { .. }
        | Error::ConsumerRuns { .. }
        | Error::QueueExists { .. }
        | Error::QueueInUse { .. }
        | Error::QueueNotEmpty { .. }
        | Error::StreamBound { .. }
        | Error::WorkerExists { .. }
        | Error::NoWorker { .. }
        | Error::WorkerStopped { .. }
        | Error::RateLimited { .. } => Code::Conflict,
        Error::StorageFull
        | Error::Degraded { .. }
        | Error::WriteHeld { .. }
        | Error::StillClosing { .. }
        | Error::Closed
        | Error::RuntimeEnded => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The text of an error, followed by the texts of its sources.
fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_code_that_tells_the_caller_what_to_do() {
        for (error, code) in [
            (Error::NoSuchJob { id: crate::JobId::new(7) }, Code::NotFound),
            (Error::config("priority", "it is 12".into()), Code::Invalid),
            (Error::QueueFull { queue: "mail".into(), jobs: 1, bytes: 1 }, Code::Conflict),
            (Error::NoSuchFlow { name: "order".into() }, Code::NotFound),
            (Error::FlowRuns { name: "order".into() }, Code::Conflict),
            (Error::NoSuchStream { stream: "orders".into() }, Code::NotFound),
            (Error::StreamInUse { stream: "orders".into(), consumer: "crm".into() }, Code::Conflict),
            (Error::StorageFull, Code::Unavailable),
            (Error::OutcomeUnknown { source: "a bad sector".into() }, Code::Internal),
        ] {
            let problem = Problem::from(error);
            assert_eq!(problem.code, code, "{problem}");
        }
        let problem = Problem::from(Error::OutcomeUnknown { source: "a bad sector".into() });
        assert!(problem.detail.ends_with(": a bad sector"), "{problem}");
    }
}
