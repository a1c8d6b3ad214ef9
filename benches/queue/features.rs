//! What features cost: the same work with and without them.

use millpond::{JobFilter, Millpond, NewJob};

use crate::floor::PAYLOAD;
use crate::measure::{Clock, Sample};
use crate::pond::{commits, drained, fill, job, open, runtime};

/// Stores jobs by 1,000, each made by `with`.
fn bulk_with(jobs: u64, with: impl Fn(u64, NewJob) -> NewJob) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let clock = Clock::start(commits(&pond));
    fill(&pond, jobs, |n| with(n, job(PAYLOAD)));
    clock.stop(commits(&pond))
}

pub fn with_unique_keys(jobs: u64) -> Sample {
    bulk_with(jobs, |n, job| job.unique_key(format!("order-{n}")))
}

pub fn with_three_tags(jobs: u64) -> Sample {
    bulk_with(jobs, |n, job| job.tags(["import".to_owned(), format!("customer-{}", n % 1_000), format!("order-{n}")]))
}

/// Cancels all waiting jobs through a selection.
pub fn cancel_all(jobs: u64) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    fill(&pond, jobs, |_| job(PAYLOAD));
    let clock = Clock::start(commits(&pond));
    let cancelled = runtime.block_on(pond.select(&JobFilter::new().queue("bench")).cancel("bench")).expect("it works");
    assert_eq!(cancelled.changed, jobs);
    clock.stop(commits(&pond))
}

/// Runs all jobs under a limit that never holds one back.
pub fn drain_with_limits(concurrency: usize, jobs: u64) -> Sample {
    drained(concurrency, jobs, Millpond::builder().limit("all", u32::MAX), |worker| {
        worker.concurrency_of("noop", u32::MAX).limit("all")
    })
}
