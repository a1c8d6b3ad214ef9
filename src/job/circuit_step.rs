//! What the end of an attempt does to circuits.

use std::time::Duration;

use super::JobId;
use super::change::BucketKey;
use crate::time::Now;

/// What the end of an attempt does to a circuit: part of the commit of that end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CircuitStep {
    Open(Opened),
    /// The probe has completed.
    Close {
        key: BucketKey,
        probe: JobId,
    },
}

/// A circuit that an attempt has opened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub key: BucketKey,
    pub until: Now,
    pub open_for: Duration,
    /// How many of how many ends were failures.
    pub failures: u32,
    pub ends: u32,
    /// The probe that failed, if the circuit was half open.
    pub probe: Option<JobId>,
}
