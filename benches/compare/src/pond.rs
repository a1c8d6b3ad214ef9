//! Millpond with its defaults: its own file, every answer after the fsync.

use std::path::Path;

use bytes::Bytes;
use millpond::{Job, Millpond, NewJob};

use crate::system::{Seen, System};

/// An open queue.
pub struct Pond(Millpond);

fn job(payload: String) -> NewJob {
    NewJob::raw("noop", payload)
}

impl System for Pond {
    async fn open(_: &str, dir: &Path) -> Self {
        Self(Millpond::open(dir.join("pond.redb")).expect("a queue"))
    }

    async fn enqueue(&self, payload: String) {
        self.0.enqueue("bench", job(payload)).await.expect("it is stored");
    }

    async fn enqueue_many(&self, payloads: Vec<String>) {
        self.0.enqueue_many("bench", payloads.into_iter().map(job)).await.expect("they are stored");
    }

    async fn start_worker(&self, concurrency: usize, seen: &'static Seen) {
        let handler = move |job: Job<Bytes>| async move {
            seen.start(&job);
            Ok(())
        };
        self.0.worker("bench").concurrency(concurrency).handle_raw("noop", handler).start().expect("a worker");
    }

    async fn unfinished(&self) -> u64 {
        let counts = self.0.queue("bench").expect("a queue").counts();
        counts.enqueued_total - counts.completed_total
    }

    async fn finished(&self) -> Option<u64> {
        Some(self.0.queue("bench").expect("a queue").counts().completed_total)
    }
}
