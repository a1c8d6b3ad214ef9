//! Records as schema versions 1 to 3 wrote them. Such rows stay as they are until their jobs change, so they must
//! always be readable. Never change this code.
//!
//! Row version 1 is the header, and behind it one byte that says whether all of [`OldExtra`] follows. Row version 2 has
//! the lineage between that and the payload.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::job::{AttemptError, Backoff, Codec, Expiry, Extra, Lineage, Payload, Priority, Record, State};
use crate::time::{Due, Timestamp};

pub(in crate::storage) const VERSION: u8 = 1;
pub(in crate::storage) const VERSION_WITH_LINEAGE: u8 = 2;

#[derive(Deserialize)]
struct OldHeader {
    state: State,
    kind: u32,
    priority: Priority,
    codec: Codec,
    enqueued_at: Timestamp,
    attempts: u32,
    extra: Option<Box<OldExtra>>,
}

#[derive(Deserialize)]
struct OldExtra {
    group: Option<Arc<str>>,
    due: Option<Due>,
    /// On the wall clock, however it was asked for.
    expires_at: Option<Timestamp>,
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    timeout: Option<Duration>,
    unique_key: Option<String>,
    snoozes: u32,
    crashes: u32,
    errors: Vec<AttemptError>,
    reason: Option<String>,
    result: Option<Bytes>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

/// Returns the record, and where in `content` its payload begins.
pub(in crate::storage) fn read(version: u8, content: &[u8]) -> Result<(Record, usize), postcard::Error> {
    let (header, mut rest): (OldHeader, _) = postcard::take_from_bytes(content)?;
    let mut extra = header.extra.map(|extra| Box::new(Extra::from(*extra)));
    if version == VERSION_WITH_LINEAGE {
        let (lineage, payload): (Lineage, _) = postcard::take_from_bytes(rest)?;
        extra.get_or_insert_default().lineage = Some(Box::new(lineage));
        rest = payload;
    }
    let record = Record {
        state: header.state,
        kind: header.kind,
        priority: header.priority,
        enqueued_at: header.enqueued_at,
        attempts: header.attempts,
        extra,
        payload: Payload { codec: header.codec, bytes: Bytes::new() }.into(),
    };
    Ok((record, content.len() - rest.len()))
}

impl From<OldExtra> for Extra {
    fn from(old: OldExtra) -> Self {
        Self {
            group: old.group,
            due: old.due,
            expiry: old.expires_at.map(Expiry::at),
            max_attempts: old.max_attempts,
            backoff: old.backoff,
            timeout: old.timeout,
            unique_key: old.unique_key,
            snoozes: old.snoozes,
            crashes: old.crashes,
            errors: old.errors,
            reason: old.reason,
            result: old.result,
            started_at: old.started_at,
            ended_at: old.ended_at,
            ..Self::default()
        }
    }
}
