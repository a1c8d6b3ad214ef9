//! Compares the queue with its floor: raw redb with one writer thread, one insert and one removal for each job, batches of up
//! to 1,000, every commit durable. Both sides run in turns, in one process.
//!
//! ```text
//! cargo bench --bench queue                         # criterion
//! cargo bench --bench queue -- --ratios             # the table of medians and ratios, seven turns
//! cargo bench --bench queue -- --ratios W3 --turns 21
//! cargo bench --bench queue -- --ratios --events    # with a listener that receives every event
//! ```

mod features;
#[path = "../support/floor.rs"]
mod floor;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/kernel.rs"]
mod kernel;
#[path = "../support/measure.rs"]
mod measure;
mod pond;
mod ratios;
mod work;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use work::{Judged, WORK};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--ratios") {
        return ratios::print(&args);
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    for work in WORK {
        let mut group = criterion.benchmark_group(work.name);
        if work.judged == Judged::Rate {
            group.throughput(Throughput::Elements(work.jobs));
        }
        for (side, run) in [("floor", work.floor), ("millpond", work.pond)] {
            group.bench_function(side, |bench| {
                bench.iter_custom(|times| (0..times).map(|_| one(work, run)).sum());
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

/// The time of the whole work, or of one job if the latency counts.
fn one(work: &work::Work, run: fn(u64) -> measure::Sample) -> Duration {
    let sample = run(work.jobs);
    match work.judged {
        Judged::Rate => sample.took,
        Judged::Latency => sample.latency(50),
    }
}
