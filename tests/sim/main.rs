//! Simulates the whole engine: one number decides the settings, what callers ask, what handlers do, which faults
//! happen, and in which order the parts of the engine run. The invariants are checked all the time; in the end
//! there are no more faults, and everything has to end.
//!
//! With the feature `wasm` some of the handlers are plugins: sandboxed guests that yield at each of their steps, and at
//! the same steps every time, so that other tasks can run and crashes can happen between any two of them, and a seed still repeats.
//!
//! 4,800 seeds, with plugins 1,200, take about six minutes. `SIM_SEED=<number> SIM_SEEDS=<how many>` begins at another
//! seed; `SIM_SEED=<number> SIM_SEEDS=1 SIM_TRACE=1` runs one again and prints everything that happens.

// Tests run with the newest stable Rust.
#![allow(clippy::incompatible_msrv)]

mod batches;
mod calls;
mod compare;
mod ends;
mod event_queue;
mod flows;
#[cfg(feature = "wasm")]
#[path = "../plugins/guest.rs"]
mod guest;
mod guest_talk;
#[cfg(feature = "wasm")]
mod guests;
mod handlers;
mod kept;
mod limits;
#[path = "../support/made.rs"]
mod made;
mod oracle;
mod paths;
mod plan;
mod renames;
mod reports;
mod schedules;
#[path = "../support/scrambled.rs"]
mod scrambled;
mod selections;
mod streams;
mod topics;
mod unique;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::world::World;

/// The number of seeds unless `SIM_SEEDS` says otherwise: the same ones everywhere.
const SEEDS_DEFAULT: u64 = if cfg!(feature = "wasm") { 1_200 } else { 4_800 };

/// Worlds are independent of each other: each thread runs one.
const THREADS: usize = 2;

/// One seed in this many is run twice, and must do the same again.
const AGAIN_EVERY: u64 = 16;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Prints nothing for the panics that the simulation asked for, and counts rare paths.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(millpond_testkit::ON_PURPOSE) {
                before(info);
            }
        }));
        tracing::subscriber::set_global_default(paths::Listener).expect("no other subscriber is set");
    });
}

/// Runs one world to its end. Returns a number for everything that happened, or the invariant that was broken.
fn run(seed: u64, aloud: bool) -> Result<(u64, u64, u32), String> {
    let mut world = World::new(seed, aloud).map_err(|why| format!("seed {seed}: {why}"))?;
    let lived = catch_unwind(AssertUnwindSafe(|| {
        world.begin()?;
        world.live()?;
        world.end()
    }));
    let why = match lived {
        Ok(Ok(())) => return Ok(world.hash()),
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("I19: it panicked: {}", text.unwrap_or_default())
        }
    };
    let lines: Vec<_> = world.trace.lines.iter().cloned().collect();
    let step = world.step;
    // Dropping what is left of a world that failed can fail again.
    std::mem::forget(world);
    Err(format!(
        "seed {seed}, step {step}: {why}\n\nthe last of what happened:\n{}\n\nagain:\n\
         SIM_SEED={seed} SIM_SEEDS=1 SIM_TRACE=1 cargo test {}--test sim -- --nocapture\n",
        lines.join("\n"),
        if cfg!(feature = "wasm") { "--features wasm " } else { "" },
    ))
}

/// Runs a seed, and every [`AGAIN_EVERY`]-th twice.
fn check(seed: u64, aloud: bool) -> Result<(), String> {
    let once = run(seed, aloud)?;
    if seed.is_multiple_of(AGAIN_EVERY) {
        let again = run(seed, false)?;
        if once != again {
            return Err(format!("I26: seed {seed} did {once:?}, and {again:?} when it was run again"));
        }
    }
    Ok(())
}

#[test]
fn whatever_happens_nothing_is_lost_and_everything_ends() {
    prepare();
    let (first, seeds) = (number("SIM_SEED").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS_DEFAULT));
    let aloud = std::env::var_os("SIM_TRACE").is_some();
    let (next, failed, begun) = (AtomicU64::new(first), AtomicBool::new(false), Instant::now());
    let live = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if failed.load(Ordering::Relaxed) || seed >= first + seeds {
                return Ok(());
            }
            if let Err(why) = check(seed, aloud) {
                failed.store(true, Ordering::Relaxed);
                return Err(why);
            }
        }
    };
    let results: Vec<Result<(), String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(live)).collect();
        threads.into_iter().map(|thread| thread.join().expect("failures are caught")).collect()
    });
    let done = next.load(Ordering::Relaxed).saturating_sub(first + THREADS as u64);
    if let Some(why) = results.into_iter().find_map(Result::err) {
        panic!("{why}");
    }
    let counts = paths::counts();
    println!("{done} seeds from {first} on in {:?}", begun.elapsed());
    for (path, count) in &counts {
        println!("{count:>10}  {path}");
    }
    if done >= SEEDS_FOR_ALL_PATHS {
        let can_be_missed = |path: &&str| {
            let is_left_out = cfg!(feature = "wasm") && PATHS_WITHOUT_PLUGINS.contains(path);
            is_left_out || done < SEEDS_FOR_RARE_PATHS && RARE_PATHS.contains(path)
        };
        let missed = counts.iter().filter(|(_, count)| *count == 0).map(|(path, _)| path);
        let missed: Vec<_> = missed.filter(|path| !can_be_missed(path)).collect();
        assert!(missed.is_empty(), "these paths were never taken: {missed:#?}");
    }
}

/// A shorter run does not have to take every path.
const SEEDS_FOR_ALL_PATHS: u64 = 1_000;

/// Paths that are taken so rarely that a run with plugins can miss them. A run of the default length must not.
const RARE_PATHS: [&str; 7] = [
    "a head was put back after its window's last known row",
    "a job of a batch had timed out when its handler returned",
    "a job that was asked to stop completed",
    "a job was in another queue, and no event said so",
    "a pause or its end with OutcomeUnknown was durable",
    "a verb on many jobs continued at a cursor",
    "a verb on many jobs made several chunks",
];
const SEEDS_FOR_RARE_PATHS: u64 = 4_000;

/// Paths of moves to other queues, which worlds with plugins leave out.
const PATHS_WITHOUT_PLUGINS: [&str; 3] =
    ["a dead letter was moved", "a job that waited was moved", "a job was in another queue, and no event said so"];
