//! What an attempt knows of the steps of its job.

use std::collections::{BTreeMap, HashMap};

use crate::job::{StepRow, Suspension};

/// What an attempt knows of the steps of its job.
pub(crate) struct StepsOfAttempt {
    /// Those that were stored when the handler first asked.
    pub rows: BTreeMap<String, StepRow>,
    /// How often each name was used in this attempt.
    pub used: HashMap<String, u32>,
    /// Why the handler leaves, if it sleeps or waits.
    pub suspension: Option<Suspension>,
}
