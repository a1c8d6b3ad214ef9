use std::time::Duration;

use millpond_rules::attempt;
use serde::{Serialize, Serializer};

use crate::error::PluginError;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The largest linear memory there is, in bytes: what one slot of the sandbox's pool can hold.
pub(super) const MEMORY_BYTES_MAX: usize = 256 * MIB;

/// The largest table there is, in elements: what one slot of the pool can hold. CPython needs half of it.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// What is read at once of a response, in bytes: less cannot be set.
const HTTP_HEADER_BYTES_MIN: usize = 8 * KIB;

/// What one attempt of a plugin may use. Whatever goes over is a failed attempt, or an error that the
/// guest is told of; nothing is taken from other jobs.
///
/// ```
/// use millpond::PluginLimits;
/// use std::time::Duration;
///
/// let limits = PluginLimits::default().time(Duration::from_secs(2)).memory_bytes(16 << 20);
/// assert_eq!(limits.memory_bytes, 16 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
#[non_exhaustive]
pub struct PluginLimits {
    #[serde(rename = "time_ms", serialize_with = "in_milliseconds")]
    /// Longest attempt, by the wall clock, whether it computes or waits.
    pub time: Duration,
    /// Most memory in bytes, all its linear memories together.
    pub memory_bytes: usize,
    /// Most elements of all its tables of functions together.
    pub table_elements: usize,
    /// Longest result in bytes.
    pub output_bytes: usize,
    /// Most calls to the host.
    pub host_calls: u32,
    /// Most bytes that one call may pass to the host, or the guest return.
    pub call_bytes: usize,
    /// Most log lines.
    pub log_lines: u32,
    /// Most bytes of log lines.
    pub log_bytes: usize,
    /// Most keys that one attempt may write.
    pub state_writes: u32,
    /// Longest key of its state in bytes.
    pub state_key_bytes: usize,
    /// Longest value of its state in bytes.
    pub state_value_bytes: usize,
    /// Most keys that the plugin may have in all.
    pub state_keys: u64,
    /// Most bytes of keys and values that the plugin may have in all.
    pub state_bytes: u64,
    /// Most follow-up jobs of one attempt.
    pub follow_ups: u32,
    /// Most payload bytes of one attempt's follow-up jobs together.
    pub follow_up_bytes: usize,
    /// How many follow-up jobs may descend from one another.
    pub generations: u32,
    /// So many attempts in a row that trap, run out of memory or make too many calls, whatever their jobs.
    pub traps_in_a_row: u32,
    /// Most requests of one attempt over HTTP, each redirect being one.
    pub http_requests: u32,
    /// Most redirects of one request.
    pub http_redirects: u32,
    #[serde(rename = "http_time_ms", serialize_with = "in_milliseconds")]
    /// Longest round trip with all its redirects.
    pub http_time: Duration,
    /// Most bytes of a request, its URL, headers and body together.
    pub http_request_bytes: usize,
    /// Most bytes of a response's headers.
    pub http_header_bytes: usize,
    /// Most bytes of a response's body.
    pub http_response_bytes: usize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            memory_bytes: 64 * MIB,
            table_elements: TABLE_ELEMENTS_MAX,
            output_bytes: attempt::OUTPUT_BYTES,
            host_calls: 100_000,
            call_bytes: 2 * MIB,
            log_lines: attempt::LOG_LINES,
            log_bytes: attempt::LOG_BYTES,
            state_writes: attempt::STATE_WRITES,
            state_key_bytes: attempt::STATE_KEY_BYTES,
            state_value_bytes: attempt::STATE_VALUE_BYTES,
            state_keys: attempt::STATE_KEYS,
            state_bytes: attempt::STATE_BYTES,
            follow_ups: attempt::FOLLOW_UPS,
            follow_up_bytes: attempt::FOLLOW_UP_BYTES,
            generations: 16,
            traps_in_a_row: 20,
            http_requests: 20,
            http_redirects: 5,
            http_time: Duration::from_secs(10),
            http_request_bytes: MIB,
            http_header_bytes: 32 * KIB,
            http_response_bytes: MIB,
        }
    }
}

fn in_milliseconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        impl PluginLimits {
            $($(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $name;
                self
            })*
        }
    };
}

limits! {
    /// Longest attempt, by the wall clock, whether it computes or waits; default 30 s. The worker's and the
    /// job's own timeouts hold as well: the shortest counts.
    time: Duration;
    /// Most memory in bytes, all its linear memories together; default 64 MiB, at most 256 MiB, which is a slot
    /// of the pool.
    memory_bytes: usize;
    /// Most elements of all its tables of functions together; default 20,000, what CPython needs doubled, which is also
    /// the most.
    table_elements: usize;
    /// Longest result in bytes; default 1 MiB, as payloads: it is kept with the job.
    output_bytes: usize;
    /// Most calls to the host; default 100,000: a guest can make ten million a second.
    host_calls: u32;
    /// Most bytes that one call may pass to the host, or the guest return; default 2 MiB. They are copied
    /// before anything else is looked at.
    call_bytes: usize;
    /// Most log lines; default 1,000. What is over is counted and dropped.
    log_lines: u32;
    /// Most bytes of log lines; default 256 KiB. What is over is counted and dropped.
    log_bytes: usize;
    /// Most keys that one attempt may write; default 1,000.
    state_writes: u32;
    /// Longest key of its state in bytes; default 256.
    state_key_bytes: usize;
    /// Longest value of its state in bytes; default 64 KiB.
    state_value_bytes: usize;
    /// Most keys that the plugin may have in all; default 100,000.
    state_keys: u64;
    /// Most bytes of keys and values that the plugin may have in all; default 64 MiB.
    state_bytes: u64;
    /// Most follow-up jobs of one attempt; default 100.
    follow_ups: u32;
    /// Most payload bytes of one attempt's follow-up jobs together; default 1 MiB.
    follow_up_bytes: usize;
    /// How many follow-up jobs may descend from one another; default 16. A job that somebody else enqueued
    /// is generation 0, its follow-ups are 1, and so on: so a plugin cannot feed itself for ever.
    generations: u32;
    /// So many attempts in a row that trap, run out of memory or make too many calls, whatever their jobs,
    /// suspend the plugin; default 20.
    traps_in_a_row: u32;
    /// Most requests of one attempt over HTTP, each redirect being one; default 20: an attempt is no crawler, and the hosts
    /// that it asks are other people's.
    http_requests: u32;
    /// Most redirects of one request; default 5. Browsers follow 20, most of what is honest needs 2.
    http_redirects: u32;
    /// Longest round trip with all its redirects; default 10 s. A guest may ask for less, and the attempt's time left counts as
    /// well.
    http_time: Duration;
    /// Most bytes of a request, its URL, headers and body together; default 1 MiB, as payloads.
    http_request_bytes: usize;
    /// Most bytes of a response's headers; default 32 KiB, at least 8 KiB.
    http_header_bytes: usize;
    /// Most bytes of a response's body; default 1 MiB, as results: it is held in memory until the guest has it.
    http_response_bytes: usize;
}

impl PluginLimits {
    pub(super) fn check(&self) -> Result<(), PluginError> {
        let wrong = |what, reason: &str| Err(PluginError::Misconfigured { what, reason: reason.to_owned() });
        if self.time.is_zero() {
            return wrong("limit `time`", "zero would fail every attempt");
        }
        if self.memory_bytes > MEMORY_BYTES_MAX {
            return wrong("limit `memory_bytes`", "a sandbox has at most 256 MiB");
        }
        if self.table_elements > TABLE_ELEMENTS_MAX {
            return wrong("limit `table_elements`", "a sandbox has at most 20,000");
        }
        if self.output_bytes > self.call_bytes {
            return wrong("limit `output_bytes`", "it is above `call_bytes`, what can be returned at all");
        }
        if self.traps_in_a_row == 0 {
            return wrong("limit `traps_in_a_row`", "zero would never let it run");
        }
        if self.http_header_bytes < HTTP_HEADER_BYTES_MIN {
            return wrong("limit `http_header_bytes`", "less than 8 KiB is no room to read in");
        }
        Ok(())
    }
}
