//! What an attempt that broke is told as.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::exceeded::Exceeded;
use super::guest::Guest;
use super::plain::plain;
use super::version::Version;
use crate::events::Event;
use crate::job::{ClassedError, FailureKind, Outcome};
use crate::text::printable;

/// Functions of a backtrace that are named, the innermost first.
const FRAMES_MAX: usize = 6;

/// Longest name of one of them, in bytes.
const FRAME_BYTES_MAX: usize = 100;

/// What wasmtime says if a call passes more bytes than its budget. It has no type for it.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// How long a job is put off that found no room for its instance.
const NO_ROOM: Duration = Duration::from_secs(1);

/// What an instance that could not be made is told as.
pub(super) fn at_start(error: &wasmtime::Error, guest: &Guest, version: &Version) -> Outcome {
    if is_its_own(error) {
        return outcome(error, guest, version);
    }
    no_room(error, guest).unwrap_or_else(|| {
        // The system has refused something, memory for one. That says nothing about the plugin.
        let message = format!("an instance could not be made: {error:#}");
        tracing::error!(plugin = guest.plugin.name, error = message, "a plugin could not be started");
        Outcome::Retry { error: message.into(), delay: None }
    })
}

/// Whether the guest has caused it: everything else at a start is the host's.
fn is_its_own(error: &wasmtime::Error) -> bool {
    error.is::<Exceeded>() || error.is::<Trap>() || error.is::<WasmBacktrace>() || is_out_of_fuel(error)
}

fn is_out_of_fuel(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains(FUEL_EXHAUSTED))
}

/// The job is put off if the pool had no room: that is no attempt of its own, and nothing to hold against its plugin. The pool has
/// room for every guest that has a place, so this should not happen.
fn no_room(error: &wasmtime::Error, guest: &Guest) -> Option<Outcome> {
    is_without_room(error).then(|| {
        tracing::warn!(plugin = guest.plugin.name, %error, "there is no room for a plugin's instance: its job is put off");
        Outcome::Snooze(NO_ROOM)
    })
}

/// Whether the pool had nothing left of something that an instance needs.
fn is_without_room(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
}

/// What an attempt that broke is told as.
pub(super) fn outcome(error: &wasmtime::Error, guest: &Guest, version: &Version) -> Outcome {
    if let Some(put_off) = no_room(error, guest) {
        return put_off;
    }
    let plugin = &guest.plugin;
    if let Some(failures) = plugin.service.broke() {
        let (name, hash) = (plugin.name.as_str(), version.hash);
        tracing::error!(plugin = name, %hash, failures, "a plugin is suspended: it broke too often in a row");
        plugin.host.tell(Event::PluginSuspended { plugin: name.into(), hash, failures });
    }
    let (kind, message) = class(error, plugin.limits.call_bytes);
    // It may repeat what the guest has said.
    let message = plain(message);
    let message = match guest.last_words() {
        Some(words) => format!("{message}: {words}"),
        None => message,
    };
    Outcome::Retry { error: ClassedError { kind, message }.into(), delay: None }
}

fn class(error: &wasmtime::Error, call_bytes: usize) -> (FailureKind, String) {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return (exceeded.kind(), exceeded.to_string());
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return (FailureKind::Trap, format!("{trap}{}", frames(error)));
    }
    if is_out_of_fuel(error) {
        let exceeded = Exceeded::CallBytes { limit: call_bytes };
        return (exceeded.kind(), exceeded.to_string());
    }
    let cause = error.root_cause();
    (FailureKind::Trap, format!("broken: {cause}{}", frames(error)))
}

fn frames(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names = backtrace.frames().iter().filter_map(|frame| frame.func_name()).take(FRAMES_MAX);
    let names: Vec<String> = names.map(named).collect();
    if names.is_empty() { String::new() } else { format!(" (in {})", names.join(" < ")) }
}

/// The names are those that the module says.
fn named(function: &str) -> String {
    printable(&function[..function.floor_char_boundary(FRAME_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use wasmtime::component::{Component, Linker};
    use wasmtime::{PoolingAllocationConfig, Store};

    use super::*;
    use crate::executor::wasm::sandbox::{Nan, Sandbox, pool};
    use crate::sync::block_on;

    /// What becomes of a second instance of this component beside a first one.
    fn second(component: &str, pool: &PoolingAllocationConfig) -> Option<wasmtime::Error> {
        let sandbox = Sandbox::new(1, pool.clone(), Nan::AsItComes).unwrap();
        let component = Component::new(&sandbox.engine, wat::parse_str(component).unwrap()).unwrap();
        let linker = Linker::<()>::new(&sandbox.engine);
        let stores = [(); 2].map(|()| {
            let mut store = Store::new(&sandbox.engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            let made = block_on(linker.instantiate_async(&mut store, &component));
            (store, made)
        });
        let [_, (_, second)] = stores;
        second.err()
    }

    #[test]
    fn a_pool_that_has_run_out_of_anything_is_not_the_guests_own_doing() {
        let component = "(component (core module $m (memory 1) (table 1 funcref)) (core instance (instantiate $m)))";
        let (roomy, mut tight) = (pool(2), [pool(2), pool(2), pool(2), pool(2)]);
        tight[0].total_component_instances(1);
        tight[1].total_core_instances(1);
        tight[2].total_memories(1).max_memories_per_module(1);
        tight[3].total_tables(1).max_tables_per_module(1);
        assert!(second(component, &roomy).is_none());
        for (kind, pool) in tight.iter().enumerate() {
            let error = second(component, pool).expect("there is room for one");
            assert!(is_without_room(&error) && !is_its_own(&error), "{kind}: {error:?}");
        }
        let start = "(core module $m (func $f unreachable) (start $f))";
        let trap = second(&format!("(component {start} (core instance (instantiate $m)))"), &roomy).unwrap();
        assert!(is_its_own(&trap) && !is_without_room(&trap), "{trap:?}");
    }
}
