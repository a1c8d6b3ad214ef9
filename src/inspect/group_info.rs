//! The groups of a queue, each with what keeps its next job from running.

use std::sync::Arc;

use serde::Serialize;

use super::READ_PER_PAGE;
use super::explanation::{Explanation, explain_in};
use crate::error::Error;
use crate::job::{JobId, QueueId};
use crate::runtime::Engine;
use crate::storage::{ListedGroup, Reader};

/// Groups on one page, at most.
const GROUPS_PER_PAGE_MAX: usize = 1_000;

/// A group that has jobs, is paused, or is held by a dead letter.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.queue("orders")?;
/// let charge = orders.enqueue(NewJob::json("charge", &7).group("order-7")).await?;
/// orders.enqueue(NewJob::json("ship", &7).group("order-7")).await?;
/// orders.pause_group("order-7").await?;
///
/// let group = &orders.groups(None, 10)?.groups[0];
/// assert_eq!((group.name.as_str(), group.jobs), ("order-7", 2));
/// assert_eq!(group.next, Some(charge.id));
/// assert_eq!(group.why, Explanation::GroupPaused);
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupInfo {
    /// The group's name.
    pub name: String,
    /// Whether the group is paused.
    pub paused: bool,
    /// The dead letter that holds the group, in a queue with [`GroupPolicy::Hold`](crate::GroupPolicy::Hold).
    pub held_by: Option<JobId>,
    /// Its jobs that have not ended. A page counts 10,000 jobs or 64 MiB at most, so the last group of a page can have
    /// more.
    pub jobs: u64,
    /// The job that runs now or runs next. `None` for a group without jobs that is paused or held.
    pub next: Option<JobId>,
    /// The job that was enqueued first. It is not [`next`](Self::next) if it waits for a retry in a queue with
    /// [`GroupPolicy::Skip`](crate::GroupPolicy::Skip).
    pub oldest: Option<JobId>,
    /// Why the next job does not run, or that it runs.
    pub why: Explanation,
}

/// Some groups of a queue, in the order of their names' bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupPage {
    /// The groups. They can be fewer than the limit even if more follow.
    pub groups: Vec<GroupInfo>,
    /// Pass this to the next call; `None` at the end.
    pub next: Option<String>,
}

pub(crate) fn groups(
    engine: &Arc<Engine>,
    queue: QueueId,
    after: Option<&str>,
    limit: usize,
) -> Result<GroupPage, Error> {
    let reader = engine.reader()?;
    let limit = limit.clamp(1, GROUPS_PER_PAGE_MAX);
    let listed = reader.groups(queue, after, limit, READ_PER_PAGE).map_err(Error::from);
    let (listed, more) = engine.note_damage(listed)?;
    let groups = listed.into_iter().map(|group| describe(engine, &reader, group)).collect::<Result<Vec<_>, _>>()?;
    let next = groups.last().filter(|_| more).map(|last| last.name.clone());
    Ok(GroupPage { groups, next })
}

fn describe(engine: &Arc<Engine>, reader: &Reader, group: ListedGroup) -> Result<GroupInfo, Error> {
    let ListedGroup { name, paused, held_by, jobs, next, oldest } = group;
    let why = match (next, held_by) {
        (Some(id), _) => explain_in(engine, reader, id)?,
        (None, Some(by)) if !paused => Explanation::GroupHeld { by },
        (None, _) => Explanation::GroupPaused,
    };
    Ok(GroupInfo { name: name.to_string(), paused, held_by, jobs, next, oldest, why })
}
