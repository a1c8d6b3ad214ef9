//! Checks a server and its stream, and makes the stream if it is not there.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};

use millpond_links::Destination;

use crate::connect::ANSWER_MAX;
use crate::error::Error;

/// The first version with atomic batches.
const LEAST: (u64, u64) = (2, 12);

/// The least bytes of a message: those of a batch's cursor, and of a small job.
const PAYLOAD_LEAST: usize = 16 << 10;

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Mailboxes: what was read stays.
    Mailboxes,
    /// Shared queues: a job that has ended is removed.
    Shared,
}

impl Use {
    pub fn of(to: &Destination) -> Self {
        match to {
            Destination::Mailbox(_) => Self::Mailboxes,
            Destination::Shared(_) => Self::Shared,
        }
    }

    fn retention(self) -> (RetentionPolicy, &'static str) {
        match self {
            Self::Mailboxes => (RetentionPolicy::Limits, "it must be `limits`: make a new stream"),
            Self::Shared => (RetentionPolicy::WorkQueue, "it must be `workqueue`: make a new stream"),
        }
    }
}

pub(crate) async fn check(
    client: &async_nats::Client,
    context: &Context,
    name: &str,
    replicas: usize,
    used_for: Use,
) -> Result<Stream, Error> {
    let unavailable = |error: &dyn std::fmt::Display| Error::Unavailable(error.to_string());
    // The server's facts are known once it has answered anything.
    match tokio::time::timeout(ANSWER_MAX, client.flush()).await {
        Ok(flushed) => flushed.map_err(|error| unavailable(&error))?,
        Err(_) => return Err(Error::NotConnected),
    }
    let server = client.server_info();
    if version(&server.version).is_none_or(|version| version < LEAST) {
        return Err(Error::ServerTooOld { version: server.version });
    }
    if server.max_payload < PAYLOAD_LEAST {
        return Err(Error::MessagesTooSmall { max: server.max_payload, least: PAYLOAD_LEAST });
    }
    let wanted = Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        storage: StorageType::File,
        retention: used_for.retention().0,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        allow_atomic_publish: true,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    };
    let mut stream = context.get_or_create_stream(wanted).await.map_err(|error| unavailable(&error))?;
    let config = stream.info().await.map_err(|error| unavailable(&error))?.config.clone();
    match problem(&config, name, used_for) {
        None => Ok(stream),
        Some((setting, advice)) => Err(Error::Misconfigured { stream: name.to_owned(), setting, advice }),
    }
}

/// A setting with which jobs would be lost or refused, and what to do.
fn problem(config: &Config, name: &str, used_for: Use) -> Option<(String, &'static str)> {
    let Config { retention, discard, storage, subjects, .. } = config;
    let (expected, advice) = used_for.retention();
    if *retention != expected {
        return Some((format!("retention {retention:?}"), advice));
    }
    if *discard != DiscardPolicy::New {
        return Some(("`discard: old`".into(), "a full stream would drop jobs: set it to `new`"));
    }
    if *storage != StorageType::File {
        return Some((
            "its messages in memory".into(),
            "a restart would lose jobs: make a new stream with file storage",
        ));
    }
    if !config.allow_atomic_publish {
        return Some(("no atomic batches".into(), "set `allow_atomic`"));
    }
    if !config.allow_rollup {
        return Some(("no roll-ups".into(), "set `allow_rollup_hdrs`, and not `deny_purge`"));
    }
    if config.max_messages_per_subject > 0 {
        return Some(("a limit of messages per subject".into(), "it would drop jobs: remove it"));
    }
    let of_links = format!("{name}.>");
    if !subjects.contains(&of_links) {
        return Some((format!("the subjects {subjects:?}"), "it needs all that begin with its name: add `NAME.>`"));
    }
    None
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expected) in [("2.12.0", Some((2, 12))), ("2.9.25-beta", Some((2, 9))), ("3.0", Some((3, 0)))] {
            assert_eq!(version(text), expected);
        }
        for text in ["", "2", "v2.12", "a.b"] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
