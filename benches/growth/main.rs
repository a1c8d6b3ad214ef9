//! How costs grow: one axis at a time is varied around a base point. At each point the queue enqueues and completes one
//! for one, so that the backlog stays the same.
//!
//! ```text
//! cargo bench --bench growth                        # all axes; about fifteen minutes and 4 GB of disk
//! GROWTH_ONLY=payload cargo bench --bench growth    # one axis
//! GROWTH_SCALE=small cargo bench --bench growth     # a try of the program itself, into target/growth/
//! ```
//!
//! It prints a table per axis and writes `docs/performance/growth-<axis>.svg` and, with every figure in it, `.csv`.

mod axis;
mod child;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/kernel.rs"]
mod kernel;
mod machine;
mod measured;
mod plot;
mod point;
mod report;
mod svg;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axis::{Axis, Scale};
use measured::Measured;
use point::Point;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|first| first == "child") {
        return child::main(&args[1..]);
    }
    let scale = Scale::asked_for();
    let only = std::env::var("GROWTH_ONLY").ok();
    let axes: Vec<Axis> =
        Axis::all(scale).into_iter().filter(|axis| only.as_ref().is_none_or(|o| o == axis.name)).collect();
    assert!(!axes.is_empty(), "GROWTH_ONLY is one of backlog, queues, groups, concurrency, payload");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target: PathBuf = match scale {
        Scale::Full => root.join("docs/performance"),
        Scale::Small => root.join("target/growth"),
    };
    let made = machine::made();
    println!("{made}");
    for axis in axes {
        let measured = sweep(&axis, scale);
        println!("\n{}", report::table(&axis, &measured));
        report::write(&target, &axis, &measured, &made).expect("the report is written");
    }
    println!("\nplots and figures: {}", target.display());
}

/// The median of each point. The points run in turns, so that other load on the machine is spread over all of them.
fn sweep(axis: &Axis, scale: Scale) -> Vec<Measured> {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let empty = {
        let (file, point) = (dir.path().join("empty.redb"), Point { backlog: 0, ..axis.points[0].1 });
        run(&["fill", &file.display().to_string()], &point);
        measured::peak_of_empty(&run(&["empty", &file.display().to_string()], &point))
    };
    let files: Vec<String> =
        (0..axis.points.len()).map(|n| dir.path().join(format!("{n}.redb")).display().to_string()).collect();
    for (file, (_, point)) in files.iter().zip(&axis.points) {
        run(&["fill", file], point);
    }
    let disk: Vec<u64> = files.iter().map(|file| std::fs::metadata(file).expect("it was filled").len()).collect();
    let mut turns: Vec<Vec<Measured>> = vec![Vec::new(); files.len()];
    for _ in 0..scale.turns() {
        for (n, (file, (_, point))) in files.iter().zip(&axis.points).enumerate() {
            let line = run(&["measure", file, &scale.measured_ms().to_string()], point);
            turns[n].push(Measured::parse(&line, point, disk[n], empty));
        }
    }
    turns.into_iter().map(measured::median).collect()
}

/// Runs a measurement in a process of its own, and returns what it prints.
fn run(args: &[&str], point: &Point) -> String {
    let program = std::env::current_exe().expect("this very program");
    let output = Command::new(program)
        .arg("child")
        .args(args)
        .args(point.to_args())
        .stderr(Stdio::inherit())
        .output()
        .expect("a process");
    assert!(output.status.success(), "{args:?} {point:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
