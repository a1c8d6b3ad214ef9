//! Signups over HTTP, many at once, on connections that are kept open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

/// The number of clients at the same time.
pub const AT_ONCE: usize = 64;

/// The results of the signups.
#[derive(Default)]
pub struct Load {
    /// Answered with 201.
    pub acknowledged: Vec<String>,
    /// The connection broke before an answer: they can be stored or not.
    pub cut_off: Vec<String>,
    /// Answered with anything else.
    pub refused: Vec<StatusCode>,
    /// The times of the answers with 201, shortest first.
    pub took: Vec<Duration>,
}

impl Load {
    /// The time within which this share of the signups was answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.took.len().saturating_sub(1);
        self.took.get(last * percent / 100).copied().unwrap_or_default()
    }

    pub fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.cut_off.extend(other.cut_off);
        self.refused.extend(other.refused);
        self.took.extend(other.took);
        self.took.sort();
    }
}

/// Signs `emails` up. Meanwhile `answered` counts the answers with 201. A client stops if its connection breaks.
pub async fn sign_up(url: &str, emails: Vec<String>, answered: Arc<AtomicUsize>) -> Result<Load> {
    let (emails, next) = (Arc::new(emails), Arc::new(AtomicUsize::new(0)));
    let client = Client::new();
    let mut clients = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, url) = (client.clone(), format!("{url}/signup"));
        let (emails, next, answered) = (emails.clone(), next.clone(), answered.clone());
        clients.spawn(async move {
            let mut load = Load::default();
            while let Some(email) = emails.get(next.fetch_add(1, Ordering::Relaxed)) {
                let name = email.split('@').next().unwrap_or_default();
                let begun = Instant::now();
                let sent = client.post(&url).json(&json!({ "email": email, "name": name })).send().await;
                match sent.map(|answer| answer.status()) {
                    Ok(StatusCode::CREATED) => {
                        load.took.push(begun.elapsed());
                        load.acknowledged.push(email.clone());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(status) => load.refused.push(status),
                    Err(_) => {
                        load.cut_off.push(email.clone());
                        break;
                    }
                }
            }
            load
        });
    }
    let mut all = Load::default();
    while let Some(load) = clients.join_next().await {
        all.merge(load?);
    }
    Ok(all)
}
