//! An entry of a stream, as a reader sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::error::panics::text_of;
use crate::job::{Payload, Record};
use crate::runtime::Engine;
use crate::time::Timestamp;

/// An entry of a stream.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.stream("orders")?;
/// orders.append(NewJob::new(Charge { order: 7 }).header("tenant", "acme")).await?;
/// let Entry { offset, kind, headers, .. } = &orders.read(0, 1)?[0];
/// assert_eq!((*offset, kind.as_str(), headers["tenant"].as_str()), (0, "charge", "acme"));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its offset: where it is in its stream.
    pub offset: u64,
    /// Its kind.
    pub kind: String,
    /// Its key, if it has one. Consumers handle the entries of a key in order.
    pub key: Option<String>,
    /// When it was appended, by the wall clock.
    pub appended_at: Timestamp,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its payload; as it is stored if the [payload codec](crate::PayloadCodec) cannot read it.
    pub payload: Payload,
    /// Why the payload codec cannot read the payload. `None` if it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_error: Option<String>,
}

impl Entry {
    pub(super) fn new(engine: &Engine, offset: u64, record: Record) -> Self {
        let (payload, codec_error) = engine.coder().payload_or_stored(&record.payload);
        let payload = payload.into_owned();
        let (kind, appended_at) = (engine.kind_name(record.kind).to_string(), record.enqueued_at);
        let extra = record.extra.map(|extra| *extra).unwrap_or_default();
        let labels = extra.labels.map(Arc::unwrap_or_clone).unwrap_or_default();
        Self {
            offset,
            kind,
            key: extra.group.map(|key| key.to_string()),
            appended_at,
            tags: labels.tags,
            headers: labels.headers,
            payload,
            codec_error: codec_error.map(|error| text_of(&*error)),
        }
    }
}
