//! The figures of a point.

use std::fmt;

use crate::point::Point;

/// As the process prints them.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    pub jobs: u64,
    pub micros: u64,
    pub cpu_ms: u64,
    pub written_bytes: u64,
    pub commits: u64,
    pub peak_kib: u64,
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, micros, cpu_ms, written_bytes, commits, peak_kib } = self;
        write!(f, "{jobs} {micros} {cpu_ms} {written_bytes} {commits} {peak_kib}")
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub raw: Raw,
    pub waiting: u64,
    pub disk_bytes: u64,
    pub empty_kib: u64,
    /// Jobs per second of the slowest and of the fastest turn.
    pub spread: (f64, f64),
}

pub fn peak_of_empty(line: &str) -> u64 {
    line.parse().expect("KiB")
}

/// The turn with the median of jobs per second, with all its figures: they belong together.
pub fn median(mut turns: Vec<Measured>) -> Measured {
    turns.sort_by(|a, b| a.jobs_per_second().total_cmp(&b.jobs_per_second()));
    let spread = (turns[0].jobs_per_second(), turns[turns.len() - 1].jobs_per_second());
    Measured { spread, ..turns[turns.len() / 2] }
}

impl Measured {
    pub fn parse(line: &str, point: &Point, disk_bytes: u64, empty_kib: u64) -> Self {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [jobs, micros, cpu_ms, written_bytes, commits, peak_kib] = numbers[..] else { panic!("{line}?") };
        assert!(jobs > 0, "nothing was done at {point:?}");
        let raw = Raw { jobs, micros, cpu_ms, written_bytes, commits, peak_kib };
        Self { raw, waiting: point.backlog, disk_bytes, empty_kib, spread: (0.0, 0.0) }
    }

    fn seconds(&self) -> f64 {
        self.raw.micros as f64 / 1e6
    }

    pub fn jobs_per_second(&self) -> f64 {
        self.raw.jobs as f64 / self.seconds()
    }

    pub fn cpu_micros_per_job(&self) -> f64 {
        self.raw.cpu_ms as f64 * 1e3 / self.raw.jobs as f64
    }

    pub fn peak_mib(&self) -> f64 {
        self.raw.peak_kib as f64 / 1024.0
    }

    /// The memory of the backlog and of the work on it, above that of an empty queue.
    pub fn memory_bytes_per_waiting_job(&self) -> f64 {
        (self.raw.peak_kib.saturating_sub(self.empty_kib) * 1024) as f64 / self.waiting as f64
    }

    pub fn disk_bytes_per_waiting_job(&self) -> f64 {
        self.disk_bytes as f64 / self.waiting as f64
    }

    pub fn written_bytes_per_job(&self) -> f64 {
        self.raw.written_bytes as f64 / self.raw.jobs as f64
    }

    pub fn commits_per_second(&self) -> f64 {
        self.raw.commits as f64 / self.seconds()
    }
}
