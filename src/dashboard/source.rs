//! An open queue as a source of the pages and the API.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_core::Stream;
use serde_json::Value;

use crate::{JobFilter, Millpond};

use super::api::{
    Action, Check, Code, Consumer, DeadSummary, Done, EntryPage, EntryQuery, FlowDetail, FlowPage, GroupPage, Job,
    JobPage, JobQuery, JobRecordPage, Link, LiveEvent, Matched, Order, Overview, Paging, Plugin, Problem,
    QuarantinePage, QueueDetail, Schedule, SchedulePage, StreamDetail, StreamPage, TopicDetail, TopicMessage,
    TopicPage,
};
use super::dead::{self, Summary};
use super::events::LiveEvents;
use super::history::Sampler;
use super::redact::Redact;
use super::{
    Answer, Source, actions, flows, found, jobs, links, metrics, overview, plugins, quarantine, queues, schedules,
    streams, topics,
};

/// An open queue, as the pages and the API show it and steer it.
///
/// It keeps what happened in the last hour, from its creation in a tokio runtime on. It holds a handle of the queue, which
/// stays open until the source is dropped or the queue is [shut down](Millpond::shutdown).
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// use millpond::dashboard::{PondSource, Source};
///
/// pond.enqueue("billing", Charge { order: 7 }).await?;
/// let source = PondSource::new(&pond);
/// let overview = source.overview().await?;
/// assert_eq!(overview.queues[0].counts.pending, 1);
/// # Ok(()) });
/// ```
pub struct PondSource {
    pond: Millpond,
    redact: Redact,
    sampler: Sampler,
    /// Changes of what is in no commit, such as the units of a limit.
    changes: AtomicU64,
}

impl PondSource {
    /// An open queue as a source. Nothing of payloads is hidden.
    pub fn new(pond: &Millpond) -> Self {
        Self {
            pond: pond.clone(),
            redact: Redact::default(),
            sampler: Sampler::start(pond.clone()),
            changes: AtomicU64::new(0),
        }
    }

    /// Hides what nobody is to see of payloads, results, and what was sent with signals. `hide` gets the queue, the kind and the
    /// JSON, and replaces parts of it. For an entry of a stream it gets the name of the stream in place of the queue. The signals
    /// of a flow have no queue: it gets the empty text, and the kind `signal`. Payloads and results that are not JSON are hidden
    /// completely then, and jobs cannot be found by their payloads.
    /// Errors, log lines, tags, headers and keys are shown as they are: do not put secrets there.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use millpond::dashboard::{PondSource, Source};
    ///
    /// let id = pond.enqueue("billing", NewJob::json("charge", &serde_json::json!({ "card": "4111" }))).await?;
    /// let source = PondSource::new(&pond).redact(|_queue, _kind, payload| {
    ///     if let Some(card) = payload.get_mut("card") {
    ///         *card = "****".into();
    ///     }
    /// });
    /// assert_eq!(source.job(&id.to_string()).await?.row.preview, r#"{"card":"****"}"#);
    /// # Ok(()) });
    /// ```
    pub fn redact(mut self, hide: impl Fn(&str, &str, &mut Value) + Send + Sync + 'static) -> Self {
        self.redact = Redact::with(hide);
        self
    }

    /// Reads on a thread of the queue's own.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Millpond, &Redact) -> Result<T, Problem> + Send + 'static,
    ) -> Answer<'static, T> {
        let redact = self.redact.clone();
        let answer = self.pond.read(move |pond| Ok(read(pond, &redact)));
        Box::pin(async move { answer.await? })
    }
}

impl Source for PondSource {
    fn revision(&self) -> Answer<'_, u64> {
        let changes = self.changes.load(Ordering::Relaxed);
        let revision = overview::revision(&self.pond, changes);
        Box::pin(async move { Ok(revision) })
    }

    fn overview(&self) -> Answer<'_, Overview> {
        let histories = self.sampler.histories();
        self.read(move |pond, _| overview::overview(pond, &histories))
    }

    fn degraded(&self) -> Answer<'_, Option<String>> {
        self.read(|pond, _| {
            // It fails if the file is closed or cannot be read.
            pond.quarantined()?;
            Ok(pond.degraded())
        })
    }

    fn queue(&self, name: &str) -> Answer<'_, QueueDetail> {
        let (name, histories) = (name.to_owned(), self.sampler.histories());
        self.read(move |pond, _| queues::detail(pond, &name, &histories))
    }

    fn groups(&self, queue: &str, page: Paging) -> Answer<'_, GroupPage> {
        let queue = queue.to_owned();
        self.read(move |pond, _| queues::groups(pond, &queue, &page))
    }

    fn jobs(&self, query: JobQuery, order: Order, page: Paging) -> Answer<'_, JobPage> {
        self.read(move |pond, redact| {
            let filter = jobs::filter(&query, redact)?;
            let filter = if order == Order::Newest { filter.newest_first() } else { filter };
            jobs::list(pond, &filter, &page, redact)
        })
    }

    fn records(&self, query: JobQuery, page: Paging) -> Answer<'_, JobRecordPage> {
        self.read(move |pond, redact| jobs::records(pond, &jobs::filter(&query, redact)?, &page, redact))
    }

    fn count(&self, query: JobQuery) -> Answer<'_, u64> {
        if let Some(kept) = jobs::kept_count(&self.pond, &query) {
            return Box::pin(async move { Ok(kept) });
        }
        let filter = jobs::filter(&query, &self.redact);
        let pond = self.pond.clone();
        Box::pin(async move { Ok(pond.select(&filter?).count().await?) })
    }

    fn job(&self, id: &str) -> Answer<'_, Job> {
        let id = jobs::id(id);
        self.read(move |pond, redact| jobs::shown(pond, id?, redact))
    }

    fn dead(&self, queue: Option<&str>) -> Answer<'_, DeadSummary> {
        let queue = queue.map(str::to_owned);
        Box::pin(async move {
            let filter = queue.iter().fold(JobFilter::new(), |filter, queue| filter.queue(queue));
            let (mut summary, mut cursor) = (Summary::default(), None);
            loop {
                let (filter, from) = (filter.clone(), cursor);
                let (jobs, next) = self.read(move |pond, _| dead::page(pond, &filter, from)).await?;
                cursor = next;
                if !summary.add(&jobs) || cursor.is_none() {
                    break;
                }
            }
            Ok(summary.finish(dead::total(&self.pond, queue.as_deref())?))
        })
    }

    fn schedules(&self, page: Paging) -> Answer<'_, SchedulePage> {
        self.read(move |pond, redact| schedules::list(pond, &page, redact))
    }

    fn schedule(&self, name: &str) -> Answer<'_, Schedule> {
        let name = name.to_owned();
        self.read(move |pond, redact| schedules::get(pond, &name, redact))
    }

    fn topics(&self, page: Paging) -> Answer<'_, TopicPage> {
        self.read(move |pond, _| topics::list(pond, &page))
    }

    fn topic(&self, name: &str, page: Paging) -> Answer<'_, TopicDetail> {
        let name = name.to_owned();
        self.read(move |pond, _| topics::get(pond, &name, &page))
    }

    fn matches(&self, topic: &str, message: TopicMessage) -> Answer<'_, Matched> {
        let topic = topic.to_owned();
        self.read(move |pond, _| topics::matches(pond, &topic, &message))
    }

    fn streams(&self, page: Paging) -> Answer<'_, StreamPage> {
        self.read(move |pond, _| streams::list(pond, &page))
    }

    fn stream(&self, name: &str) -> Answer<'_, StreamDetail> {
        let name = name.to_owned();
        self.read(move |pond, _| streams::get(pond, &name))
    }

    fn consumers(&self, stream: Option<&str>) -> Answer<'_, Vec<Consumer>> {
        let stream = stream.map(str::to_owned);
        self.read(move |pond, _| streams::consumers(pond, stream.as_deref()))
    }

    fn entries(&self, stream: &str, query: EntryQuery) -> Answer<'_, EntryPage> {
        let stream = stream.to_owned();
        self.read(move |pond, redact| streams::entries(pond, &stream, query, redact))
    }

    fn flows(&self, page: Paging) -> Answer<'_, FlowPage> {
        self.read(move |pond, _| flows::list(pond, &page))
    }

    fn flow(&self, name: &str) -> Answer<'_, FlowDetail> {
        let name = name.to_owned();
        self.read(move |pond, redact| flows::get(pond, &name, redact))
    }

    fn links(&self) -> Answer<'_, Vec<Link>> {
        let links = links::list(&self.pond);
        Box::pin(async move { Ok(links) })
    }

    fn plugins(&self) -> Answer<'_, Vec<Plugin>> {
        self.read(|pond, _| Ok(plugins::list(pond)))
    }

    fn quarantine(&self, page: Paging) -> Answer<'_, QuarantinePage> {
        self.read(move |pond, _| quarantine::list(pond, &page))
    }

    fn check(&self) -> Answer<'_, Check> {
        let check = self.pond.verify();
        Box::pin(async move { Ok(found(check.await?)) })
    }

    fn events(&self) -> Pin<Box<dyn Stream<Item = LiveEvent> + Send>> {
        Box::pin(LiveEvents::of(&self.pond))
    }

    fn metrics(&self) -> Answer<'_, String> {
        self.read(|pond, _| metrics::open_metrics(pond))
    }

    fn act(&self, action: Action) -> Answer<'_, Done> {
        let (pond, redact) = (self.pond.clone(), self.redact.clone());
        Box::pin(async move {
            // Once begun, an action ends, even if nobody waits for its answer any more.
            let acted = tokio::task::spawn_blocking(move || actions::act(&pond, &redact, action)).await;
            self.changes.fetch_add(1, Ordering::Relaxed);
            acted.unwrap_or_else(|error| Err(Problem::new(Code::Internal, format!("the action did not end: {error}"))))
        })
    }
}

impl std::fmt::Debug for PondSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PondSource").field("pond", &self.pond).finish_non_exhaustive()
    }
}
