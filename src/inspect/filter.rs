//! The filter of a listing: which jobs it returns.

use memchr::memmem;
use serde_json::Value;

use crate::job::{Codec, Payload, QueueId, State, StoredPayload};
use crate::runtime::Engine;
use crate::storage::{Direction, Found, Source};
use crate::time::Timestamp;

/// Which jobs to list. A new filter matches all jobs; each method narrows it.
///
/// ```
/// use millpond::{JobFilter, State};
///
/// let filter = JobFilter::new().queue("emails").state(State::Retrying).kind("welcome");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct JobFilter {
    queue: Option<String>,
    state: Option<State>,
    kind: Option<String>,
    group: Option<String>,
    unique_key: Option<String>,
    tags: Vec<String>,
    payload: Option<String>,
    json: Vec<(String, Value)>,
    error: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    newest_first: bool,
}

impl JobFilter {
    /// All jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only jobs of this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Only jobs in this state.
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// Only jobs of this kind.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Only jobs of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Only jobs with this [unique key](crate::NewJob::unique_key), whether they still hold it or not.
    pub fn unique_key(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }

    /// Only jobs that have this [tag](crate::NewJob::tag). Several calls must all be true.
    ///
    /// The jobs are found by an index, so the others are not read: the cost depends on how many jobs have the first of the
    /// tags, in the filter's queue or in all queues. They are listed by queue and id, or by id with
    /// [`newest_first`](Self::newest_first).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::new(Charge { order: 7 }).tags(["gift", "express"])).await?;
    /// pond.enqueue("billing", NewJob::new(Charge { order: 8 }).tag("gift")).await?;
    ///
    /// let page = pond.jobs(&JobFilter::new().tag("gift").tag("express"), None, 10)?;
    /// assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id]);
    /// assert_eq!(pond.select(&JobFilter::new().tag("gift")).cancel("no gifts today").await?.changed, 2);
    /// # Ok(()) });
    /// ```
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Only jobs whose payload has this text in its bytes, letter for letter. In a JSON payload this is the text as it is
    /// stored: a quotation mark within a string is `\\\"` there.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("emails", NewJob::json("mail", &serde_json::json!({ "to": "ada@example.org" }))).await?;
    /// pond.enqueue("emails", NewJob::json("mail", &serde_json::json!({ "to": "bob@example.org" }))).await?;
    ///
    /// let page = pond.jobs(&JobFilter::new().payload_contains("ada@"), None, 10)?;
    /// assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id]);
    /// # Ok(()) });
    /// ```
    pub fn payload_contains(mut self, text: impl Into<String>) -> Self {
        self.payload = Some(text.into());
        self
    }

    /// Only jobs whose JSON payload has `value` at this place, which is a JSON pointer ([RFC 6901]): `/order/id` is the
    /// field `id` of the field `order`, and the empty text is the whole payload. Several calls must all be true. A payload
    /// that is not JSON does not match.
    ///
    /// [RFC 6901]: https://www.rfc-editor.org/rfc/rfc6901
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # pond.enqueue_many("billing", (5..8).map(|order| Charge { order })).await?;
    /// let page = pond.jobs(&JobFilter::new().json_equals("/order", 7), None, 10)?;
    /// assert_eq!(page.jobs.len(), 1);
    /// # Ok(()) });
    /// ```
    pub fn json_equals(mut self, pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        self.json.push((pointer.into(), value.into()));
        self
    }

    /// Only jobs with this text in their last error or their reason.
    pub fn error_contains(mut self, text: impl Into<String>) -> Self {
        self.error = Some(text.into());
        self
    }

    /// Only jobs that ended at this time or later. For a job that has not ended, the time of its enqueue counts.
    pub fn since(mut self, time: impl Into<Timestamp>) -> Self {
        self.since = Some(time.into());
        self
    }

    /// Only jobs that ended before this time. For a job that has not ended, the time of its enqueue counts.
    pub fn until(mut self, time: impl Into<Timestamp>) -> Self {
        self.until = Some(time.into());
        self
    }

    /// Lists the jobs from the newest one back.
    ///
    /// With a [`queue`](Self::queue) that is the reverse order, so that of the jobs in one state the newest comes first: the latest
    /// end, the latest time at which a job is due, or the job that is to start last. Without a queue, the jobs of all queues
    /// are one list in the same order. If the filter has no [`state`](Self::state) either, or if it has a [`tag`](Self::tag), the job
    /// that was enqueued last comes first. The jobs of more than 1,000 queues are not one list: they come by queue.
    ///
    /// The order is that of [`Millpond::jobs`](crate::Millpond::jobs) and [`DeadLetters::list`](crate::DeadLetters::list); all
    /// that changes or counts jobs ignores it. A [`Cursor`](crate::Cursor) belongs to the order in which it was made.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let ids = pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
    ///
    /// let page = pond.jobs(&JobFilter::new().queue("billing").newest_first(), None, 2)?;
    /// assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    /// # Ok(()) });
    /// ```
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    pub(super) fn matches(&self, engine: &Engine, found: &Found, state: State) -> bool {
        let extra = found.record.extra.as_deref();
        let text = |wanted: &String| {
            let error = extra.and_then(|extra| extra.errors.last()).map(|error| error.message.as_str());
            let reason = extra.and_then(|extra| extra.reason.as_deref());
            [error, reason].into_iter().flatten().any(|text| engine.coder().text(text).contains(wanted.as_str()))
        };
        let time = extra.and_then(|extra| extra.ended_at).unwrap_or(found.record.enqueued_at);
        self.state.is_none_or(|wanted| wanted == state)
            && self.kind.as_ref().is_none_or(|kind| **kind == *engine.kind_name(found.record.kind))
            && self.group.as_ref().is_none_or(|group| found.record.group().is_some_and(|own| **own == **group))
            && self.unique_key.as_ref().is_none_or(|key| found.record.unique_key() == Some(key))
            && self.tags.iter().all(|tag| found.record.tags().contains(tag))
            && self.error.as_ref().is_none_or(text)
            && (self.payload.is_none() && self.json.is_empty() || self.payload_matches(engine, &found.record.payload))
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }

    /// A payload that the payload codec cannot read matches nothing.
    fn payload_matches(&self, engine: &Engine, stored: &StoredPayload) -> bool {
        let Ok(payload) = engine.coder().payload(stored) else { return false };
        self.payload.as_ref().is_none_or(|text| memmem::find(&payload.bytes, text.as_bytes()).is_some())
            && (self.json.is_empty() || self.json_matches(&payload))
    }

    fn json_matches(&self, payload: &Payload) -> bool {
        let json =
            (payload.codec == Codec::Json).then(|| serde_json::from_slice::<Value>(&payload.bytes).ok()).flatten();
        json.is_some_and(|json| self.json.iter().all(|(pointer, value)| json.pointer(pointer) == Some(value)))
    }

    /// Which way its jobs are listed.
    pub(super) fn direction(&self) -> Direction {
        if self.newest_first { Direction::Backwards } else { Direction::Forwards }
    }

    /// Where the jobs that it matches can be.
    pub(super) fn sources(&self) -> &'static [Source] {
        self.state.map_or(Source::ALL, Source::of)
    }

    /// The tag by which its jobs are found, if it has one.
    pub(super) fn indexed_tag(&self) -> Option<&str> {
        self.tags.first().map(String::as_str)
    }

    /// The kind to which it is limited.
    pub(crate) fn only_kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The queue to which it is limited.
    pub(crate) fn only_queue(&self) -> Option<&str> {
        self.queue.as_deref()
    }

    pub(super) fn queues(&self, engine: &Engine) -> Vec<QueueId> {
        match &self.queue {
            Some(name) => engine.find_queue(name).into_iter().collect(),
            None => engine.stored_queues(),
        }
    }
}
