//! Places for guests: how many of them a plugin can use, and how many it leaves to other plugins.

use std::process::Command;

use millpond::{NewJob, Plugin, PluginError, PluginLimits, Retry};

use super::built::{hostile, noop, register_bytes};
use super::guest::{NOTHING, component, module_with};
use super::told::heard;
use crate::support::*;

fn refused(bytes: Vec<u8>) -> (&'static str, u64, u64) {
    match register_bytes(bytes) {
        Err(PluginError::OverLimits { what, needs, limit }) => (what, needs, limit),
        other => panic!("{other:?}"),
    }
}

fn tables(number: usize) -> Vec<u8> {
    module_with(NOTHING, &"(table 1 funcref)".repeat(number))
}

#[test]
fn more_tables_than_a_place_has_are_refused() {
    assert_eq!(refused(tables(16)), ("tables", 16, 8));
    assert_eq!(refused(component(&tables(9))), ("tables", 9, 8));
    assert_eq!(register_bytes(component(&tables(8))), Ok(()));
}

/// The handler's component with one more component in it, instantiated once if `is_used`. `inside` is its text.
fn with(inside: &str, is_used: bool) -> Vec<u8> {
    const COMPONENT: u8 = 4;
    const INSTANCE: u8 = 5;
    let mut whole = component(&module_with(NOTHING, ""));
    let own = wat::parse_str(format!("(component {inside})")).unwrap();
    let index = sections(&whole).filter(|section| *section == COMPONENT).count() as u8;
    whole.push(COMPONENT);
    whole.extend(number_of(own.len()));
    whole.extend(own);
    if is_used {
        // One instance, instantiated from that component without arguments.
        whole.extend([INSTANCE, 4, 1, 0, index, 0]);
    }
    whole
}

/// The numbers of a component's own sections.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (number, after) = rest.split_first()?;
        let (mut size, mut shift, mut at) = (0, 0, 0);
        loop {
            size |= usize::from(after[at] & 0x7f) << shift;
            (shift, at) = (shift + 7, at + 1);
            if after[at - 1] & 0x80 == 0 {
                break;
            }
        }
        rest = &after[at + size..];
        Some(*number)
    })
}

fn number_of(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A component that instantiates a module `inner` times, itself instantiated `outer` times.
fn nested(module: &str, inner: usize, outer: usize) -> String {
    let inner = "(core instance (instantiate $m))".repeat(inner);
    let outer = "(instance (instantiate $one))".repeat(outer);
    format!("(component $one (core module $m {module}) {inner}) {outer}")
}

#[test]
fn tables_and_memories_count_once_for_each_instance_of_their_module() {
    let table = "(table 1 funcref)";
    assert_eq!(register_bytes(with(&nested(table, 3, 2), true)), Ok(()));
    assert_eq!(refused(with(&nested(table, 3, 3), true)), ("tables", 9, 8));
    assert_eq!(register_bytes(with(&nested(table, 3, 3), false)), Ok(()), "it is never instantiated");
    assert_eq!(refused(with(&nested("(memory 0)", 2, 2), true)), ("memories", 5, 4));
    assert_eq!(register_bytes(with(&nested("", 30, 3), true)), Ok(()));
    assert_eq!(refused(with(&nested("", 30, 4), true)).0, "core instances");
}

/// Runs the test in a process of its own: it uses every place, and the guests of other tests would wait for one.
pub fn alone(test: &str) {
    let run = Command::new(std::env::current_exe().unwrap()).args(["--ignored", "--exact", test]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

/// How many guests of one plugin are alive at a time, in addition to the one in the plugin's own place.
pub fn places() -> usize {
    std::thread::available_parallelism().unwrap().get().saturating_mul(8).clamp(32, 256)
}

#[test]
fn an_attempt_that_waits_for_a_place_at_a_stop_was_not_called() {
    alone("places::alone_attempts_wait_for_a_place_at_a_stop");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn alone_attempts_wait_for_a_place_at_a_stop() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let attempts = 2 * places();
    let spins = hostile("infinite_loop").limits(PluginLimits::default().time(SECOND * 30));
    pond.worker("q").concurrency(attempts).at_most_once().handle_wasm("job", spins).start().unwrap();
    let (lines, _heard) = heard();
    pond.enqueue_many("q", (0..attempts).map(|_| NewJob::raw("job", ""))).await.unwrap();
    running(&pond, "q", attempts as u64).await;
    let in_line = attempts - places() - 1;
    while lines.all().iter().filter(|line| line.contains("guest")).count() < in_line {
        tokio::task::yield_now().await;
    }
    let counts = async |pond: &millpond::Millpond| {
        let counts = pond.queue("q").unwrap().counts();
        (counts.pending as usize, counts.dead as usize)
    };
    pond.shutdown(std::time::Duration::ZERO).await.unwrap();
    let pond = disk.open();
    assert_eq!(counts(&pond).await, (in_line, places() + 1));
}

#[test]
fn a_plugin_that_uses_every_place_leaves_one_to_each_other_plugin() {
    alone("places::alone_other_plugins_run_beside_one_that_uses_every_place");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn alone_other_plugins_run_beside_one_that_uses_every_place() {
    let (clock, pond) = memory();
    let attempts = 2 * places();
    let spins = hostile("infinite_loop").limits(PluginLimits::default().time(SECOND * 30));
    pond.worker("spins").concurrency(attempts).retry(Retry::none()).handle_wasm("job", spins).start().unwrap();
    let (lines, _heard) = heard();
    pond.enqueue_many("spins", (0..attempts).map(|_| NewJob::raw("job", ""))).await.unwrap();
    running(&pond, "spins", attempts as u64).await;
    while lines.all().iter().filter(|line| line.contains("guest")).count() < attempts - places() - 1 {
        tokio::task::yield_now().await;
    }
    for name in ["one", "other"] {
        let good = Plugin::from_bytes(name, noop()).unwrap();
        pond.worker(name).concurrency(1).handle_wasm("job", good).start().unwrap();
        pond.enqueue_many(name, (0..20).map(|_| NewJob::raw("job", ""))).await.unwrap();
        while pond.queue(name).unwrap().counts().completed_total < 20 {
            let waits = lines.all().iter().any(|line| line.starts_with(name));
            assert!(!waits, "{name} waits for a place, and no time has passed");
            tokio::task::yield_now().await;
        }
    }
    clock.advance(SECOND * 30);
    while pond.queue("spins").unwrap().counts().dead < places() as u64 + 1 {
        tokio::task::yield_now().await;
    }
    // The attempts that waited have just begun.
    clock.advance(SECOND * 30);
    drained(&pond).await;
    let counts = pond.queue("spins").unwrap().counts();
    assert_eq!(counts.dead, attempts as u64);
}
