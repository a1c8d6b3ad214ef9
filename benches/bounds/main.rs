//! Figures that must not grow: memory and the time to the first handler with a backlog, work while nothing is due,
//! speed with ten million jobs waiting. Each figure is measured in a process of its own.
//!
//! `cargo bench --bench bounds` prints the table and takes about three minutes;
//! `BOUNDS_WAITING=<jobs>` sets the backlog (1,000,000), `BOUNDS_MANY=<jobs>` the large one (10,000,000).

mod child;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/kernel.rs"]
mod kernel;
mod process;

use std::path::Path;
use std::time::Duration;

use process::{Child, run};

/// The number of bytes of a payload.
const PAYLOAD: usize = 128;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|first| first == "child") {
        return child::main(&args[1..]);
    }
    let waiting = number("BOUNDS_WAITING", 1_000_000);
    let many = number("BOUNDS_MANY", 10_000_000);
    let dir = tempfile::tempdir().expect("a directory for the bench");
    println!("{:<58} {:>14}  budget", "", "measured");
    memory_and_first_handler(dir.path(), waiting);
    idle(dir.path());
    growth(dir.path(), waiting / 10, many);
}

fn print(what: &str, measured: String, budget: &str) {
    println!("{what:<58} {measured:>14}  {budget}");
}

fn memory_and_first_handler(dir: &Path, waiting: u64) {
    let path = dir.join("waiting.redb");
    let empty = run(&["memory", &dir.join("empty.redb").display().to_string()]);
    let file = path.display().to_string();
    run(&["fill", &file, &waiting.to_string()]);
    let full = run(&["memory", &file]);
    let above = full.saturating_sub(empty) as f64 / 1024.0;
    print(&format!("memory with {waiting} waiting, above an empty queue"), format!("{above:.1} MiB"), "<= 64 MiB");

    let mut clean: Vec<u64> = (0..5).map(|_| run(&["first", &file])).collect();
    print("open to first handler, closed in order", micros(median(&mut clean)), "<= 50 ms");
    let mut killed = Vec::new();
    for _ in 0..5 {
        Child::start(&["busy", &file]).kill_when_ready();
        killed.push(run(&["first", &file]));
    }
    print("open to first handler, after a kill -9", micros(median(&mut killed)), "<= 500 ms");

    let small = dir.join("few.redb").display().to_string();
    run(&["fill", &small, "1000"]);
    let mut few: Vec<u64> = (0..5).map(|_| run(&["first", &small])).collect();
    print("the same with 1,000 waiting, closed in order", micros(median(&mut few)), "");
}

fn idle(dir: &Path) {
    let path = dir.join("idle.redb").display().to_string();
    let cpu = run(&["idle", &path]);
    print("processor time of an idle minute, 10,000 jobs due next year", format!("{cpu} ms"), "< 100 ms");
}

fn growth(dir: &Path, few: u64, many: u64) {
    let files = [("few", few), ("many", many)].map(|(name, jobs)| {
        let path = dir.join(format!("growth-{name}.redb")).display().to_string();
        run(&["fill", &path, &jobs.to_string()]);
        path
    });
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        small.push(run(&["rate", &files[0]]));
        large.push(run(&["rate", &files[1]]));
    }
    let (small, large) = (median(&mut small), median(&mut large));
    let what = format!("jobs/s with {many} waiting, beside {few} waiting");
    print(&what, format!("{:.2}", large as f64 / small as f64), &format!(">= 0.9 ({large} beside {small})"));
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn micros(micros: u64) -> String {
    format!("{:.1} ms", Duration::from_micros(micros).as_secs_f64() * 1e3)
}
