//! Plugins. A build without the feature `wasm` has none.

use crate::Millpond;

use super::api::{Done, Plugin, Problem};

/// The plugins of all workers.
#[cfg(feature = "wasm")]
pub(super) fn list(pond: &Millpond) -> Vec<Plugin> {
    pond.plugins().into_iter().map(shown).collect()
}

#[cfg(not(feature = "wasm"))]
pub(super) fn list(_: &Millpond) -> Vec<Plugin> {
    Vec::new()
}

#[cfg(feature = "wasm")]
fn shown(plugin: crate::PluginStatus) -> Plugin {
    use super::api::PluginState;

    let limits = match serde_json::to_value(&plugin.limits) {
        Ok(serde_json::Value::Object(limits)) => {
            limits.into_iter().map(|(name, limit)| (name.replace('_', " "), limit.to_string())).collect()
        }
        _ => Vec::new(),
    };
    Plugin {
        name: plugin.name,
        hash: plugin.hash.to_string(),
        queue: plugin.queue,
        kind: plugin.kind,
        grants: plugin.grants,
        limits,
        state: if plugin.suspended { PluginState::Suspended } else { PluginState::Active },
        attempts: plugin.attempts_total,
        broken: plugin.broken_total,
        broken_in_a_row: u64::from(plugin.broken_in_a_row),
        traps: plugin.traps_total,
        suspensions: plugin.suspensions_total,
        compute_seconds: plugin.compute_time_total.as_secs_f64(),
        memory_bytes_max: plugin.memory_bytes_max,
    }
}

/// Lets a suspended plugin run again.
#[cfg(feature = "wasm")]
pub(super) fn resume(pond: &Millpond, queue: &str, kind: &str) -> Result<Done, Problem> {
    let plugin = pond.plugin(queue, kind).ok_or_else(|| none(queue, kind))?;
    let changed = u64::from(plugin.is_suspended());
    plugin.resume();
    Ok(Done { changed, message: format!("plugin {} runs", plugin.name()), ..Done::default() })
}

#[cfg(not(feature = "wasm"))]
pub(super) fn resume(_: &Millpond, queue: &str, kind: &str) -> Result<Done, Problem> {
    Err(none(queue, kind))
}

fn none(queue: &str, kind: &str) -> Problem {
    Problem::not_found(format!("no plugin handles the kind {kind} in the queue {queue}"))
}
