//! Plugins.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A plugin that handles jobs of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its file.
    pub hash: String,
    /// The queue whose jobs it handles.
    pub queue: String,
    /// The kinds that it handles.
    pub kinds: Vec<String>,
    /// The size of its file.
    pub bytes: u64,
    /// What it was granted, a phrase each.
    pub grants: Vec<String>,
    /// Its limits, by name.
    pub limits: Vec<(String, String)>,
    /// Whether it runs.
    pub state: PluginState,
    /// How many failures in a row count against it.
    pub failures: u64,
    /// How many of its attempts ended in a trap.
    pub traps: Option<u64>,
}

/// Whether a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PluginState {
    /// It runs.
    Active,
    /// It has failed too often in a row, and its jobs wait.
    Suspended,
}
