//! Lists the groups of a queue.

use std::ops::Bound;
use std::sync::Arc;

use crate::job::{JobId, QueueId};
use crate::storage::read::listing::ScanMost;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;

/// A group that has jobs, is paused, or is held by a dead letter.
pub(crate) struct ListedGroup {
    pub name: Arc<str>,
    pub paused: bool,
    pub held_by: Option<JobId>,
    /// Its jobs that have not ended, as far as they were counted.
    pub jobs: u64,
    /// The job of the group that runs next, or that runs now. A paused group can have jobs that all wait for the pause.
    pub next: Option<JobId>,
    /// The job that was enqueued first. Ids are given in the order of the enqueues.
    pub oldest: Option<JobId>,
}

impl Reader {
    /// The groups of `queue` whose names come behind `after`, in the order of their names' bytes, until as much was read as
    /// `most` allows or there are `limit` of them. Returns whether others follow.
    pub fn groups(
        &self,
        queue: QueueId,
        after: Option<&str>,
        limit: usize,
        mut most: ScanMost,
    ) -> Result<(Vec<ListedGroup>, bool), Fault> {
        let mut groups: Vec<ListedGroup> = Vec::new();
        let mut name = self.group_behind(queue, after)?;
        while let Some(group) = name {
            if groups.len() == limit || most.rows == 0 || most.bytes == 0 {
                return Ok((groups, true));
            }
            groups.push(self.listed(queue, group.clone(), &mut most)?);
            name = self.group_behind(queue, Some(&group))?;
        }
        Ok((groups, false))
    }

    /// The name of the next group. One that is not stopped and has no head is known by its members only.
    fn group_behind(&self, queue: QueueId, after: Option<&str>) -> Result<Option<Arc<str>>, Fault> {
        let tables = self.tables();
        let (rows, members) = (tables.groups()?, tables.members()?);
        let from_row = match after {
            Some(after) => Bound::Excluded((queue, after)),
            None => Bound::Included((queue, "")),
        };
        let from_member = match after {
            Some(after) => Bound::Excluded((queue, after, u8::MAX, u64::MAX, u64::MAX)),
            None => Bound::Included((queue, "", 0, 0, 0)),
        };
        let row = rows.range((from_row, Bound::Unbounded))?.next().transpose()?;
        let member = members.range((from_member, Bound::Unbounded))?.next().transpose()?;
        let name = |found: QueueId, group: &str| (found == queue).then(|| Arc::<str>::from(group));
        let of_row = row.and_then(|(key, _)| name(key.value().0, key.value().1));
        let of_member = member.and_then(|(key, _)| name(key.value().0, key.value().1));
        Ok(match (of_row, of_member) {
            (Some(row), Some(member)) => Some(std::cmp::min(row, member)),
            (row, member) => row.or(member),
        })
    }

    /// Counts the group's jobs. Each of them counts as a row that was read.
    fn listed(&self, queue: QueueId, name: Arc<str>, most: &mut ScanMost) -> Result<ListedGroup, Fault> {
        let row = self.group(queue, &name)?;
        let (mut jobs, mut first, mut oldest) = (0, None, None::<JobId>);
        let all = (queue, &*name, 0, 0, 0)..=(queue, &*name, u8::MAX, u64::MAX, u64::MAX);
        for row in self.tables().members()?.range(all)? {
            let (key, value) = row?;
            let id = JobId::new(key.value().4);
            jobs += 1;
            first = first.or(Some(id));
            oldest = Some(oldest.map_or(id, |oldest| oldest.min(id)));
            most.rows = most.rows.saturating_sub(1);
            most.bytes = most.bytes.saturating_sub(value.value().len());
            if most.rows == 0 || most.bytes == 0 {
                break;
            }
        }
        let next = row.heads.first().map(|head| head.id).or(first);
        let held_by = row.held_by().map(|by| by.id);
        Ok(ListedGroup { name, paused: row.is_paused(), held_by, jobs, next, oldest })
    }
}
