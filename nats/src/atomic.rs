//! Publishes messages in one atomic batch: JetStream's ADR-50.

use async_nats::HeaderMap;
use bytes::Bytes;
use millpond_links::{Append, Envelope, InDoubt};
use serde::Deserialize;

/// The server's code for a cursor that is not the expected one.
const WRONG_LAST_SEQUENCE: u64 = 10071;

/// The headers that the server itself reads. No header of a job has such a name.
const OF_SERVER: &str = "nats-";

pub(crate) fn headers(envelope: &Envelope) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &envelope.headers {
        headers.insert(name.as_str(), value.as_str());
    }
    headers.insert("mp-partition", envelope.partition.to_string().as_str());
    headers
}

/// The envelope of a message.
pub(crate) fn envelope(headers: Option<&HeaderMap>, payload: Bytes) -> Envelope {
    let (mut partition, mut all) = (0, Vec::new());
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let (name, value) = (name.to_string(), values.first().map(ToString::to_string).unwrap_or_default());
        if name == "mp-partition" {
            partition = value.parse().unwrap_or_default();
        } else if !name.to_ascii_lowercase().starts_with(OF_SERVER) {
            all.push((name, value));
        }
    }
    // A map has no order, and the checksum of envelopes needs one.
    all.sort();
    Envelope { partition, headers: all, payload }
}

/// The cursor is stored if its subject has this last sequence, and replaces the one before.
pub(crate) fn headers_of_cursor(expected: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
    headers.insert("Nats-Rollup", "sub");
    headers
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
    seq: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    err_code: Option<u64>,
    description: Option<String>,
}

type Message = (String, HeaderMap, Bytes);

/// Publishes all messages or none. The answer to the last one tells which.
pub(crate) async fn publish(client: &async_nats::Client, messages: Vec<Message>) -> Result<Append, InDoubt> {
    let in_doubt = |error: &dyn std::fmt::Display| InDoubt(error.to_string());
    let id = client.new_inbox();
    let mut messages = messages.into_iter().enumerate().peekable();
    while let Some((at, (subject, mut headers, payload))) = messages.next() {
        let (is_first, is_last) = (at == 0, messages.peek().is_none());
        headers.insert("Nats-Batch-Id", id.as_str());
        headers.insert("Nats-Batch-Sequence", (at + 1).to_string().as_str());
        if is_last {
            headers.insert("Nats-Batch-Commit", "1");
        }
        if !is_first && !is_last {
            client.publish_with_headers(subject, headers, payload).await.map_err(|error| in_doubt(&error))?;
            continue;
        }
        let answer = client.request_with_headers(subject, headers, payload).await.map_err(|error| in_doubt(&error))?;
        if answer.payload.is_empty() {
            // The first message is only confirmed.
            continue;
        }
        let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|error| in_doubt(&error))?;
        match answer {
            Answer { error: Some(Refusal { err_code: Some(WRONG_LAST_SEQUENCE), .. }), .. } => {
                return Ok(Append::Stale);
            }
            Answer { error: Some(refusal), .. } => {
                return Err(InDoubt(refusal.description.unwrap_or_else(|| "the server refuses the batch".into())));
            }
            Answer { seq: Some(sequence), .. } if is_last => return Ok(Append::Stored(sequence)),
            Answer { .. } => {}
        }
    }
    Err(InDoubt("the server has not confirmed the batch".into()))
}
