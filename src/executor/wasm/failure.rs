//! Turns an attempt that broke into an [`Outcome`]: a failed attempt with its class, or a job that is put off.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::exceeded::Exceeded;
use super::guest::Guest;
use super::plain::plain;
use super::version::Version;
use crate::events::Event;
use crate::job::{ClassedError, FailureKind, Outcome};
use crate::text::printable;

/// The most functions of a backtrace that the error names, the innermost first.
const FRAMES_MAX: usize = 6;

/// The longest name of one of these functions, in bytes.
const FRAME_BYTES_MAX: usize = 100;

/// Part of wasmtime's message if a call passes more bytes than its budget. Wasmtime has no error type for this.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// How long a job is put off if the pool has no room for its instance.
const NO_ROOM: Duration = Duration::from_secs(1);

/// The outcome of an attempt whose instance could not be made.
pub(super) fn at_start(error: &wasmtime::Error, guest: &Guest, version: &Version) -> Outcome {
    if is_its_own(error) {
        return outcome(error, guest, version);
    }
    no_room(error, guest).unwrap_or_else(|| {
        // The operating system has refused something, for example memory. That is not the plugin's fault, so the
        // attempt does not count toward its suspension.
        let message = format!("an instance could not be made: {error:#}");
        tracing::error!(plugin = guest.plugin.name, error = message, "a plugin could not be started");
        Outcome::Retry { error: message.into(), delay: None }
    })
}

/// Whether the guest caused the error. The host causes all other errors at the start of an instance.
fn is_its_own(error: &wasmtime::Error) -> bool {
    error.is::<Exceeded>() || error.is::<Trap>() || error.is::<WasmBacktrace>() || is_out_of_fuel(error)
}

fn is_out_of_fuel(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains(FUEL_EXHAUSTED))
}

/// Puts the job off if the pool had no room. That uses up no attempt and does not count toward the plugin's suspension.
/// The pool has room for every guest that has a place, so this should not happen.
fn no_room(error: &wasmtime::Error, guest: &Guest) -> Option<Outcome> {
    is_without_room(error).then(|| {
        tracing::warn!(plugin = guest.plugin.name, %error, "there is no room for a plugin's instance: its job is put off");
        Outcome::Snooze(NO_ROOM)
    })
}

/// Whether the pool had run out of something that an instance needs.
fn is_without_room(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
}

/// The outcome of an attempt that broke.
pub(super) fn outcome(error: &wasmtime::Error, guest: &Guest, version: &Version) -> Outcome {
    if let Some(put_off) = no_room(error, guest) {
        return put_off;
    }
    let plugin = &guest.plugin;
    let (kind, message) = class(error, plugin.limits.call_bytes);
    if let Some(failures) = plugin.service.broke(kind == FailureKind::Trap) {
        let (name, hash) = (plugin.name.as_str(), version.hash);
        tracing::error!(plugin = name, %hash, failures, "a plugin is suspended: it broke too often in a row");
        plugin.host.tell(Event::PluginSuspended { plugin: name.into(), hash, failures });
    }
    // The message can contain text from the guest.
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

/// A function's name, which comes from the module, shortened and made printable.
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

    /// Makes two instances of this component in one pool, and returns the error of the second.
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
    fn a_pool_that_has_run_out_of_something_is_not_an_error_of_the_guest() {
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
