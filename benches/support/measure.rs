//! The figures of one run of a piece of work.

use std::time::{Duration, Instant};

use crate::kernel;

#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub took: Duration,
    /// Bytes written to the disk, in whole pages.
    pub written: u64,
    pub commits: u64,
    /// The times from before the call to the start of the handler, one for each job, where that is measured.
    latencies: Vec<Duration>,
}

impl Sample {
    /// The time that this percentage of the jobs did not exceed.
    pub fn latency(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    }

    pub fn with_latencies(self, latencies: Vec<Duration>) -> Self {
        Self { latencies, ..self }
    }
}

/// Measures from now on to [`Clock::stop`].
pub struct Clock {
    started: Instant,
    written: u64,
    commits: u64,
}

impl Clock {
    /// `commits` is the number of commits so far.
    pub fn start(commits: u64) -> Self {
        Self { written: written(), commits, started: Instant::now() }
    }

    pub fn stop(self, commits: u64) -> Sample {
        let took = self.started.elapsed();
        Sample { took, written: written() - self.written, commits: commits - self.commits, latencies: Vec::new() }
    }
}

/// 0 where the system does not tell it.
fn written() -> u64 {
    kernel::written_bytes().unwrap_or(0)
}
