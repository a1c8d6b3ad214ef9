//! The reason why a job is not running.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{look_up, state_of};
use crate::error::Error;
use crate::job::{JobId, KindId, Order, QueueId, State, StepWhat, What};
use crate::links::LinkInfo;
use crate::runtime::{Engine, Handlers};
use crate::scheduler::{Blocked, LimitKey};
use crate::storage::{Found, HeadAt, Place, Reader, ScanMost};
use crate::text::told;
use crate::time::Timestamp;

/// How many nodes of a flow are looked at for one that a job waits for.
const NODES_READ_MAX: usize = 1_000;

/// How far [`Explanation::Waiting`] and [`Explanation::GroupBusy`] count the jobs ahead.
const AHEAD_MOST: ScanMost = ScanMost { rows: 10_000, bytes: 64 << 20 };

/// Why a job is not running. Its `Display` is a sentence. In its serialized form, the field `type` is the variant's
/// name, beside the variant's fields.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let job = NewJob::json("charge", &7).delay(Duration::from_secs(60));
/// let id = pond.enqueue("billing", job).await?;
///
/// let why = pond.explain(id)?;
/// assert!(matches!(why, Explanation::NotDue { wait, .. } if wait == Duration::from_secs(60)));
/// assert_eq!(why.to_string(), "it is not due for another 60s");
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Explanation {
    /// It is running.
    Running,
    /// It is running, and its [cancel](crate::Millpond::cancel) was requested.
    #[non_exhaustive]
    CancelRequested {
        /// Why.
        reason: String,
    },
    /// It has ended.
    #[non_exhaustive]
    Ended {
        /// The state in which it has ended.
        state: State,
    },
    /// No job starts: the file cannot be written, or the runtime of the queue's worker has ended.
    #[non_exhaustive]
    Degraded {
        /// The cause.
        reason: String,
    },
    /// It is not due yet.
    #[non_exhaustive]
    NotDue {
        /// When it is due.
        at: Timestamp,
        /// How long that is from now.
        wait: Duration,
    },
    /// Its queue is paused.
    QueuePaused,
    /// Its kind is paused in its queue ([`Queue::pause_kind`](crate::Queue::pause_kind)).
    KindPaused,
    /// All queues are paused ([`Millpond::pause`](crate::Millpond::pause)).
    AllPaused,
    /// Its group is paused.
    GroupPaused,
    /// A dead letter holds its group ([`GroupPolicy::Hold`](crate::GroupPolicy::Hold)).
    #[non_exhaustive]
    GroupHeld {
        /// The dead letter.
        by: JobId,
    },
    /// Another job of its group comes first.
    #[non_exhaustive]
    GroupBusy {
        /// That job.
        head: JobId,
        /// The state of that job.
        state: State,
        /// How many jobs of the group come before it, including that one; counted up to 10,000 jobs or 64 MiB.
        ahead: u64,
    },
    /// Its queue, or its group, is rate limited.
    #[non_exhaustive]
    RateLimited {
        /// For how long at least.
        wait: Duration,
    },
    /// The [circuit](crate::CircuitBreaker) of its queue, or of its group, is open: too many attempts have failed.
    #[non_exhaustive]
    CircuitOpen {
        /// For how long.
        wait: Duration,
    },
    /// The [circuit](crate::CircuitBreaker) of its queue, or of its group, is half open: another job is tried first.
    #[non_exhaustive]
    CircuitHalfOpen {
        /// The job that is tried.
        probe: JobId,
    },
    /// No worker of its queue handles its kind.
    #[non_exhaustive]
    NoHandler {
        /// Its queue.
        queue: String,
        /// Its kind.
        kind: String,
        /// The kinds that the queue's worker handles, sorted. Empty if the queue has no worker.
        handled: Vec<String>,
        /// The name that was probably meant, if one differs in only a few letters: of a kind that the worker handles,
        /// or, if the queue has no worker, of a queue that has one.
        nearest: Option<String>,
    },
    /// Its queue is forwarded to another machine, and the [link](crate::Millpond::links) waits for its engine.
    #[non_exhaustive]
    AwaitsLink {
        /// The link's name.
        link: String,
        /// Its engine.
        engine: String,
        /// Since when the engine has not answered. `None` if the link has just started, or starts again.
        since: Option<Timestamp>,
        /// The latest error.
        error: Option<String>,
    },
    /// Its queue is forwarded to another machine, and its [link](crate::Millpond::links) is sending it.
    #[non_exhaustive]
    BeingSent {
        /// The link's name.
        link: String,
    },
    /// All slots of its queue's worker are in use.
    NoFreeSlot,
    /// Its queue has a [taker](crate::Taker), which asks for no job now.
    NotAskedFor,
    /// As many jobs of its kind run as the worker runs at a time
    /// ([`concurrency_of`](crate::WorkerBuilder::concurrency_of)).
    #[non_exhaustive]
    KindBusy {
        /// Its kind.
        kind: String,
        /// How many jobs of the kind run at a time.
        concurrency: u32,
    },
    /// A limit that it shares with other jobs has too few free units, or a job that waited before takes them first
    /// ([`Builder::limit`](crate::Builder::limit)).
    #[non_exhaustive]
    LimitReached {
        /// The name of the limit.
        limit: String,
        /// How many units the limit has.
        units: u32,
        /// How many of them are in use.
        used: u64,
    },
    /// Too many jobs have ended whose ends are not durable yet: nothing starts until the disk has caught up.
    #[non_exhaustive]
    EndsNotDurable {
        /// How many.
        jobs: usize,
    },
    /// Its handler blocks, and all threads for blocking handlers are in use
    /// ([`blocking_threads`](crate::Builder::blocking_threads)).
    NoThread,
    /// All slots of the process are in use ([`max_running`](crate::Builder::max_running)).
    #[non_exhaustive]
    ProcessBudget {
        /// How many there are.
        max_running: usize,
    },
    /// The previous process died, and the jobs that it was running start again one after another. This job is one of
    /// them and waits, or a job that may have killed the process is tried first.
    #[non_exhaustive]
    Recovering {
        /// For approximately how long.
        wait: Duration,
    },
    /// It waits for other jobs or signals of its flow.
    #[non_exhaustive]
    Blocked {
        /// The flow.
        flow: String,
        /// For how many it waits.
        waits: u32,
        /// One of them, in words. `None` if it is not among the first 1,000 of the flow, or has many dependents.
        on: Option<String>,
        /// One that has died or was cancelled, and holds it.
        held_by: Option<JobId>,
        /// How many have died or were cancelled, and hold it.
        failed: u32,
    },
    /// A step of its handler waits for a signal.
    #[non_exhaustive]
    AwaitsSignal {
        /// The name of the signal.
        signal: String,
        /// It waits until then, if it has a timeout.
        until: Option<Timestamp>,
    },
    /// It is a callback of a flow that has not come to its end, or not to the one that the callback is for.
    #[non_exhaustive]
    Callback {
        /// The flow.
        flow: String,
    },
    /// The queue is shutting down.
    ShuttingDown,
    /// Other jobs come first.
    #[non_exhaustive]
    Waiting {
        /// How many; counted up to 10,000 jobs or 64 MiB. In a queue whose worker has [ageing](crate::WorkerBuilder::aging),
        /// the job counts as the priority that it has by now. Less urgent jobs that have aged and go before it are
        /// counted as far as the worker has read them: the next few hundred.
        ahead: u64,
    },
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("it is running"),
            Self::CancelRequested { reason } => write!(f, "it is running, and its cancel was requested: {reason}"),
            Self::Ended { state } => write!(f, "it has ended: {state}"),
            Self::NotDue { wait, .. } => write!(f, "it is not due for another {wait:?}"),
            Self::QueuePaused => f.write_str("its queue is paused"),
            Self::KindPaused => f.write_str("its kind is paused in its queue"),
            Self::AllPaused => f.write_str("all queues are paused"),
            Self::GroupPaused => f.write_str("its group is paused"),
            Self::GroupHeld { by } => {
                write!(
                    f,
                    "job {by}, a dead letter, holds its group until it is redriven or purged, or the group is resumed"
                )
            }
            Self::GroupBusy { head, state, ahead } => {
                write!(f, "its group is busy with job {head}, which is {state}; {ahead} of the group go first")
            }
            Self::Degraded { reason } => write!(f, "the queue is degraded: {reason}"),
            Self::RateLimited { wait } => write!(f, "it is rate limited for another {wait:?}"),
            Self::CircuitOpen { wait } => {
                write!(
                    f,
                    "too many attempts of its queue or group have failed: its circuit is open for another {wait:?}"
                )
            }
            Self::CircuitHalfOpen { probe } => {
                write!(f, "too many attempts of its queue or group have failed: job {probe} is tried first")
            }
            Self::NoHandler { queue, kind, handled, nearest } => {
                match (handled.is_empty(), nearest) {
                    (true, None) => write!(f, "no worker of its queue handles kind {kind:?}")?,
                    (true, Some(_)) => write!(f, "queue {queue:?} has no worker")?,
                    (false, _) => write!(f, "the worker of queue {queue:?} handles {handled:?}, not kind {kind:?}")?,
                }
                nearest.iter().try_for_each(|nearest| write!(f, "; did you mean {nearest:?}?"))
            }
            Self::AwaitsLink { link, engine, since: Some(since), error } => {
                let error = told(error.as_deref().unwrap_or("no error was told"));
                write!(f, "it waits for its link {link:?}: {engine} has not answered since {since}, because: {error}")
            }
            Self::AwaitsLink { link, engine, since: None, .. } => {
                write!(f, "it waits for its link {link:?}, which is connecting to {engine}")
            }
            Self::BeingSent { link } => write!(f, "its link {link:?} is sending it"),
            Self::NotAskedFor => f.write_str("its queue has a taker, which has not asked for it yet"),
            Self::NoFreeSlot => f.write_str("all slots of its queue's worker are taken"),
            Self::KindBusy { kind, concurrency } => {
                write!(f, "{concurrency} jobs of kind {kind:?} run, as many as the worker runs at a time")
            }
            Self::LimitReached { limit, units, used } => {
                write!(f, "it waits for the limit {limit:?}, of which {used} of {units} units are in use")
            }
            Self::EndsNotDurable { jobs } => {
                write!(f, "the ends of {jobs} jobs are not durable yet: nothing starts until the disk has caught up")
            }
            Self::NoThread => f.write_str("all threads for blocking handlers are taken (`blocking_threads`)"),
            Self::ProcessBudget { max_running } => {
                write!(f, "all {max_running} slots of the process are taken (`max_running`)")
            }
            Self::Recovering { wait } => {
                write!(f, "the process died before, and its jobs start again one after another: this one in {wait:?}")
            }
            Self::Blocked { flow, waits, on, held_by: None, .. } => {
                let others = if *waits == 1 { "1 other" } else { &format!("{waits} others") };
                write!(f, "it waits for {others} of the flow {flow:?}")?;
                on.iter().try_for_each(|on| write!(f, ", such as {on}"))
            }
            Self::Blocked { flow, held_by: Some(by), failed, .. } => {
                write!(f, "it waits in the flow {flow:?} for {by}, which has failed")?;
                if *failed > 1 {
                    write!(f, ", and for {} others that have", failed - 1)?;
                }
                f.write_str(": redrive that, run this job now, or cancel it")
            }
            Self::AwaitsSignal { signal, .. } => {
                write!(f, "its handler waits for the signal {signal:?}: `signal_job` sends it")
            }
            Self::Callback { flow } => {
                write!(f, "it is a callback of the flow {flow:?}, which has not come to the end that it waits for")
            }
            Self::ShuttingDown => f.write_str("the queue is shutting down"),
            Self::Waiting { ahead } => write!(f, "{ahead} others go first"),
        }
    }
}

pub(crate) fn explain(engine: &Arc<Engine>, id: JobId) -> Result<Explanation, Error> {
    explain_in(engine, &engine.reader()?, id)
}

/// [`explain`] with the job as it is in this snapshot.
pub(super) fn explain_in(engine: &Arc<Engine>, reader: &Reader, id: JobId) -> Result<Explanation, Error> {
    let found = look_up(engine, reader, id)?;
    let now = engine.now();
    let queue = found.queue;
    if engine.scheduler().is_handed_out(id) {
        let link = || engine.link_of(&engine.queue_name(queue));
        return Ok(match engine.cancel_requested(id) {
            Some(reason) => Explanation::CancelRequested { reason: reason.to_string() },
            None => link().map_or(Explanation::Running, |link| Explanation::BeingSent { link: link.name }),
        });
    }
    let position = match &found.place {
        Place::Dead { .. } | Place::Finished { .. } => return Ok(Explanation::Ended { state: found.record.state }),
        Place::Delayed { due } => {
            // Without a worker nobody looks for jobs that have become due.
            if due.is_due(now)
                && let Some(awaited) = awaited_link(engine, queue)
            {
                return Ok(awaited);
            }
            let not_due = Explanation::NotDue { at: due.at, wait: due.wait(now) };
            return Ok(awaited_signal(reader, &found)?.unwrap_or(not_due));
        }
        Place::Blocked => return blocked(engine, reader, &found),
        Place::Ready { .. } => id.get(),
        Place::Member(member) => match explain_member(engine, reader, &found, &member.group, member.seq)? {
            Ok(position) => position,
            Err(why) => return Ok(why),
        },
    };
    let order = Order { priority: found.record.priority.get(), position };
    let group = found.record.group().map(|group| (group, order));
    let blocked = engine.scheduler().why(queue, (id, &found.record), group, now);
    if let Some(reason) = engine.unwritable() {
        return Ok(Explanation::Degraded { reason });
    }
    Ok(match blocked {
        Blocked::QueuePaused => Explanation::QueuePaused,
        Blocked::KindPaused => Explanation::KindPaused,
        Blocked::AllPaused => Explanation::AllPaused,
        Blocked::NoHandler => match engine.runtime_ended() {
            Some(reason) => Explanation::Degraded { reason: reason.to_owned() },
            None => awaited_link(engine, queue).unwrap_or_else(|| no_handler(engine, queue, found.record.kind)),
        },
        Blocked::RateLimited(wait) => Explanation::RateLimited { wait },
        Blocked::CircuitOpen(wait) => Explanation::CircuitOpen { wait },
        Blocked::CircuitHalfOpen(probe) => Explanation::CircuitHalfOpen { probe },
        Blocked::Recovering(wait) => Explanation::Recovering { wait },
        Blocked::Draining => Explanation::ShuttingDown,
        Blocked::Limit(key) => limit_reached(engine, key),
        blocked => {
            let age = engine.scheduler().age_of(queue, (id, &found.record), now);
            let (counts_as, aged_ahead) = age.unwrap_or((order.priority, 0));
            let taken = |id| engine.scheduler().is_handed_out(id);
            let grouped = found.record.group().is_some();
            let ahead = reader.ahead(queue, (order, counts_as), grouped, AHEAD_MOST, taken)? + aged_ahead;
            match blocked {
                _ if ahead > 0 => Explanation::Waiting { ahead },
                Blocked::NoFreeSlot if engine.scheduler().has_no_slots(queue) => Explanation::NotAskedFor,
                Blocked::NoFreeSlot => Explanation::NoFreeSlot,
                Blocked::NoThread => Explanation::NoThread,
                Blocked::Unsettled(jobs) => Explanation::EndsNotDurable { jobs },
                Blocked::ProcessBudget(max_running) => Explanation::ProcessBudget { max_running },
                _ => Explanation::Waiting { ahead },
            }
        }
    })
}

/// For what a job of a flow waits.
fn blocked(engine: &Engine, reader: &Reader, found: &Found) -> Result<Explanation, Error> {
    let Some(flow) = found.record.extra.as_ref().and_then(|extra| extra.flow) else {
        return Ok(Explanation::Waiting { ahead: 0 });
    };
    let name = reader.flow_numbered(flow)?.map(|row| row.name).unwrap_or_default();
    let Some(node) = reader.flow_node(flow, found.id.get())? else {
        return Ok(Explanation::Blocked { flow: name, waits: 0, on: None, held_by: None, failed: 0 });
    };
    if node.is_callback {
        return Ok(Explanation::Callback { flow: name });
    }
    let (waits, failed, held_by) = (node.waits, node.failed, node.held_by.map(JobId::new));
    let on = waits_on(engine, reader, flow, found.id)?;
    Ok(Explanation::Blocked { flow: name, waits, on, held_by, failed })
}

/// The link of the queue, which has no worker at the moment, if it has a link.
fn awaited_link(engine: &Engine, queue: QueueId) -> Option<Explanation> {
    let LinkInfo { name: link, engine, state, .. } = engine.link_of(&engine.queue_name(queue))?;
    // The engine answers, or was not asked yet: the worker is about to start.
    let since = state.since.filter(|_| !state.connected);
    Some(Explanation::AwaitsLink { link, engine, since, error: since.and(state.last_error) })
}

/// The signal for which a step of the job waits, if one does.
fn awaited_signal(reader: &Reader, found: &Found) -> Result<Option<Explanation>, Error> {
    if !found.record.has_steps() {
        return Ok(None);
    }
    let waits = reader.steps(found.id)?.into_iter().find_map(|(signal, row)| match row.what {
        StepWhat::Waits(until) => Some(Explanation::AwaitsSignal { signal, until: until.map(|due| due.at) }),
        _ => None,
    });
    Ok(waits)
}

/// The first job or signal for which this one waits, among the first nodes of its flow.
fn waits_on(engine: &Engine, reader: &Reader, flow: u64, id: JobId) -> Result<Option<String>, Error> {
    for (number, node) in reader.flow_nodes(flow, 0, NODES_READ_MAX, AHEAD_MOST.bytes)? {
        let is_waited_for = node.dependents.iter().any(|dependent| dependent.node == id.get());
        if is_waited_for && !node.state.has_ended() {
            let what = match (node.name, node.what) {
                (Some(name), What::Job { .. }) => format!("job {number} ({name:?})"),
                (Some(name), What::Signal { .. }) => format!("the signal {name:?}"),
                (None, What::Job { kind, .. }) => format!("job {number} ({})", engine.kind_name(kind)),
                (None, What::Signal { .. }) => format!("signal {number}"),
            };
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn limit_reached(engine: &Engine, key: LimitKey) -> Explanation {
    let (units, used) = engine.limit_usage(key);
    match key {
        LimitKey::Kind(_, kind) => {
            Explanation::KindBusy { kind: engine.kind_name(kind).to_string(), concurrency: units }
        }
        LimitKey::Named(limit) => Explanation::LimitReached { limit: engine.limit_name(limit).to_owned(), units, used },
    }
}

fn no_handler(engine: &Engine, queue: QueueId, kind: KindId) -> Explanation {
    let (queue_name, kind) = (engine.queue_name(queue).to_string(), engine.kind_name(kind).to_string());
    let Handlers { kinds, nearest } = engine.handlers_like(queue, &kind);
    Explanation::NoHandler { queue: queue_name, kind, handled: kinds, nearest }
}

/// The position of this job if it is a ready head of its group; otherwise the reason why it is not.
fn explain_member(
    engine: &Engine,
    reader: &Reader,
    found: &Found,
    group: &Arc<str>,
    seq: u64,
) -> Result<Result<u64, Explanation>, Error> {
    let now = engine.now();
    let row = reader.group(found.queue, group)?;
    let own_due = found.record.due().filter(|due| !due.is_due(now));
    let not_due = own_due.map(|due| Explanation::NotDue { at: due.at, wait: due.wait(now) });
    if let (None, Some(by), false, None) = (row.head(found.id), row.held_by(), row.is_paused(), &not_due) {
        return Ok(Err(Explanation::GroupHeld { by: by.id }));
    }
    let Some(head) = row.head(found.id).or(row.heads.first().copied()) else {
        return Ok(Err(not_due.unwrap_or(match row.held_by() {
            _ if row.is_paused() => Explanation::GroupPaused,
            Some(by) => Explanation::GroupHeld { by: by.id },
            None => Explanation::Waiting { ahead: 0 },
        })));
    };
    if head.id != found.id {
        if let Some(why) = not_due {
            return Ok(Err(why));
        }
        let state = match engine.find(reader, head.id) {
            Ok(Some(head)) => state_of(engine, &head),
            // The head's record may be damaged: that is not an error of this job.
            _ => State::Running,
        };
        let ahead = reader.ahead_in_group(found.queue, group, seq, AHEAD_MOST)?;
        return Ok(Err(Explanation::GroupBusy { head: head.id, state, ahead }));
    }
    Ok(match head.at {
        HeadAt::Ready { position, .. } => Ok(position),
        HeadAt::Due(due) => Err(Explanation::NotDue { at: due.at, wait: due.wait(now) }),
        HeadAt::Held => Err(Explanation::GroupPaused),
    })
}
