//! apalis with apalis-sqlite, event-driven as in its README: the update hook wakes the worker, which also polls every
//! 500 ms, because the hook fires before the commit. Everything else is the crate's default: a pool of 10 connections,
//! and locks and results are written.
//!
//! - `default`: `SqliteStorage::setup` on the pool, as in the README. It sets WAL, which the file keeps, and
//!   `synchronous=OFF`, which applies only to the connection that ran it; the other connections of the pool have SQLite's
//!   FULL. What goes through that one connection is not durable, and fast: the figures vary with how much that is.
//! - `full`: `setup` on a pool that is closed again, so that each connection of the queue's pool has FULL: one fsync of
//!   the log for each commit.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ::apalis::prelude::*;
use apalis_sqlite::callback::HookCallbackListener;
use apalis_sqlite::{Config, SqlitePool, SqliteStorage};
use futures::StreamExt;

use crate::system::{Seen, System};

/// The pool, and the listener that wakes its worker.
pub struct Apalis {
    pool: SqlitePool,
    /// Taken when the worker starts.
    listener: Mutex<Option<HookCallbackListener>>,
}

impl Apalis {
    fn storage(&self, batch: usize) -> SqliteStorage<String> {
        SqliteStorage::new(&self.pool).with_config(Config::default().queue("bench").batch_size(batch))
    }

    async fn count(&self, query: &'static str) -> u64 {
        let count: i64 = sqlx::query_scalar(query).fetch_one(&self.pool).await.expect("a count");
        count as u64
    }
}

/// The data of a handler.
#[derive(Clone)]
struct Shared {
    seen: &'static Seen,
}

async fn noop(payload: String, shared: Data<Shared>) -> Result<(), BoxDynError> {
    shared.seen.start(payload.as_bytes());
    Ok(())
}

impl System for Apalis {
    async fn open(setting: &str, dir: &Path) -> Self {
        let url = format!("sqlite://{}?mode=rwc", dir.join("apalis.sqlite").display());
        if setting == "full" {
            let pool = SqlitePool::connect(&url).await.expect("a database");
            SqliteStorage::setup(&pool).await.expect("a schema");
            pool.close().await;
        }
        let (pool, listener) = SqliteStorage::connect_with_callback(&url).expect("a pool");
        if setting == "default" {
            SqliteStorage::setup(&pool).await.expect("a schema");
        }
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&pool).await.expect("a pragma");
        assert_eq!(mode, "wal");
        if setting == "full" {
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&pool).await.expect("a pragma");
            assert_eq!(synchronous, 2, "2 is FULL");
        }
        Self { pool, listener: Mutex::new(Some(listener)) }
    }

    async fn enqueue(&self, payload: String) {
        self.storage(10).push(payload).await.expect("it is stored");
    }

    async fn enqueue_many(&self, payloads: Vec<String>) {
        self.storage(10).push_bulk(payloads).await.expect("they are stored");
    }

    async fn start_worker(&self, concurrency: usize, seen: &'static Seen) {
        let listener =
            self.listener.lock().expect("no thread panics while it holds the lock").take().expect("one worker");
        // Fetches as many at once as can run; the default of 10 is slower.
        let batch = concurrency.max(10);
        let strategy = Strategy::new().stream(listener.ready_chunks(batch)).interval(Duration::from_millis(500));
        let worker = WorkerBuilder::new("bench")
            .backend(self.storage(batch).poll_with_strategy(strategy))
            .concurrency(concurrency)
            .data(Shared { seen })
            .build(noop);
        tokio::spawn(async move { worker.run().await.expect("the worker continues") });
    }

    async fn unfinished(&self) -> u64 {
        self.count("SELECT count(*) FROM Jobs WHERE status <> 'Done'").await
    }

    async fn finished(&self) -> Option<u64> {
        Some(self.count("SELECT count(*) FROM Jobs WHERE status = 'Done'").await)
    }
}
