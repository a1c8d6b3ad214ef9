//! rustqueue on its redb back end. `RedbStorage::new` commits each call with redb's `Durability::Immediate`: durable,
//! and its default.
//!
//! - `run_worker`: the crate's own worker loop, as many of them as the concurrency of the work, because each runs one job
//!   at a time. It polls every 500 ms.
//! - `default`: a loop written here over the public `QueueManager`: it pulls as many jobs as can run, runs them, and calls
//!   `ack_batch`; the producer wakes it, so that nothing waits for a poll.
//! - `coalescing`: the same with `BufferedRedbStorage` at its defaults (10 ms or 100 calls). Its guide mentions a loss
//!   window, but a call is answered only after the commit that it waited for, so this is durable too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::rustqueue::engine::queue::{BatchAckItem, BatchPushItem};
use ::rustqueue::engine::scheduler::start_scheduler;
use ::rustqueue::storage::{BufferedRedbConfig, BufferedRedbStorage, RedbStorage};
use ::rustqueue::{Job, QueueManager, RustQueue, StorageBackend};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::system::{Seen, System};

const QUEUE: &str = "bench";

/// With the crate's own loop, or with the one here.
pub enum Rusty {
    Managed(RustQueue),
    ByHand { manager: Arc<QueueManager>, pushed: Arc<Notify> },
}

fn start(seen: &Seen, job: &Job) {
    seen.start(job.data.as_str().expect("the payload is a text").as_bytes());
}

impl System for Rusty {
    async fn open(setting: &str, dir: &Path) -> Self {
        let path = dir.join("rustqueue.redb");
        if setting == "run_worker" {
            return Self::Managed(RustQueue::redb(path).expect("a database").build().expect("a queue"));
        }
        let mut storage: Arc<dyn StorageBackend> = Arc::new(RedbStorage::new(path).expect("a database"));
        if setting == "coalescing" {
            storage = Arc::new(BufferedRedbStorage::new(storage, BufferedRedbConfig::default()));
        }
        let manager = Arc::new(QueueManager::new(storage));
        // Its guide says that retries need it. The intervals are the builder's defaults.
        start_scheduler(manager.clone(), 1_000, 30_000, Default::default());
        Self::ByHand { manager, pushed: Arc::default() }
    }

    async fn enqueue(&self, payload: String) {
        let pushed = match self {
            Self::Managed(queue) => queue.push(QUEUE, "noop", Value::String(payload), None).await,
            Self::ByHand { manager, .. } => manager.push(QUEUE, "noop", Value::String(payload), None).await,
        };
        pushed.expect("it is stored");
        if let Self::ByHand { pushed, .. } = self {
            pushed.notify_one();
        }
    }

    async fn enqueue_many(&self, payloads: Vec<String>) {
        match self {
            // The builder's handle has no call for many jobs; this is only the backlog of W4, which is not timed.
            Self::Managed(_) => {
                for payload in payloads {
                    self.enqueue(payload).await;
                }
            }
            Self::ByHand { manager, .. } => {
                let item = |payload| BatchPushItem { name: "noop".into(), data: Value::String(payload), options: None };
                let items = payloads.into_iter().map(item).collect();
                manager.push_batch(QUEUE, items).await.expect("they are stored");
            }
        }
    }

    async fn start_worker(&self, concurrency: usize, seen: &'static Seen) {
        match self {
            Self::Managed(queue) => {
                for _ in 0..concurrency {
                    let queue = queue.clone();
                    tokio::spawn(async move {
                        let handler = |job: Job| async move {
                            start(seen, &job);
                            Ok::<(), String>(())
                        };
                        queue.run_worker(QUEUE, handler).await.expect("the loop continues");
                    });
                }
            }
            Self::ByHand { manager, pushed } => {
                tokio::spawn(by_hand(manager.clone(), pushed.clone(), concurrency, seen));
            }
        }
    }

    async fn unfinished(&self) -> u64 {
        let counts = self.counts().await;
        counts.waiting + counts.active + counts.delayed + counts.failed + counts.blocked
    }

    async fn finished(&self) -> Option<u64> {
        Some(self.counts().await.completed)
    }
}

impl Rusty {
    async fn counts(&self) -> ::rustqueue::QueueCounts {
        match self {
            Self::Managed(queue) => queue.get_queue_stats(QUEUE).await.expect("counts"),
            Self::ByHand { manager, .. } => manager.get_queue_stats(QUEUE).await.expect("counts"),
        }
    }
}

async fn by_hand(manager: Arc<QueueManager>, pushed: Arc<Notify>, concurrency: usize, seen: &'static Seen) {
    loop {
        let jobs = manager.pull(QUEUE, concurrency as u32).await.expect("a pull");
        if jobs.is_empty() {
            // Retries come without a push.
            let _ = tokio::time::timeout(Duration::from_millis(500), pushed.notified()).await;
            continue;
        }
        let mut running = JoinSet::new();
        for job in jobs {
            running.spawn(async move {
                start(seen, &job);
                BatchAckItem { id: job.id, result: None }
            });
        }
        let acked = manager.ack_batch(running.join_all().await).await.expect("an ack");
        assert!(acked.iter().all(|ack| ack.ok), "an ack was refused");
    }
}
