//! The time of an fsync.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes that are written before each fsync: a page.
const PAGE: usize = 4 << 10;

/// Pages of the file, which are written in turns.
const PAGES: u64 = 256;

pub(super) struct Syncs {
    pub median: Duration,
    pub p99: Duration,
    pub per_second: f64,
}

/// Writes and syncs pages for so long.
pub(super) fn sync(path: &Path, time: Duration) -> io::Result<Syncs> {
    let mut file = File::create_new(path)?;
    let page = [0xa5; PAGE];
    (0..PAGES).try_for_each(|_| file.write_all(&page))?;
    file.sync_all()?;
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < time || took.is_empty() {
        file.seek(SeekFrom::Start(took.len() as u64 % PAGES * PAGE as u64))?;
        file.write_all(&page)?;
        let synced = Instant::now();
        file.sync_data()?;
        took.push(synced.elapsed());
    }
    let per_second = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).or(took.last()).copied().unwrap_or_default();
    Ok(Syncs { median: at(50), p99: at(99), per_second })
}
