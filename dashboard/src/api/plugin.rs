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
    /// The kind of them.
    pub kind: String,
    /// What it was granted, a phrase each.
    pub grants: Vec<String>,
    /// Its limits, with their names.
    pub limits: Vec<(String, String)>,
    /// Whether it runs.
    pub state: PluginState,
    /// Attempts that have begun since its worker was started.
    pub attempts: u64,
    /// How many of them trapped or exceeded a limit.
    pub broken: u64,
    /// How many attempts in a row broke, up to now. Too many suspend the plugin.
    pub broken_in_a_row: u64,
    /// How many attempts trapped.
    pub traps: u64,
    /// How often it was suspended.
    pub suspensions: u64,
    /// How long threads were busy with its attempts, without the time of waiting.
    pub compute_seconds: f64,
    /// The most memory that an attempt had.
    pub memory_bytes_max: u64,
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
