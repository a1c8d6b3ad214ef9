//! A link that runs, and what it tells of itself.

use millpond::{LinkDirection, LinkGuard, LinkHandle, LinkInfo, LinkState, Millpond};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Mailbox;
use crate::error::Error;

/// Registers a link at its file, until the guard is dropped. `engine` is the name of the engine.
pub(crate) fn register(
    pond: &Millpond,
    queue: &str,
    direction: LinkDirection,
    remote: String,
    engine: String,
) -> Result<LinkGuard, Error> {
    Ok(pond.register_link(LinkInfo::new(queue, direction, remote, engine)?)?)
}

/// What a receiver reads, for people: `hub`, or `hub/0-8` for the partitions from 0 up to 8.
pub(crate) fn read_of(mailbox: &Mailbox) -> String {
    match (mailbox.reads_all(), mailbox.read()) {
        (true, _) => mailbox.name().to_owned(),
        (false, of) => format!("{}/{}-{}", mailbox.name(), of.start, of.end),
    }
}

/// Where the parts of a link write what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Told(LinkHandle);

impl Told {
    pub fn of(guard: &LinkGuard) -> Self {
        Self(guard.handle())
    }

    pub fn change(&self, change: impl FnOnce(&mut LinkState)) {
        self.0.update(change);
    }

    pub fn failed(&self, error: &dyn std::fmt::Display) {
        self.0.failed(error);
    }
}

/// A link that runs. Dropping it stops the link.
///
/// As long as this is there, the link is one of [`Millpond::links`], also after an error has ended it.
#[derive(Debug)]
pub struct Link {
    guard: LinkGuard,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Link {
    pub(crate) fn new(guard: LinkGuard, stop: watch::Sender<bool>, task: JoinHandle<()>) -> Self {
        Self { guard, stop, task: Some(task) }
    }

    /// What is known of the link.
    pub fn state(&self) -> LinkState {
        self.guard.handle().info().state
    }

    /// Stops the link, and waits until it has stopped. What it has not sent stays in its queue.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}
