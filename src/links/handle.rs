//! How a link tells what becomes of it.

use std::fmt;
use std::sync::{Arc, Weak};

use super::info::{LinkInfo, LinkState};
use super::registry::Registry;
use crate::events::Event;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::text::{TOLD_BYTES_MAX, cut, told};

/// A link that is registered. It is removed when this is dropped.
#[must_use = "the link is removed when this is dropped"]
pub struct LinkGuard {
    registry: Arc<Registry>,
    link: LinkHandle,
}

impl LinkGuard {
    pub(super) fn new(registry: Arc<Registry>, link: LinkHandle) -> Self {
        Self { registry, link }
    }

    /// With which the parts of the link tell what becomes of it.
    pub fn handle(&self) -> LinkHandle {
        self.link.clone()
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.link.shared.is_removed.store(true, Ordering::Relaxed);
        self.registry.remove(&self.link);
    }
}

impl fmt::Debug for LinkGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinkGuard").field(&self.link.name()).finish()
    }
}

/// With this a link tells what becomes of it. Clones are of the same link. After the link was removed, nothing is published any
/// more. It does not keep the file open.
#[derive(Clone)]
pub struct LinkHandle {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    queue: Arc<str>,
    registry: Weak<Registry>,
    info: Mutex<LinkInfo>,
    /// Locked from before a change until its events are published, so that they are published in the order of the changes.
    telling: Mutex<()>,
    is_removed: AtomicBool,
}

impl LinkHandle {
    pub(super) fn new(registry: &Arc<Registry>, info: LinkInfo) -> Self {
        let (name, queue) = (info.name.as_str().into(), info.queue.as_str().into());
        let (registry, info, telling) = (Arc::downgrade(registry), Mutex::new(info), Mutex::default());
        let shared = Shared { name, queue, registry, info, telling, is_removed: AtomicBool::new(false) };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What is known of the link now. Unlike [`Millpond::links`](crate::Millpond::links) this says nothing of the queue.
    pub fn info(&self) -> LinkInfo {
        self.shared.info.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Notes what has changed. The times in [`LinkState`] are set by this call. Listeners get an [event](Event) if the engine begins
    /// to answer or ceases to, or if the engine or the file went back. `change` must not use a handle of the same link.
    pub fn update(&self, change: impl FnOnce(&mut LinkState)) {
        self.note(None, change);
    }

    /// Notes that the engine does not answer, or refuses what is asked of it. The first such call of an outage publishes
    /// [`LinkLost`](Event::LinkLost). The text of the error is cut to 1,024 bytes.
    pub fn failed(&self, error: impl fmt::Display) {
        self.note(Some(cut(error.to_string(), TOLD_BYTES_MAX)), |state| state.connected = false);
    }

    fn note(&self, error: Option<String>, change: impl FnOnce(&mut LinkState)) {
        let Some(registry) = self.shared.registry.upgrade() else { return };
        let _telling = self.shared.telling.lock().unwrap_or_else(|e| e.into_inner());
        let now = registry.time().wall();
        let has_failed = error.is_some();
        let mut info = self.shared.info.lock().unwrap_or_else(|e| e.into_inner());
        let (before, state) = (info.state.clone(), &mut info.state);
        change(state);
        (state.since, state.last_error_at, state.latest_at) = (before.since, before.last_error_at, before.latest_at);
        if has_failed {
            state.last_error = error;
        } else if state.last_error != before.last_error {
            state.last_error = state.last_error.take().map(|error| cut(error, TOLD_BYTES_MAX));
        }
        if has_failed || state.last_error != before.last_error {
            state.last_error_at = Some(now);
        }
        if state.jobs != before.jobs {
            state.latest_at = Some(now);
        }
        let is_first_failure = has_failed && before.since.is_none();
        if state.connected != before.connected || is_first_failure {
            state.since = Some(now);
        }
        let after = state.clone();
        drop(info);
        if after == before || self.shared.is_removed.load(Ordering::Relaxed) {
            return;
        }
        registry.changed();
        registry.bus().publish(self.events(&before, after, is_first_failure));
    }

    /// What has happened between the two. Outages are logged, too; the link itself logs the rest, with what only it knows.
    fn events(&self, before: &LinkState, after: LinkState, is_first_failure: bool) -> Vec<Event> {
        let of = || (self.shared.name.clone(), self.shared.queue.clone());
        let mut events = Vec::new();
        if after.connected && !before.connected {
            let (link, queue) = of();
            tracing::info!(link = &*link, queue = &*queue, "link connected");
            events.push(Event::LinkConnected { link, queue });
        }
        if after.file_went_back > before.file_went_back {
            let (link, queue) = of();
            events.push(Event::LinkFileWentBack { link, queue });
        }
        if after.engine_went_back > before.engine_went_back {
            let ((link, queue), lost_batches) = (of(), after.lost_batches.saturating_sub(before.lost_batches));
            events.push(Event::LinkEngineWentBack { link, queue, lost_batches });
        }
        if !after.connected && (before.connected || is_first_failure) {
            let ((link, queue), error) = (of(), after.last_error.unwrap_or_default());
            tracing::warn!(link = &*link, queue = &*queue, error = %told(&error), "link down");
            events.push(Event::LinkLost { link, queue, error });
        }
        events
    }
}

impl fmt::Debug for LinkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinkHandle").field(&self.name()).finish()
    }
}
