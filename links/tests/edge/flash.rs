//! What a device writes while its link is down.

use std::time::Instant;

use millpond_links::MemoryLog;

use crate::support::*;

const JOBS: u64 = 10_000;
const PAYLOAD_BYTES: usize = 100;

/// `cargo test --release -p millpond-links --test edge flash -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints figures"]
async fn what_a_device_writes_while_its_link_is_down() {
    println!("{JOBS} jobs of {PAYLOAD_BYTES} bytes, every commit is synced");
    println!("| jobs in a call | commits | bytes written | bytes written for a job | syncs | file | time |");
    for at_once in [1, 10, 100, 1_000] {
        let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
        log.set_down(true);
        let device = open(dir.path(), "device.redb");
        let to_hub = forward(&device, &log).await;
        until(&to_hub, |state| state.last_error.is_some()).await;
        let (before, begun) = (device.storage().unwrap(), Instant::now());
        for _ in 0..JOBS / at_once {
            let jobs = (0..at_once).map(|_| reading(&"r".repeat(PAYLOAD_BYTES)));
            device.enqueue_many("readings", jobs).await.unwrap();
        }
        let (after, took) = (device.storage().unwrap(), begun.elapsed());
        let commits = after.commits_total - before.commits_total;
        let written = after.written_bytes_total.unwrap() - before.written_bytes_total.unwrap();
        let syncs = after.syncs_total.unwrap() - before.syncs_total.unwrap();
        let file = after.file_bytes.unwrap();
        println!("| {at_once} | {commits} | {written} | {} | {syncs} | {file} | {took:.2?} |", written / JOBS);
        // Nothing is written but what is enqueued.
        assert!(commits <= JOBS / at_once + 2, "{commits}");
    }
}
