//! A job on its way between files.

use bytes::Bytes;
use millpond::{BoxError, Codec, JobInfo, NewJob, Payload, Priority, Timestamp};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::{Destination, Origin};

/// The version of the headers that this build writes, and the only one that it reads.
const VERSION: &str = "1";

/// What is not written as it is in a header: control characters, and what is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// A job on its way: its payload as it is, and headers. The headers are those of CloudEvents (`ce-id`, `ce-type`, `ce-subject`,
/// `ce-time`) and others that begin with `mp-`. Names and values are ASCII without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The partition of the mailbox.
    pub partition: u16,
    /// The headers, each name once.
    pub headers: Vec<(String, String)>,
    /// The payload.
    pub payload: Bytes,
}

/// Why an envelope cannot be a job here.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It was written by a newer build.
    Newer(String),
    /// It can never be read.
    Never(BoxError),
}

impl Envelope {
    /// The job as batch `number` has it, as the job `index` of it.
    pub(crate) fn of(job: &JobInfo, origin: &Origin, to: &Destination, number: u64, index: usize) -> Self {
        let id = job.id.get();
        let key = job.group.as_deref().or(job.unique_key.as_deref());
        let partition = match key {
            Some(key) => to.partition_of(key.as_bytes()),
            None => to.partition_of(&id.to_le_bytes()),
        };
        let text = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let mut headers = vec![
            ("ce-specversion".to_owned(), "1.0".to_owned()),
            ("ce-id".to_owned(), id.to_string()),
            ("ce-source".to_owned(), origin.to_string()),
            ("ce-type".to_owned(), text(&job.kind)),
            ("ce-time".to_owned(), job.enqueued_at.to_string()),
            ("mp-v".to_owned(), VERSION.to_owned()),
            ("mp-queue".to_owned(), text(&job.queue)),
            ("mp-batch".to_owned(), format!("{number}/{index}")),
            ("mp-codec".to_owned(), codec_name(job.payload.codec).to_owned()),
            ("mp-priority".to_owned(), job.priority.get().to_string()),
        ];
        let mut optional =
            |name: &str, value: Option<String>| headers.extend(value.map(|value| (name.to_owned(), value)));
        optional("ce-subject", job.group.as_deref().map(text));
        optional("mp-unique-key", job.unique_key.as_deref().map(text));
        optional("mp-max-attempts", job.max_attempts.map(|attempts| attempts.to_string()));
        optional("mp-expires", job.expires_at.map(|at| at.as_millis().to_string()));
        optional("traceparent", job.headers.get("traceparent").map(|value| text(value)));
        let json = |value: serde_json::Value| text(&value.to_string());
        optional("mp-tags", (!job.tags.is_empty()).then(|| json(serde_json::json!(job.tags))));
        optional("mp-headers", (!job.headers.is_empty()).then(|| json(serde_json::json!(job.headers))));
        Self { partition, headers, payload: job.payload.bytes.clone() }
    }

    /// How many bytes it has, about.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        headers + self.payload.len()
    }

    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| &**value)
    }

    /// From which origin it comes, with the number of its batch and its place in that.
    pub(crate) fn source(&self) -> Option<(&str, u64, u64)> {
        let (batch, index) = self.header("mp-batch")?.split_once('/')?;
        Some((self.header("ce-source")?, batch.parse().ok()?, index.parse().ok()?))
    }

    /// The job that it becomes.
    pub(crate) fn job(&self) -> Result<NewJob, Unreadable> {
        match self.header("mp-v") {
            Some(VERSION) => self.read().map_err(Unreadable::Never),
            Some(newer) => Err(Unreadable::Newer(newer.to_owned())),
            None => Err(Unreadable::Never("it has no header `mp-v`".into())),
        }
    }

    fn read(&self) -> Result<NewJob, BoxError> {
        let text = |name: &str| -> Result<Option<String>, BoxError> {
            let value = self.header(name).map(|value| percent_decode_str(value).decode_utf8());
            Ok(value.transpose()?.map(|value| value.into_owned()))
        };
        let kind = text("ce-type")?.ok_or("it has no header `ce-type`")?;
        let codec = codec_of(self.header("mp-codec").unwrap_or("raw"))?;
        let mut job = NewJob::encoded(kind, Payload { codec, bytes: self.payload.clone() });
        if let Some(priority) = self.header("mp-priority") {
            job = job.priority(Priority::new(priority.parse()?)?);
        }
        if let Some(group) = text("ce-subject")? {
            job = job.group(group);
        }
        if let Some(attempts) = self.header("mp-max-attempts") {
            job = job.max_attempts(attempts.parse()?);
        }
        if let Some(at) = self.header("mp-expires") {
            job = job.expires_at(Timestamp::from_millis(at.parse()?));
        }
        if let Some(tags) = text("mp-tags")? {
            job = job.tags(serde_json::from_str::<Vec<String>>(&tags)?);
        }
        if let Some(headers) = text("mp-headers")? {
            job = job.headers(serde_json::from_str::<std::collections::BTreeMap<String, String>>(&headers)?);
        }
        Ok(job)
    }

    /// The checksum of what it says of its job, whichever batch has it.
    pub(crate) fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "mp-batch" && name != "ce-source") {
            hasher.update(name.as_bytes());
            hasher.update(value.as_bytes());
        }
        hasher.update(&self.payload);
        hasher.finalize()
    }
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Json => "json",
        Codec::Postcard => "postcard",
        _ => "raw",
    }
}

fn codec_of(name: &str) -> Result<Codec, BoxError> {
    match name {
        "json" => Ok(Codec::Json),
        "postcard" => Ok(Codec::Postcard),
        "raw" => Ok(Codec::Raw),
        other => Err(format!("its codec {other:?} is unknown").into()),
    }
}
