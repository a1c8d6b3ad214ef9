//! The pieces of work, each done by both sides.

use crate::floor::PAYLOAD;
use crate::measure::Sample;
use crate::{features, floor, pond};

pub struct Work {
    pub name: &'static str,
    pub jobs: u64,
    pub floor: fn(u64) -> Sample,
    pub pond: fn(u64) -> Sample,
    pub judged: Judged,
    /// The ratio to reach: a minimum for rates, a maximum for latencies.
    pub goal: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Rate,
    /// By the median latency.
    Latency,
}

pub const WORK: &[Work] = &[
    Work {
        name: "W1 enqueue, 1 thread",
        jobs: 1_000,
        floor: |n| floor::enqueue(1, n),
        pond: pond::enqueue_blocking,
        judged: Judged::Rate,
        goal: 0.9,
    },
    Work {
        name: "W1 enqueue, 1 async task",
        jobs: 1_000,
        floor: |n| floor::enqueue(1, n),
        pond: |n| pond::enqueue(1, n),
        judged: Judged::Rate,
        goal: 0.9,
    },
    Work {
        name: "W2 enqueue, 64 producers",
        jobs: 64_000,
        floor: |n| floor::enqueue(64, n),
        pond: |n| pond::enqueue(64, n),
        judged: Judged::Rate,
        goal: 1.0,
    },
    Work {
        name: "W3 bulk of 1,000, 128 B",
        jobs: 100_000,
        floor: |n| floor::bulk(n, PAYLOAD),
        pond: |n| pond::bulk(n, PAYLOAD),
        judged: Judged::Rate,
        goal: 0.9,
    },
    Work {
        name: "W3 beside redb by runs",
        jobs: 100_000,
        floor: floor::bulk_by_runs,
        pond: |n| pond::bulk(n, PAYLOAD),
        judged: Judged::Rate,
        goal: 0.0,
    },
    Work {
        name: "W3 bulk of 1,000, 1 KiB",
        jobs: 50_000,
        floor: |n| floor::bulk(n, 1_024),
        pond: |n| pond::bulk(n, 1_024),
        judged: Judged::Rate,
        goal: 0.9,
    },
    Work {
        name: "W4 drain, concurrency 10",
        jobs: 100_000,
        floor: floor::drain,
        pond: |n| pond::drain(10, n),
        judged: Judged::Rate,
        goal: 0.8,
    },
    Work {
        name: "W4 drain, concurrency 100",
        jobs: 100_000,
        floor: floor::drain,
        pond: |n| pond::drain(100, n),
        judged: Judged::Rate,
        goal: 0.8,
    },
    Work {
        name: "W5 16 producers + worker",
        jobs: 32_000,
        floor: |n| floor::mixed_traffic(16, n),
        pond: |n| pond::mixed_traffic(16, n),
        judged: Judged::Rate,
        goal: 1.0,
    },
    Work {
        name: "W6 idle, beside one commit",
        jobs: 300,
        floor: floor::lone_commits,
        pond: pond::idle,
        judged: Judged::Latency,
        goal: 1.2,
    },
    Work {
        name: "W8 64 app transactions, beside W2",
        jobs: 32_000,
        floor: |n| pond::enqueue(64, n),
        pond: |n| pond::transactions(64, n),
        judged: Judged::Rate,
        goal: 0.5,
    },
    Work {
        name: "W9 groups, priorities, delays, 5% fail",
        jobs: 50_000,
        floor: floor::fill_and_drain,
        pond: pond::mixed_jobs,
        judged: Judged::Rate,
        goal: 0.3,
    },
    Work {
        name: "W10 unique keys, beside W3",
        jobs: 50_000,
        floor: |n| pond::bulk(n, PAYLOAD),
        pond: features::with_unique_keys,
        judged: Judged::Rate,
        goal: 0.0,
    },
    Work {
        name: "W11 three tags, beside W3",
        jobs: 50_000,
        floor: |n| pond::bulk(n, PAYLOAD),
        pond: features::with_three_tags,
        judged: Judged::Rate,
        goal: 0.0,
    },
    Work {
        name: "W12 cancel by selection, beside W3",
        jobs: 50_000,
        floor: |n| pond::bulk(n, PAYLOAD),
        pond: features::cancel_all,
        judged: Judged::Rate,
        goal: 0.0,
    },
    Work {
        name: "W13 drain under limits, beside W4",
        jobs: 50_000,
        floor: |n| pond::drain(100, n),
        pond: |n| features::drain_with_limits(100, n),
        judged: Judged::Rate,
        goal: 0.0,
    },
];
