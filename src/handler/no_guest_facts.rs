//! The [`GuestFacts`] of a build without plugins: every attempt is that of a Rust handler, so nothing is stored.

use std::time::Duration;

use crate::job::{PluginHash, Record};

/// What is known of an attempt that a plugin makes: nothing, because none does.
#[derive(Default)]
pub(crate) struct GuestFacts;

impl GuestFacts {
    pub fn of(_: &Record) -> Self {
        Self
    }

    /// The version of the plugin that makes this attempt.
    pub fn plugin(&self) -> Option<PluginHash> {
        None
    }

    /// Whether the guest can see that its cancel was requested.
    pub fn sees_cancel(&self) -> bool {
        false
    }

    /// Whether the attempt waits for a place to run.
    pub fn waits_for_place(&self) -> bool {
        false
    }

    /// How long the attempt has waited for a place.
    pub fn waited(&self, _now: Duration) -> Duration {
        Duration::ZERO
    }

    /// Waits until nothing of the attempt runs any more.
    pub async fn gone(&self) {}
}
