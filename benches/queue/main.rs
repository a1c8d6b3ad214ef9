//! Enqueue and drain beside their floor: raw redb with one writer thread, one insert and one remove
//! per job, batches of up to 1,000, every commit durable. Both sides run in turns, in one process.
//!
//! `cargo bench --bench queue` runs criterion; `cargo bench --bench queue -- --ratios` prints the
//! table of medians and ratios instead.

mod floor;
mod pond;

use std::time::Duration;

use criterion::{Criterion, Throughput};

/// Bytes of a payload.
const PAYLOAD: usize = 128;

/// One piece of work, done by both sides.
struct Work {
    name: &'static str,
    jobs: u64,
    floor: fn(u64) -> Duration,
    pond: fn(u64) -> Duration,
}

const WORK: &[Work] = &[
    Work { name: "enqueue, 1 producer", jobs: 500, floor: |n| floor::enqueue(1, n), pond: |n| pond::enqueue(1, n) },
    Work {
        name: "enqueue, 64 producers",
        jobs: 64_000,
        floor: |n| floor::enqueue(64, n),
        pond: |n| pond::enqueue(64, n),
    },
    Work { name: "enqueue, bulk of 1,000", jobs: 100_000, floor: floor::bulk, pond: pond::bulk },
    Work { name: "drain, concurrency 10", jobs: 100_000, floor: floor::drain, pond: |n| pond::drain(10, n) },
    Work { name: "drain, concurrency 100", jobs: 100_000, floor: floor::drain, pond: |n| pond::drain(100, n) },
];

fn main() {
    if std::env::args().any(|arg| arg == "--ratios") {
        print_ratios(7);
        return;
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    for work in WORK {
        let mut group = criterion.benchmark_group(work.name);
        group.throughput(Throughput::Elements(work.jobs));
        for (side, run) in [("redb", work.floor), ("millpond", work.pond)] {
            group.bench_function(side, |bench| {
                bench.iter_custom(|times| (0..times).map(|_| run(work.jobs)).sum());
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

/// Medians of `turns` turns, floor and queue alternating, and the median of the turns' ratios.
fn print_ratios(turns: usize) {
    println!("{:<24} {:>14} {:>14} {:>18}", "", "redb jobs/s", "millpond", "ratio (min..max)");
    for work in WORK {
        let per_second = |took: Duration| work.jobs as f64 / took.as_secs_f64();
        let (mut floors, mut ponds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        (work.floor)(work.jobs);
        (work.pond)(work.jobs);
        for _ in 0..turns {
            let floor = per_second((work.floor)(work.jobs));
            let pond = per_second((work.pond)(work.jobs));
            floors.push(floor);
            ponds.push(pond);
            ratios.push(pond / floor);
        }
        let (low, high) = (ratios.iter().copied().fold(f64::MAX, f64::min), ratios.iter().copied().fold(0.0, f64::max));
        println!(
            "{:<24} {:>14.0} {:>14.0} {:>6.2} ({low:.2}..{high:.2})",
            work.name,
            median(floors),
            median(ponds),
            median(ratios)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
