//! The host's state of one attempt: what its store holds, and how much of its budgets is left.

use std::sync::Arc;
use std::time::Duration;

use millpond_rules::attempt::HANDLES;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

use super::deployed::Deployed;
use super::exceeded::Exceeded;
use super::meter::Meter;
use super::overlay::Overlay;
use super::random::Random;
use crate::handler::Context;
use crate::time::Timestamp;

/// The longest message that a guest logged as an error which is kept for its attempt's error, in bytes.
const LAST_WORDS_BYTES_MAX: usize = 1 << 10;

/// Which jobs wait because of a rate limit.
#[derive(Clone, Copy, Debug)]
pub(super) enum RateLimit {
    /// Those of the job's group, or of the queue if it has none.
    Group,
    Queue,
}

pub(super) struct Guest {
    pub plugin: Arc<Deployed>,
    pub context: Context,
    pub meter: Meter,
    pub table: ResourceTable,
    pub overlay: Overlay,
    /// Bytes of follow-up jobs that the guest has created and not enqueued, as their quota counts them. It can hold many
    /// that it never enqueues.
    pub draft_bytes: usize,
    /// Which jobs wait if the attempt ends with a snooze, if the guest has said that the snooze is a rate limit.
    pub rate_limit: Option<RateLimit>,
    pub random: Random,
    /// How many HTTP requests the attempt can still make.
    #[cfg(feature = "wasm-http")]
    pub requests: super::http::Requests,
    /// What the guest has printed and is not logged yet.
    #[cfg(feature = "wasm-wasi")]
    pub spoken: super::wasi::Spoken,
    calls_left: u32,
    log_lines_left: u32,
    log_bytes_left: usize,
    log_lines_dropped: u64,
    /// The latest message that it logged as an error. If it traps after a panic, this is the panic's message.
    last_words: Option<String>,
}

impl Guest {
    pub fn new(plugin: Arc<Deployed>, context: Context) -> Self {
        let limits = &plugin.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Self {
            meter: Meter::new(limits.memory_bytes, limits.table_elements),
            table,
            overlay: Overlay::default(),
            draft_bytes: 0,
            rate_limit: None,
            random: plugin.host.randoms.next(),
            #[cfg(feature = "wasm-http")]
            requests: super::http::Requests::new(limits.http_requests),
            #[cfg(feature = "wasm-wasi")]
            spoken: super::wasi::Spoken::default(),
            calls_left: limits.host_calls,
            log_lines_left: limits.log_lines,
            log_bytes_left: limits.log_bytes,
            log_lines_dropped: 0,
            last_words: None,
            plugin,
            context,
        }
    }

    /// Starts the next attempt in the same instance. Everything is reset, except that the memory and tables that the
    /// instance has stay counted.
    pub fn begin_again(&mut self, context: Context) {
        let mut next = Self::new(self.plugin.clone(), context);
        std::mem::swap(&mut self.meter, &mut next.meter);
        *self = next;
    }

    /// Counts one call of the guest to the host. Every import calls this first.
    ///
    /// # Errors
    /// The attempt has made its last call already.
    pub fn count_call(&mut self) -> Result<(), Exceeded> {
        match self.calls_left.checked_sub(1) {
            Some(left) => self.calls_left = left,
            None => return Err(Exceeded::HostCalls { limit: self.plugin.limits.host_calls }),
        }
        Ok(())
    }

    /// Whether a log line of `bytes` bytes fits the budget, and takes it from the budget. A line that does not fit is
    /// counted as dropped.
    pub fn may_log(&mut self, bytes: usize) -> bool {
        let (Some(lines), Some(bytes)) = (self.log_lines_left.checked_sub(1), self.log_bytes_left.checked_sub(bytes))
        else {
            self.log_lines_dropped += 1;
            return false;
        };
        (self.log_lines_left, self.log_bytes_left) = (lines, bytes);
        true
    }

    pub fn log_lines_dropped(&self) -> u64 {
        self.log_lines_dropped
    }

    pub fn note_last_words(&mut self, text: &str) {
        self.last_words = Some(text[..text.floor_char_boundary(LAST_WORDS_BYTES_MAX)].to_owned());
    }

    /// What the guest said before it broke: the end of its standard error, or else its latest logged error.
    pub fn last_words(&self) -> Option<String> {
        #[cfg(feature = "wasm-wasi")]
        if let Some(words) = self.spoken.last_words() {
            return Some(words);
        }
        self.last_words.clone()
    }
}

/// The meter decides. What the memory has become is told before the attempt ends, so that one that is cut short counts, too.
impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        let grows = self.meter.memory_growing(current, desired, max)?;
        self.plugin.service.has_memory(self.meter.memory());
        Ok(grows)
    }

    fn table_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        self.meter.table_growing(current, desired, max)
    }

    fn instances(&self) -> usize {
        self.meter.instances()
    }

    fn memories(&self) -> usize {
        self.meter.memories()
    }

    fn tables(&self) -> usize {
        self.meter.tables()
    }
}

/// The timestamp in the contract's form: seconds and nanoseconds since the epoch.
pub(super) fn instant(at: Timestamp) -> super::contract::types::Instant {
    let millis = at.as_millis();
    let seconds = i64::try_from(millis / 1_000).unwrap_or(i64::MAX);
    super::contract::types::Instant { seconds, nanoseconds: (millis % 1_000) as u32 * 1_000_000 }
}

/// The duration in nanoseconds, at most `u64::MAX`.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
