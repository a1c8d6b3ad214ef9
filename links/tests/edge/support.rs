//! Files, links and what arrives.

use std::time::Duration;

use millpond::{Job, Millpond, NewJob, Payload};
use millpond_links::{Forward, Link, MemoryLog, Receive};
pub use millpond_links_testkit::{SOON, hub, open, until};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub const HOUR: Duration = Duration::from_secs(3_600);

pub fn forwarding(pond: &Millpond, log: &MemoryLog) -> Forward<MemoryLog> {
    // A linger is measured by the queue's clock, which stands still in some tests.
    Forward::new(pond, "readings", log, hub()).linger(Duration::ZERO)
}

pub async fn forward(pond: &Millpond, log: &MemoryLog) -> Link {
    forwarding(pond, log).start().await.unwrap()
}

pub fn receive(pond: &Millpond, log: &MemoryLog) -> Link {
    Receive::new(pond, "readings", log, hub()).start().unwrap()
}

/// A worker for everything that arrives, and the payloads that it has handled.
pub fn handled(pond: &Millpond) -> UnboundedReceiver<String> {
    let (sent, handled) = unbounded_channel();
    let worker = pond.worker("readings").handle_any(move |job: Job<Payload>| {
        let _ = sent.send(String::from_utf8(job.bytes.to_vec()).unwrap());
        async { Ok(()) }
    });
    worker.start().unwrap();
    handled
}

/// The next payloads that are handled, sorted.
pub async fn next(handled: &mut UnboundedReceiver<String>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(SOON, handled.recv()).await;
        texts.push(next.unwrap_or_else(|_| panic!("nothing arrives after {texts:?}")).expect("the worker runs"));
    }
    texts.sort();
    texts
}

/// Waits until this is so.
pub async fn wait_until(mut is_so: impl FnMut() -> bool) {
    let poll = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, poll).await.expect("it becomes so");
}

pub async fn close(pond: Millpond) {
    pond.shutdown(HOUR).await.unwrap();
}

pub fn reading(text: &str) -> NewJob {
    NewJob::raw("reading", text.to_owned())
}

pub async fn enqueue(pond: &Millpond, texts: &[&str]) {
    pond.enqueue_many("readings", texts.iter().map(|text| reading(text))).await.unwrap();
}

/// The payloads in the log, in order.
pub fn texts(log: &MemoryLog) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    log.envelopes().iter().map(|envelope| text(&envelope.payload)).collect()
}
