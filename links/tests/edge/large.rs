//! A device that was offline for long: all that has waited arrives once, and what the link keeps does not grow with it.

use std::time::{Duration, Instant};

use millpond::redb::{ReadableTable, ReadableTableMetadata, TableDefinition};
use millpond::{Job, Millpond, Payload};
use millpond_links::{Forward, MemoryLog, Receive};

use crate::support::*;

const SENT: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond-links/sent");
const KEPT: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("millpond-links/kept");

/// Bytes of this process in memory. 0 where that is not known.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The bytes of the row that says what was sent, and how many batches are kept.
fn rows(pond: &Millpond) -> (usize, u64) {
    let read = pond.begin_read().unwrap();
    let (Ok(sent), Ok(kept)) = (read.open_table(SENT), read.open_table(KEPT)) else { return (0, 0) };
    (sent.iter().unwrap().map(|row| row.unwrap().1.value().len()).sum(), kept.len().unwrap())
}

async fn back_after(jobs: u64, prints: bool) {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    log.set_down(true);
    let device = open(dir.path(), "device.redb");
    let to_hub = Forward::new(&device, "readings", &log, crate::support::hub()).start().await.unwrap();
    let begun = Instant::now();
    for first in (0..jobs).step_by(1_000) {
        let jobs = (first..(first + 1_000).min(jobs)).map(|n| reading(&format!("{n:0100}")));
        device.enqueue_many("readings", jobs).await.unwrap();
    }
    let file = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len() >> 20;
    let (enqueued, offline_file, offline_memory) = (begun.elapsed(), file("device.redb"), resident() >> 20);
    let begun = Instant::now();
    log.set_down(false);
    // Some answers are lost on the way.
    log.fail_one_in(100, 7);
    let mut largest = 0;
    let wait = async {
        while to_hub.state().jobs + to_hub.state().known < jobs {
            tokio::time::sleep(Duration::from_millis(10)).await;
            largest = largest.max(rows(&device).0);
        }
    };
    tokio::time::timeout(SOON * 60, wait).await.unwrap();
    let sent = begun.elapsed();
    log.fail_one_in(0, 0);
    wait_until(|| device.queue("readings").unwrap().counts().completed_total == jobs).await;

    let hub = open(dir.path(), "hub.redb");
    let seen = std::sync::Arc::new(std::sync::Mutex::new(vec![0_u8; jobs as usize]));
    let (counted, all) = (seen.clone(), std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)));
    let handled = all.clone();
    let worker = hub.worker("readings").handle_any(move |job: Job<Payload>| {
        let n: usize = std::str::from_utf8(&job.bytes).unwrap().parse().unwrap();
        counted.lock().unwrap()[n] += 1;
        handled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async { Ok(()) }
    });
    worker.start().unwrap();
    let begun = Instant::now();
    let from_device = Receive::new(&hub, "readings", &log, crate::support::hub()).start().unwrap();
    let wait = async {
        while all.load(std::sync::atomic::Ordering::Relaxed) < jobs {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON * 60, wait).await.unwrap();
    let received = begun.elapsed();
    until(&from_device, |state| state.jobs == jobs).await;
    wait_until(|| hub.queue("readings").unwrap().counts().unfinished() == 0).await;
    let seen = seen.lock().unwrap();
    let count = |of: fn(&u8) -> bool| seen.iter().filter(|times| of(times)).count();
    let (missing, doubled) = (count(|times| *times == 0), count(|times| *times > 1));
    let (_, kept) = rows(&device);
    if prints {
        println!(
            "{jobs} jobs: enqueued offline in {enqueued:.1?} (file {offline_file} MiB, process {offline_memory} MiB), \
             sent in {sent:.1?} (file {} MiB, process {} MiB with the log, {kept} batches kept, largest row {largest} bytes), \
             received and handled in {received:.1?}; {missing} missing, {doubled} doubled; {:?}",
            file("device.redb"),
            resident() >> 20,
            to_hub.state(),
        );
    }
    assert_eq!((missing, doubled), (0, 0));
    assert_eq!(log.envelopes().len() as u64, jobs, "nothing was sent twice");
    // The row has the ids of the jobs of a few batches, whatever waits.
    assert!((1..32 << 10).contains(&largest), "{largest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_offline_with_20_000_jobs_sends_each_of_them_once() {
    back_after(20_000, false).await;
}

/// `cargo test --release -p millpond-links --test edge large -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_device_that_was_offline_with_1_000_000_jobs_sends_each_of_them_once() {
    back_after(1_000_000, true).await;
}
