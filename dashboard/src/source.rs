//! What the dashboard needs to know, and where it gets it.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::api::{
    Action, Check, Consumer, DeadSummary, Done, EntryPage, EntryQuery, FlowDetail, FlowPage, GroupPage, Job, JobPage,
    JobQuery, JobRecordPage, Link, LiveEvent, Matched, Order, Overview, Paging, Plugin, Problem, QuarantinePage,
    QueueDetail, Schedule, SchedulePage, StreamDetail, StreamPage, TopicDetail, TopicMessage, TopicPage,
};

/// What a [`Source`] answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// A queue that can be looked at and steered. Millpond is one, and so is a client of the API of another process.
///
/// No method blocks the thread that polls its answer.
pub trait Source: Send + Sync + 'static {
    /// A number that is another one when something has changed.
    fn revision(&self) -> Answer<'_, u64>;

    /// Everything at a glance.
    fn overview(&self) -> Answer<'_, Overview>;

    /// Why nothing can be written for now, if so. A check of health asks this every few seconds, so it reads nothing large.
    fn degraded(&self) -> Answer<'_, Option<String>> {
        let overview = self.overview();
        Box::pin(async move { Ok(overview.await?.degraded) })
    }

    /// One queue.
    fn queue(&self, name: &str) -> Answer<'_, QueueDetail>;

    /// The groups of a queue that have waiting jobs, are paused or held, by name.
    fn groups(&self, queue: &str, page: Paging) -> Answer<'_, GroupPage>;

    /// The jobs that match, in this order. The `next` of a page belongs to its order.
    fn jobs(&self, query: JobQuery, order: Order, page: Paging) -> Answer<'_, JobPage>;

    /// The jobs that match as they are exported, the oldest first, by queue.
    fn records(&self, query: JobQuery, page: Paging) -> Answer<'_, JobRecordPage>;

    /// How many jobs match. It can take seconds where many jobs have to be read.
    fn count(&self, query: JobQuery) -> Answer<'_, u64>;

    /// One job.
    fn job(&self, id: &str) -> Answer<'_, Job>;

    /// The dead letters of all queues, or of one, by their errors.
    fn dead(&self, queue: Option<&str>) -> Answer<'_, DeadSummary>;

    /// The schedules, by name.
    fn schedules(&self, page: Paging) -> Answer<'_, SchedulePage>;

    /// One schedule, with the times of its next runs.
    fn schedule(&self, name: &str) -> Answer<'_, Schedule>;

    /// The topics, by name.
    fn topics(&self, page: Paging) -> Answer<'_, TopicPage>;

    /// One topic with some of its bindings.
    fn topic(&self, name: &str, page: Paging) -> Answer<'_, TopicDetail>;

    /// Where a message of a topic would go.
    fn matches(&self, topic: &str, message: TopicMessage) -> Answer<'_, Matched>;

    /// The streams, by name.
    fn streams(&self, page: Paging) -> Answer<'_, StreamPage>;

    /// One stream with its consumers.
    fn stream(&self, name: &str) -> Answer<'_, StreamDetail>;

    /// The consumers of a stream, or of all streams, by the names of their streams and their own.
    fn consumers(&self, stream: Option<&str>) -> Answer<'_, Vec<Consumer>>;

    /// Some entries of a stream.
    fn entries(&self, stream: &str, query: EntryQuery) -> Answer<'_, EntryPage>;

    /// The flows, the latest first.
    fn flows(&self, page: Paging) -> Answer<'_, FlowPage>;

    /// One flow, with its first 1,000 jobs and signals.
    fn flow(&self, name: &str) -> Answer<'_, FlowDetail>;

    /// The links of the process, in the order in which they were started.
    fn links(&self) -> Answer<'_, Vec<Link>>;

    /// The plugins.
    fn plugins(&self) -> Answer<'_, Vec<Plugin>>;

    /// The rows that could not be read.
    fn quarantine(&self, page: Paging) -> Answer<'_, QuarantinePage>;

    /// Reads the whole file and checks it.
    fn check(&self) -> Answer<'_, Check>;

    /// What happens from now on.
    fn events(&self) -> BoxStream<'static, LiveEvent>;

    /// The metrics in the OpenMetrics text format.
    fn metrics(&self) -> Answer<'_, String>;

    /// Makes a change.
    fn act(&self, action: Action) -> Answer<'_, Done>;
}
