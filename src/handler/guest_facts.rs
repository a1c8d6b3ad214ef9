//! What is known of an attempt that a plugin makes: its version, the time that it waits for a place, and whether something of it
//! still runs. A build without plugins has `no_guest_facts.rs` instead.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::job::{PluginHash, Record};
use crate::sync::{Mutex, MutexGuard};
use crate::time::TimeReader;

/// What is known of an attempt that a plugin makes. Empty for the attempt of a Rust handler.
#[derive(Default)]
pub(crate) struct GuestFacts {
    /// How many plugins' follow-up jobs the job descends from.
    generation: u32,
    /// The version of the plugin that makes this attempt.
    plugin: OnceLock<PluginHash>,
    /// The guest has asked whether it is to stop.
    has_asked: AtomicBool,
    place: Mutex<PlaceWait>,
    /// Ready once nothing of the attempt runs any more, if it was ended while it ran on a thread for guests.
    left_behind: Mutex<Option<Gone>>,
}

/// The time that an attempt has waited for a place to run. It does not count as the attempt's own.
#[derive(Default)]
struct PlaceWait {
    before: Duration,
    since: Option<Duration>,
    /// The attempt has no place yet: its guest was not called.
    has_no_place: bool,
}

/// Ready when what ran on another thread has ended.
type Gone = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The attempt waits for a place, and its time stands still, until this is dropped.
pub(crate) struct WaitsForPlace<'a> {
    facts: &'a GuestFacts,
    time: &'a TimeReader,
}

impl Drop for WaitsForPlace<'_> {
    fn drop(&mut self) {
        let now = self.time.mono();
        let mut place = self.facts.place();
        if let Some(since) = place.since.take() {
            place.before += now.saturating_sub(since);
        }
    }
}

impl GuestFacts {
    pub fn of(record: &Record) -> Self {
        Self { generation: record.generation(), ..Self::default() }
    }

    /// How many plugins' follow-up jobs the job descends from.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Notes which version of a plugin makes this attempt. Each attempt is made by one.
    pub fn set_plugin(&self, hash: PluginHash) {
        let _ = self.plugin.set(hash);
    }

    /// The version of the plugin that makes this attempt, if one does.
    pub fn plugin(&self) -> Option<PluginHash> {
        self.plugin.get().copied()
    }

    /// Notes that the guest has asked whether it is to stop.
    pub fn asks_for_cancel(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Whether the guest asks for it if its cancel was requested. Otherwise it gets no time to react: it would not use it.
    pub fn sees_cancel(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    fn place(&self) -> MutexGuard<'_, PlaceWait> {
        self.place.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that the attempt waits for a place to run: its time stands still until the returned value is dropped.
    pub fn wait_for_place<'a>(&'a self, time: &'a TimeReader) -> WaitsForPlace<'a> {
        let mut place = self.place();
        (place.since, place.has_no_place) = (Some(time.mono()), true);
        drop(place);
        WaitsForPlace { facts: self, time }
    }

    /// Notes that the attempt has a place, unless it was cancelled while it waited. Returns whether the guest is to be called.
    ///
    /// Of an attempt that was cancelled, [`waits_for_place`](Self::waits_for_place) goes on saying that its guest was not called: a
    /// stop asks that after it has cancelled all attempts.
    pub fn takes_place(&self, is_cancelled: impl FnOnce() -> bool) -> bool {
        let mut place = self.place();
        place.has_no_place = is_cancelled();
        !place.has_no_place
    }

    /// Whether the attempt's guest was not called because the attempt waits for a place, or was ended while it did.
    pub fn waits_for_place(&self) -> bool {
        self.place().has_no_place
    }

    /// How long the attempt has waited for a place until `now`.
    pub fn waited(&self, now: Duration) -> Duration {
        let PlaceWait { before, since, .. } = *self.place();
        before.saturating_add(since.map_or(Duration::ZERO, |since| now.saturating_sub(since)))
    }

    /// Notes that the attempt was dropped, and that nothing of it runs on another thread once `gone` is ready.
    pub fn left_behind(&self, gone: impl Future<Output = ()> + Send + 'static) {
        *self.left_behind.lock().unwrap_or_else(|e| e.into_inner()) = Some(Box::pin(gone));
    }

    /// Waits until nothing of the attempt runs any more. Called after the attempt was ended and dropped.
    pub async fn gone(&self) {
        let left_behind = self.left_behind.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(gone) = left_behind {
            gone.await;
        }
    }
}
