//! Jobs that arrive over a mailbox, each once and in the order of its group.

use std::collections::BTreeMap;
use std::ops::Range;

use millpond::{Job, Millpond, NewJob, Payload};
use millpond_links::Link;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::SOON;

/// In how many groups [`readings`] are.
const GROUPS: u32 = 5;

/// Jobs with these numbers, in five groups.
pub fn readings(numbers: Range<u32>) -> impl Iterator<Item = NewJob> {
    numbers.map(|n| NewJob::raw("reading", n.to_string()).group(format!("g{}", n % GROUPS)))
}

/// What a worker has handled.
pub struct Arrivals(UnboundedReceiver<(String, u32)>);

impl Arrivals {
    /// Starts a worker for all jobs of the queue `readings`, whose payloads are numbers.
    pub fn at(pond: &Millpond) -> Self {
        let (sent, arrived) = unbounded_channel();
        let worker = pond.worker("readings").handle_any(move |job: Job<Payload>| {
            let text = String::from_utf8(job.bytes.to_vec()).expect("a number");
            let _ = sent.send((job.group().unwrap_or_default().to_owned(), text.parse().expect("a number")));
            async { Ok(()) }
        });
        worker.start().expect("the queue has no worker");
        Self(arrived)
    }

    /// Waits for the first `count` readings that `device` has sent.
    ///
    /// # Panics
    /// If one is missing or comes twice, or one of a group is not in its order. The links' states are in the message.
    pub async fn each_once_and_in_order(&mut self, count: u32, device: &Millpond, links: [&Link; 2]) {
        let mut by_group: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for n in 0..count {
            let (group, number) = self.next(n, links).await;
            by_group.entry(group).or_default().push(number);
        }
        // A job behind all others comes next, so nothing has come twice.
        let last = NewJob::raw("reading", count.to_string()).group("last");
        device.enqueue("readings", last).await.expect("it is stored");
        assert_eq!(self.next(count, links).await.1, count, "nothing came twice");
        for (group, numbers) in by_group {
            let first: u32 = group[1..].parse().expect("the number of a group");
            assert_eq!(numbers, (first..count).step_by(GROUPS as usize).collect::<Vec<_>>(), "group {group}");
        }
    }

    async fn next(&mut self, n: u32, links: [&Link; 2]) -> (String, u32) {
        let next = tokio::time::timeout(SOON, self.0.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("{n}: {:?}", links.map(Link::state)));
        next.expect("the worker runs")
    }
}
