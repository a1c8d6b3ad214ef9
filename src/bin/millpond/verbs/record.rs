//! The format of `export` and `import`: one job on each line, as JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millpond::dashboard::api::{Body, EntryOf, Format, JobRecord, Time};
use millpond::dashboard::json::one_line;
use millpond::{Codec, JobInfo, Payload, StepInfo, StepState, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A job. What is left out has its default.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub queue: String,
    pub kind: String,
    /// In lower case.
    pub state: String,
    pub payload: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub attempts: u32,
    pub enqueued_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// The latest error, or the reason of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Content>,
    /// The flow that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// How many steps and signals it has, but for those that are undone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub steps: u64,
    /// The state in which it ends once its steps are undone, if it undoes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoing: Option<String>,
    /// The entry of a stream that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryOf>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a new job cannot go on where a job of an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It waits for others of its flow. A new job would run at once.
    Blocked,
    /// It undoes its steps. A new job would do them again.
    Undoing,
    /// It has steps or signals. A new job would do the steps again, and miss the signals.
    Stepped,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Blocked => "waits for others of its flow, and a new job would run at once",
            Self::Undoing => "undoes its steps, and a new job would do them again",
            Self::Stepped => "has steps or signals, which a new job does not have",
        })
    }
}

/// A payload or a result.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// JSON.
    Json(Box<RawValue>),
    /// Bytes without a type that are text in UTF-8.
    Text(String),
    /// Bytes without a type, in base64.
    Raw(String),
    /// Postcard, in base64. Only the type of its kind can read it.
    Postcard(String),
}

impl Record {
    /// A job of an open file.
    pub fn of_info(job: &JobInfo, steps: &[StepInfo]) -> Self {
        let is_done = |step: &&StepInfo| !matches!(step.state, StepState::Undone { .. });
        let time = |at: Timestamp| Time(at.as_millis());
        Self {
            id: job.id.to_string(),
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            state: job.state.to_string(),
            payload: Content::of_payload(&job.payload),
            priority: Some(job.priority.get()),
            group: job.group.clone(),
            key: job.unique_key.clone(),
            idempotency_key: job.idempotency_key.clone(),
            max_attempts: job.max_attempts,
            tags: job.tags.clone(),
            headers: job.headers.clone(),
            attempts: job.attempts,
            enqueued_at: time(job.enqueued_at),
            run_at: job.run_at.map(time),
            ended_at: job.ended_at.map(time),
            error: job.errors.last().map(|error| error.message.clone()).or_else(|| job.reason.clone()),
            result: job.result.as_ref().map(|bytes| Content::of_result(bytes)),
            flow: job.flow.clone(),
            steps: steps.iter().filter(is_done).count() as u64,
            undoing: job.undoing.map(|state| state.to_string()),
            entry: job.entry.as_ref().map(|of| EntryOf { stream: of.stream.to_string(), offset: of.offset }),
        }
    }

    /// Whether the job had ended.
    pub fn is_ended(&self) -> bool {
        matches!(self.state.as_str(), "completed" | "cancelled" | "dead")
    }

    /// Why an import cannot store it, if so.
    pub fn bound(&self) -> Option<Bound> {
        match (self.state.as_str(), &self.undoing, self.steps) {
            ("blocked", ..) => Some(Bound::Blocked),
            (_, Some(_), _) => Some(Bound::Undoing),
            (_, _, 1..) => Some(Bound::Stepped),
            _ => None,
        }
    }

    /// A job that another process has shown. It is refused if a part of its payload was left out.
    pub fn of_shown(job: JobRecord) -> Result<Self, String> {
        let content = |body: &Body| {
            Content::of_body(body).map_err(|why| format!("job {} cannot be exported from here: {why}", job.id))
        };
        Ok(Self {
            payload: content(&job.payload)?,
            result: job.result.as_ref().map(content).transpose()?,
            id: job.id,
            queue: job.queue,
            kind: job.kind,
            state: job.state,
            priority: Some(job.priority),
            group: job.group,
            key: job.key,
            idempotency_key: job.idempotency_key,
            max_attempts: job.max_attempts,
            tags: job.tags,
            headers: job.headers,
            attempts: job.attempts,
            enqueued_at: job.enqueued_at,
            run_at: job.run_at,
            ended_at: job.ended_at,
            error: job.error,
            flow: job.flow,
            steps: job.steps,
            undoing: job.undoing,
            entry: job.entry,
        })
    }
}

impl Content {
    fn of_payload(payload: &Payload) -> Self {
        match payload.codec {
            Codec::Json => std::str::from_utf8(&payload.bytes).ok().and_then(Self::json),
            Codec::Postcard => Some(Self::Postcard(STANDARD.encode(&payload.bytes))),
            _ => None,
        }
        .unwrap_or_else(|| Self::of_bytes(&payload.bytes))
    }

    fn of_result(bytes: &[u8]) -> Self {
        let json = std::str::from_utf8(bytes).ok().and_then(Self::json);
        json.unwrap_or_else(|| Self::of_bytes(bytes))
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Raw(STANDARD.encode(bytes)),
        }
    }

    fn of_body(body: &Body) -> Result<Self, &'static str> {
        if body.is_redacted {
            return Err("the process hides a part of its payload or result");
        }
        if body.is_cut {
            return Err(
                "its payload or result is longer than what the process shows: export from the file, or from a backup",
            );
        }
        let unreadable = "its payload or result cannot be read";
        match body.format {
            Format::Json => Self::json(&body.text).ok_or(unreadable),
            Format::Text => Ok(Self::Text(body.text.clone())),
            Format::Postcard => Ok(Self::Postcard(STANDARD.encode(unhex(&body.text).ok_or(unreadable)?))),
            _ => Ok(Self::Raw(STANDARD.encode(unhex(&body.text).ok_or(unreadable)?))),
        }
    }

    /// JSON in one line. `None` if it is none.
    fn json(text: &str) -> Option<Self> {
        RawValue::from_string(one_line(text)).ok().map(Self::Json)
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_exported_in_one_line_and_unchanged() {
        let json = "{ \"a\\\" b\" : [ 1.50,\n 123456789012345678901 ], \"c\": \"x  y\" }";
        let Some(Content::Json(kept)) = Content::json(json) else { panic!("{json}") };
        assert_eq!(kept.get(), r#"{"a\" b":[1.50,123456789012345678901],"c":"x  y"}"#);
        let line = serde_json::to_string(&Content::Json(kept)).unwrap();
        let Content::Json(read) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert!(read.get().contains("123456789012345678901"));
        assert!(Content::json("{").is_none());
    }

    #[test]
    fn bytes_are_exported_in_base64_unless_they_are_text() {
        assert!(matches!(Content::of_payload(&Payload::raw("é")), Content::Text(text) if text == "é"));
        assert!(matches!(Content::of_payload(&Payload::raw(vec![0xff])), Content::Raw(text) if text == "/w=="));
        let body = Body { format: Format::Raw, text: "ff".into(), ..Body::default() };
        assert!(matches!(Content::of_body(&body), Ok(Content::Raw(text)) if text == "/w=="));
        assert!(Content::of_body(&Body { is_cut: true, ..Body::default() }).is_err());
    }
}
