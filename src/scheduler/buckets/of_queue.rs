//! The buckets of one queue: its own, and those of its groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::Bucket;
use crate::job::Rate;

/// How long a bucket is kept whose rate the queue's worker does not set. Its tokens matter only if the rate is set again.
/// This is long enough for a worker that is restarted with other settings for a while.
const UNSET_FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// The same for a bucket of a queue without a worker: its rate is not known.
const UNATTENDED_FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[derive(Debug, Default)]
pub(super) struct OfQueue {
    pub(super) rate: Option<Rate>,
    pub(super) group_rate: Option<Rate>,
    /// A worker has set the rates.
    pub(super) is_attended: bool,
    pub(super) own: Option<Bucket>,
    pub(super) groups: HashMap<Arc<str>, Bucket>,
}

impl OfQueue {
    pub(super) fn rate_of(&self, group: Option<&Arc<str>>) -> Option<Rate> {
        if group.is_some() { self.group_rate } else { self.rate }
    }

    /// How long a bucket without a rate is kept.
    pub(super) fn forgets_after(&self) -> Duration {
        if self.is_attended { UNSET_FORGOTTEN_AFTER } else { UNATTENDED_FORGOTTEN_AFTER }
    }

    pub(super) fn get(&self, group: Option<&Arc<str>>) -> Option<&Bucket> {
        match group {
            None => self.own.as_ref(),
            Some(group) => self.groups.get(group),
        }
    }

    pub(super) fn get_mut(&mut self, group: Option<&Arc<str>>) -> Option<&mut Bucket> {
        match group {
            None => self.own.as_mut(),
            Some(group) => self.groups.get_mut(group),
        }
    }

    pub(super) fn insert(&mut self, group: Option<&Arc<str>>, bucket: Bucket) {
        match group {
            None => self.own = Some(bucket),
            Some(group) => drop(self.groups.insert(group.clone(), bucket)),
        }
    }

    pub(super) fn remove(&mut self, group: Option<&Arc<str>>) {
        match group {
            None => self.own = None,
            Some(group) => drop(self.groups.remove(group)),
        }
    }
}
