//! The links of a process.

use std::sync::Arc;

use super::handle::{LinkGuard, LinkHandle};
use super::info::LinkInfo;
use crate::events::EventBus;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::TimeReader;

/// The links that run in this process, in the order in which they were registered.
pub(crate) struct Registry {
    time: TimeReader,
    bus: Arc<EventBus>,
    links: Mutex<Vec<LinkHandle>>,
    /// How often something of a link has changed.
    changes: AtomicU64,
}

impl Registry {
    pub fn new(time: TimeReader, bus: Arc<EventBus>) -> Self {
        Self { time, bus, links: Mutex::default(), changes: AtomicU64::new(0) }
    }

    /// Adds a link until its guard is dropped. A name that is in use gets a number behind it.
    pub fn register(self: &Arc<Self>, mut info: LinkInfo) -> LinkGuard {
        info.started_at = self.time.wall();
        let mut links = self.lock();
        let is_used = |name: &str| links.iter().any(|link| link.name() == name);
        if is_used(&info.name) {
            let numbered = (2_u64..).map(|number| format!("{} ({number})", info.name));
            info.name = numbered.into_iter().find(|name| !is_used(name)).unwrap_or_default();
        }
        let link = LinkHandle::new(self, info);
        links.push(link.clone());
        drop(links);
        self.changed();
        LinkGuard::new(self.clone(), link)
    }

    pub(super) fn remove(&self, link: &LinkHandle) {
        self.lock().retain(|other| !other.is(link));
        self.changed();
    }

    pub fn all(&self) -> Vec<LinkInfo> {
        let links = self.lock().clone();
        links.iter().map(LinkHandle::info).collect()
    }

    /// A number that is another one when something of a link has changed. It only grows.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn time(&self) -> &TimeReader {
        &self.time
    }

    pub(super) fn bus(&self) -> &EventBus {
        &self.bus
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LinkHandle>> {
        self.links.lock().unwrap_or_else(|e| e.into_inner())
    }
}
