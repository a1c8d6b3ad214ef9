//! One attempt's side of the host: what its store holds, and the budgets that its calls are held against.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceTable;

use super::attempt::HANDLES_MAX;
use super::deployed::Deployed;
use super::exceeded::Exceeded;
use super::meter::Meter;
use super::overlay::Overlay;
use super::random::Random;
use crate::handler::Context;
use crate::time::Timestamp;

/// Longest last words of a guest that are kept for its attempt's error, in bytes.
const LAST_WORDS_BYTES_MAX: usize = 1 << 10;

pub(super) struct Guest {
    pub plugin: Arc<Deployed>,
    pub context: Context,
    pub meter: Meter,
    pub table: ResourceTable,
    pub overlay: Overlay,
    /// Payload bytes of follow-up jobs in the making: a guest may hold many that it never enqueues.
    pub draft_bytes: usize,
    pub random: Random,
    /// What it may still ask of others.
    #[cfg(feature = "wasm-http")]
    pub requests: super::http::Requests,
    /// What it has printed.
    #[cfg(feature = "wasm-wasi")]
    pub spoken: super::wasi::Spoken,
    calls_left: u32,
    log_lines_left: u32,
    log_bytes_left: usize,
    log_lines_dropped: u64,
    /// The latest that it logged as an error: a panic's message, if it then traps.
    last_words: Option<String>,
}

impl Guest {
    pub fn new(plugin: Arc<Deployed>, context: Context) -> Self {
        let limits = &plugin.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            meter: Meter::new(limits.memory_bytes, limits.table_elements),
            table,
            overlay: Overlay::default(),
            draft_bytes: 0,
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

    /// The next attempt of the same instance: all is new but what its memory has come to.
    pub fn begin_again(&mut self, context: Context) {
        let mut next = Self::new(self.plugin.clone(), context);
        std::mem::swap(&mut self.meter, &mut next.meter);
        *self = next;
    }

    /// Counts one call of the guest. Every import begins with it.
    pub fn count_call(&mut self) -> Result<(), Exceeded> {
        match self.calls_left.checked_sub(1) {
            Some(left) => self.calls_left = left,
            None => return Err(Exceeded::HostCalls { limit: self.plugin.limits.host_calls }),
        }
        Ok(())
    }

    /// Whether a log line of so many bytes is still in the budget.
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

    /// What it said before it broke: on standard error, or as an error in its log.
    pub fn last_words(&self) -> Option<String> {
        #[cfg(feature = "wasm-wasi")]
        if let Some(words) = self.spoken.last_words() {
            return Some(words);
        }
        self.last_words.clone()
    }
}

/// As the contract has it: seconds and nanoseconds since the epoch.
pub(super) fn instant(at: Timestamp) -> super::contract::types::Instant {
    let millis = at.as_millis();
    let seconds = i64::try_from(millis / 1_000).unwrap_or(i64::MAX);
    super::contract::types::Instant { seconds, nanoseconds: (millis % 1_000) as u32 * 1_000_000 }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
