//! After a power cut at any moment the writes of a plugin exist once for each completed job.

use millpond::testing::ManualClock;
use millpond::{Grant, Millpond, NewJob, Plugin, Retry};
use millpond_testkit::{Image, each_power_cut};

use super::guest::module_with;
use super::state::kept;
use crate::support::*;

/// Counts, then enqueues a follow-up; every third job traps after that.
fn counts_and_fans_out() -> Plugin {
    let body = r#"
        (call $increment (i32.const 1024) (i32.const 3) (i64.const 1) (i32.const 256))
        (local.set $i (call $new_job (i32.const 1027) (i32.const 4) (local.get $p) (local.get $n)))
        (call $set_queue (local.get $i) (i32.const 1027) (i32.const 4))
        (call $enqueue (local.get $i) (i32.const 256))
        (if (i32.eqz (i32.rem_u (i32.load8_u (local.get $p)) (i32.const 3))) (then unreachable))
        (call $ok (i32.const 0) (i32.const 0))"#;
    let module = module_with(body, r#"(data (i32.const 1024) "keynext")"#);
    Plugin::from_bytes("guest", module).unwrap().grant(Grant::enqueue("next").to_queue("next"))
}

fn open(disk: &SimDisk) -> Millpond {
    let builder = Millpond::builder().clock(ManualClock::new()).seed(0).cache_bytes(1 << 20);
    builder.open_backend(disk.clone()).unwrap()
}

fn counted(pond: &Millpond) -> u64 {
    kept(pond).first().map_or(0, |(_, _, count)| count.parse().unwrap())
}

#[tokio::test]
async fn after_a_power_cut_counts_and_follow_ups_are_those_of_the_completed_jobs() {
    let empty = OnDisk::new();
    close(empty.open()).await;
    let before = Image::new(std::fs::read(empty.path()).unwrap());
    let disk = SimDisk::holding(before.clone()).recorded();
    let pond = open(&disk);
    pond.worker("q").concurrency(2).retry(Retry::none()).handle_wasm("job", counts_and_fans_out()).start().unwrap();
    for round in 0..4u8 {
        pond.enqueue_many("q", (0..3).map(|n| NewJob::raw("job", vec![round * 3 + n]))).await.unwrap();
        drained(&pond).await;
    }
    close(pond).await;

    let mut images = Vec::new();
    each_power_cut(before, &disk.take_log(), 7, |at, image| images.push((at, image)));
    let mut seen = std::collections::BTreeSet::new();
    for (n, (at, image)) in images.into_iter().enumerate() {
        let after = open(&SimDisk::holding(image));
        let completed = after.queue("q").unwrap().counts().completed_total;
        let follow_ups = after.queue("next").unwrap().counts().enqueued_total;
        assert_eq!((counted(&after), follow_ups), (completed, completed), "operation {at}, image {n}");
        seen.insert(completed);
        if n % 50 == 0 {
            assert_sound(&after).await;
        }
        close(after).await;
    }
    assert!(seen.contains(&0) && seen.contains(&8) && seen.len() > 3, "before, after and between: {seen:?}");
}
