//! The plugins that run in an open file.

use std::time::Duration;

use serde::Serialize;

use crate::executor::{PluginHandle, PluginLimits, ServiceCounts};
use crate::job::PluginHash;
use crate::runtime::{Engine, ServedPlugin};

/// A plugin that a running worker has, and what has become of its attempts. [`Millpond::plugins`](crate::Millpond::plugins)
/// returns it. The counts are since its worker was started; a new version does not reset them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// The queue of its worker.
    pub queue: String,
    /// The kind of its jobs.
    pub kind: String,
    /// Its name. Plugins of several kinds can have the same one: each has a suspension and counts of its own.
    pub name: String,
    /// Its version, which attempts that start now run: the SHA-256 of its file.
    #[serde(serialize_with = "PluginHash::in_hex")]
    pub hash: PluginHash,
    /// Whether it is suspended, because [too many](PluginLimits::traps_in_a_row) attempts in a row broke. Its jobs wait.
    pub suspended: bool,
    /// How many attempts in a row broke, up to now.
    pub broken_in_a_row: u32,
    /// Attempts that have begun.
    pub attempts_total: u64,
    /// Attempts that broke: by a trap, or because they exceeded a limit. Attempts whose handler has returned an error are
    /// not among them, nor those that have exceeded their time.
    pub broken_total: u64,
    /// How many of the broken attempts trapped.
    pub traps_total: u64,
    /// How often it was suspended.
    pub suspensions_total: u64,
    /// How long threads were busy with its attempts: the time of computing, without that of waiting.
    pub compute_time_total: Duration,
    /// The most memory that an attempt had, in bytes.
    pub memory_bytes_max: u64,
    /// The limits of the plugin and of each of its attempts.
    pub limits: PluginLimits,
    /// What it is granted, each grant in words, as [`Grant`](crate::Grant) displays it.
    pub grants: Vec<String>,
}

pub(crate) fn plugins(engine: &Engine) -> Vec<PluginStatus> {
    engine.served_plugins().into_iter().map(describe).collect()
}

/// The plugin that handles this kind in this queue.
pub(crate) fn plugin(engine: &Engine, queue: &str, kind: &str) -> Option<PluginHandle> {
    let mut plugins = engine.served_plugins().into_iter();
    plugins.find(|plugin| &*plugin.queue == queue && &*plugin.kind == kind).map(|plugin| plugin.handle)
}

fn describe(plugin: ServedPlugin) -> PluginStatus {
    let ServedPlugin { queue, kind, handle } = plugin;
    let counts = handle.counts();
    let ServiceCounts { attempts_total, broken_total, traps_total, broken_in_a_row, suspensions_total, .. } = counts;
    PluginStatus {
        queue: queue.to_string(),
        kind: kind.to_string(),
        name: handle.name().to_owned(),
        hash: handle.hash(),
        suspended: handle.is_suspended(),
        broken_in_a_row,
        attempts_total,
        broken_total,
        traps_total,
        suspensions_total,
        compute_time_total: counts.computed,
        memory_bytes_max: counts.memory_max,
        limits: handle.limits().clone(),
        grants: handle.grants().iter().map(ToString::to_string).collect(),
    }
}
