//! What the facets are told when something has happened to a job.

use crate::job::{JobId, QueueId, Record, State, Transition};
use crate::storage::rows::place::Place;
use crate::storage::rows::start_mark::StartMark;

/// One job, before and after a transition.
pub(in crate::storage) struct Moved<'m> {
    pub id: JobId,
    pub queue: QueueId,
    pub transition: Transition,
    /// What the file had of it. `None` for a new job, and for one whose row was not there any more.
    pub from: Option<Side<'m>>,
    /// What the file has of it from now on. `None` if nothing is kept.
    pub to: Option<Side<'m>>,
    /// Whether the index has its old place.
    pub was_indexed: bool,
    /// Its new place, if the index is to have it. Jobs in `ready` are not in the index.
    pub indexed: Option<&'m Place>,
    /// The record with which it has ended, if it has, whether it is kept or not.
    pub ended: Option<&'m Record>,
    pub handler: WithHandler<'m>,
}

/// Whether a handler has the job, as far as the file is to know it.
#[derive(Clone, Copy)]
pub(in crate::storage) enum WithHandler<'m> {
    /// It was with no handler, and is with none.
    No,
    /// It can have been with a handler until now.
    Was,
    /// It is with a handler from now on.
    Is(&'m StartMark),
}

impl Moved<'_> {
    /// Whether its record has anything that a plain job's record does not have, such as an expiry or a unique key.
    #[inline]
    pub fn has_options(&self) -> bool {
        let has =
            |side: &Option<Side<'_>>| side.and_then(|side| side.record).is_some_and(|record| record.extra.is_some());
        has(&self.from) || has(&self.to)
    }
}

/// One job at one time.
#[derive(Clone, Copy)]
pub(in crate::storage) struct Side<'m> {
    /// The state that it counts as.
    pub state: State,
    /// How many bytes its row has.
    pub bytes: u64,
    /// Its record, unless that cannot be read or no facet needs it.
    pub record: Option<&'m Record>,
}

impl<'m> Side<'m> {
    /// Its record, if it has not ended.
    pub fn unfinished(&self) -> Option<&'m Record> {
        self.record.filter(|_| !self.state.is_final())
    }
}
