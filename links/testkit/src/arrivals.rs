//! Jobs that arrive over a mailbox, each once and in the order of its group.

use std::collections::BTreeMap;
use std::ops::Range;

use millpond::{Job, Millpond, NewJob, Payload};
use millpond_links::{Forward, Link, LinkState, Log, Mailbox, Receive};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{SOON, open};

/// In how many groups [`readings`] are.
const GROUPS: u32 = 5;

/// The mailbox of the tests.
pub fn hub() -> Mailbox {
    Mailbox::named("hub").expect("a good name")
}

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

/// A device that forwards its readings to a hub, which receives and handles them.
pub struct DeviceAndHub {
    device: Millpond,
    /// The file of the hub.
    pub hub: Millpond,
    to_hub: Link,
    from_device: Link,
    arrived: Arrivals,
    _dir: TempDir,
}

impl DeviceAndHub {
    /// Links them by a mailbox of this engine, with batches of at most so many jobs.
    ///
    /// # Panics
    /// If the files cannot be made, or the links do not start.
    pub async fn over<L: Log>(log: &L, batch: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
        let arrived = Arrivals::at(&hub);
        let to_hub =
            Forward::new(&device, "readings", log, self::hub()).batch(batch).start().await.expect("a good link");
        let from_device = Receive::new(&hub, "readings", log, self::hub()).start().expect("a good link");
        Self { device, hub, to_hub, from_device, arrived, _dir: dir }
    }

    /// Enqueues `count` readings on the device, 20 at a time. `disturb` is called after each of these calls, with how many readings there
    /// were before it. Returns what the sender and the receiver tell in the end.
    ///
    /// # Panics
    /// If a reading is missing or comes twice, or one of a group is not in its order.
    pub async fn each_once_and_in_order(
        &mut self,
        count: u32,
        mut disturb: impl AsyncFnMut(u32, &Link),
    ) -> [LinkState; 2] {
        for first in (0..count).step_by(20) {
            self.device.enqueue_many("readings", readings(first..first + 20)).await.expect("they are stored");
            disturb(first, &self.to_hub).await;
        }
        let links = [&self.to_hub, &self.from_device];
        self.arrived.each_once_and_in_order(count, &self.device, links).await;
        let states = links.map(Link::state);
        println!("{count} readings: {states:?}");
        states
    }
}
