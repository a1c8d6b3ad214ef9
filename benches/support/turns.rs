//! What benches that take turns with each other share: a count of the handlers that have returned, and the median of the turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts the handlers that have returned.
#[derive(Clone, Default)]
pub struct Done {
    count: Arc<AtomicU64>,
    notify: Arc<Notify>,
}

impl Done {
    pub fn one(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.notify.notify_one();
    }

    pub async fn reach(&self, count: u64) {
        while self.count.load(Ordering::Relaxed) < count {
            self.notify.notified().await;
        }
    }
}

/// The median of some rates, the least and the highest one.
pub fn median(mut rates: Vec<f64>) -> (f64, f64, f64) {
    rates.sort_by(f64::total_cmp);
    (rates[rates.len() / 2], rates[0], rates[rates.len() - 1])
}
