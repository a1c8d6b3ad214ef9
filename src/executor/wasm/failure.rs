//! What an attempt that broke is told as.

use wasmtime::{Trap, WasmBacktrace};

use super::exceeded::Exceeded;
use super::guest::Guest;
use super::plain::plain;
use super::version::Version;
use crate::events::Event;
use crate::job::{ClassedError, FailureKind, Outcome};

/// Functions of a backtrace that are named, the innermost first.
const FRAMES_MAX: usize = 6;

/// Longest name of one of them, in bytes.
const FRAME_BYTES_MAX: usize = 100;

/// What wasmtime says if a call passes more bytes than its budget. It has no type for it.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

pub(super) fn outcome(error: &wasmtime::Error, guest: &Guest, version: &Version) -> Outcome {
    let plugin = &guest.plugin;
    if let Some(failures) = plugin.service.broke() {
        let (name, hash) = (plugin.name.as_str(), version.hash);
        tracing::error!(plugin = name, %hash, failures, "a plugin is out of service: it broke too often in a row");
        plugin.host.tell(Event::PluginQuarantined { plugin: name.into(), hash, failures });
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
    if error.chain().any(|cause| cause.to_string().contains(FUEL_EXHAUSTED)) {
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
    plain(function[..function.floor_char_boundary(FRAME_BYTES_MAX)].to_owned())
}
