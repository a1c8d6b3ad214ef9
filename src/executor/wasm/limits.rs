//! The limits of a plugin and of its attempts, with their defaults.

use std::time::Duration;

use millpond_rules::attempt;
use serde::{Serialize, Serializer};

use crate::error::PluginError;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The largest linear memory that can be set, in bytes: the size of one memory in the sandbox's pool.
pub(super) const MEMORY_BYTES_MAX: usize = 256 * MIB;

/// The largest table that can be set, in elements: the size of one table in the pool. CPython needs half of it.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// The smallest limit of a response's headers that can be set, in bytes: the HTTP client reads this much at once.
const HTTP_HEADER_BYTES_MIN: usize = 8 * KIB;

/// The limits of a plugin and of each of its attempts. An attempt that exceeds a limit fails, or the guest's call
/// returns an error. Other jobs are not affected.
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
    /// The longest attempt, by the wall clock, whether it computes or waits.
    pub time: Duration,
    /// The most memory of an attempt in bytes, all its linear memories together.
    pub memory_bytes: usize,
    /// The most elements of all tables of an attempt together.
    pub table_elements: usize,
    /// The longest result in bytes.
    pub output_bytes: usize,
    /// The most calls of one attempt to the host.
    pub host_calls: u32,
    /// The most bytes that the guest can pass to the host in one call, or return.
    pub call_bytes: usize,
    /// The most log lines of one attempt.
    pub log_lines: u32,
    /// The most bytes of one attempt's log lines together.
    pub log_bytes: usize,
    /// The most keys of the plugin's state that one attempt can write.
    pub state_writes: u32,
    /// The longest key of the plugin's state in bytes.
    pub state_key_bytes: usize,
    /// The longest value of the plugin's state in bytes.
    pub state_value_bytes: usize,
    /// The most keys of the plugin's state in all.
    pub state_keys: u64,
    /// The most bytes of the plugin's state in all, keys and values together.
    pub state_bytes: u64,
    /// The most follow-up jobs, entries of streams and messages of topics of one attempt together.
    pub follow_ups: u32,
    /// The most bytes of one attempt's follow-up jobs, entries and messages together: payloads, tags and headers.
    pub follow_up_bytes: usize,
    /// The longest chain of follow-up jobs and entries, each made by a plugin that had the one before it.
    pub generations: u32,
    #[serde(rename = "rate_limit_time_ms", serialize_with = "in_milliseconds")]
    /// The longest time for which a rate limit of the plugin holds other jobs back.
    pub rate_limit_time: Duration,
    /// How many attempts in a row have to break, of whatever jobs, to suspend the plugin.
    pub traps_in_a_row: u32,
    /// The most HTTP requests of one attempt. Each redirect counts as a request.
    pub http_requests: u32,
    /// The most redirects of one HTTP request.
    pub http_redirects: u32,
    #[serde(rename = "http_time_ms", serialize_with = "in_milliseconds")]
    /// The longest HTTP round trip, with all its redirects.
    pub http_time: Duration,
    /// The most bytes of an HTTP request: its URL, headers and body together.
    pub http_request_bytes: usize,
    /// The most bytes of an HTTP response's headers.
    pub http_header_bytes: usize,
    /// The most bytes of an HTTP response's body.
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
            rate_limit_time: Duration::from_secs(3600),
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
    /// Sets the longest attempt, by the wall clock, whether it computes or waits. Default: 30 s. The worker's and the
    /// job's own timeouts apply as well: the shortest one ends the attempt.
    time: Duration;
    /// Sets the most memory of an attempt in bytes, all its linear memories together. Default: 64 MiB. At most 256 MiB,
    /// the size of a memory in the sandbox's pool.
    memory_bytes: usize;
    /// Sets the most elements of all tables of an attempt together. Default: 20,000, twice what CPython needs, which is
    /// also the maximum.
    table_elements: usize;
    /// Sets the longest result in bytes. Default: 1 MiB, as for payloads, because the result is stored with the job.
    output_bytes: usize;
    /// Sets the most calls of one attempt to the host. Default: 100,000. A guest can make ten million a second.
    host_calls: u32;
    /// Sets the most bytes that the guest can pass to the host in one call, or return. Default: 2 MiB. The bytes are
    /// copied before any other limit is checked.
    call_bytes: usize;
    /// Sets the most log lines of one attempt. Default: 1,000. Further lines are dropped and counted.
    log_lines: u32;
    /// Sets the most bytes of one attempt's log lines together. Default: 256 KiB. Further lines are dropped and
    /// counted.
    log_bytes: usize;
    /// Sets the most keys of the plugin's state that one attempt can write. Default: 1,000.
    state_writes: u32;
    /// Sets the longest key of the plugin's state in bytes. Default: 256.
    state_key_bytes: usize;
    /// Sets the longest value of the plugin's state in bytes. Default: 64 KiB.
    state_value_bytes: usize;
    /// Sets the most keys of the plugin's state in all. Default: 100,000.
    state_keys: u64;
    /// Sets the most bytes of the plugin's state in all, keys and values together. Default: 64 MiB.
    state_bytes: u64;
    /// Sets the most follow-up jobs, entries of streams and messages of topics of one attempt together. Default: 100. A message counts
    /// once, whatever is bound to its topic.
    follow_ups: u32;
    /// Sets the most bytes of one attempt's follow-up jobs, entries and messages together: payloads, tags and headers, and 64 bytes
    /// more for each tag and each header. Default: 1 MiB.
    follow_up_bytes: usize;
    /// Sets the longest chain of follow-up jobs and entries, each made by a plugin that had the one before it. Default: 16. A job
    /// or an entry that the application has made has generation 0, what a plugin makes of it has generation 1, and so on. The limit
    /// prevents a plugin from making jobs or entries for itself forever.
    generations: u32;
    /// Sets the longest time for which a rate limit of the plugin holds other jobs back. Default: 1 hour, for which services ask
    /// in practice. A plugin that asks for more gets this. It needs [`Grant::rate_limit`](crate::Grant::rate_limit).
    rate_limit_time: Duration;
    /// Sets how many attempts in a row have to break, of whatever jobs, to suspend the plugin. Default: 20. An attempt
    /// breaks if it traps, runs out of memory, returns too much or makes too many calls.
    traps_in_a_row: u32;
    /// Sets the most HTTP requests of one attempt. Each redirect counts as a request. Default: 20, which keeps a plugin
    /// from flooding the hosts that it is granted.
    http_requests: u32;
    /// Sets the most redirects of one HTTP request. Default: 5. Browsers follow 20, and most sites need at most 2.
    http_redirects: u32;
    /// Sets the longest HTTP round trip, with all its redirects. Default: 10 s. A guest can ask for less, and the time
    /// left of the attempt applies as well.
    http_time: Duration;
    /// Sets the most bytes of an HTTP request: its URL, headers and body together. Default: 1 MiB, as for payloads.
    http_request_bytes: usize;
    /// Sets the most bytes of an HTTP response's headers. Default: 32 KiB. At least 8 KiB.
    http_header_bytes: usize;
    /// Sets the most bytes of an HTTP response's body. Default: 1 MiB, as for results. The body is in memory until the
    /// guest has read it.
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
            return wrong("limit `table_elements`", "a sandbox has at most 20,000 elements");
        }
        if self.output_bytes > self.call_bytes {
            return wrong("limit `output_bytes`", "it is above `call_bytes`, the most bytes that a guest can return");
        }
        if self.traps_in_a_row == 0 {
            return wrong(
                "limit `traps_in_a_row`",
                "zero is not a number of attempts: 1 suspends it at the first broken one",
            );
        }
        if self.http_header_bytes < HTTP_HEADER_BYTES_MIN {
            return wrong("limit `http_header_bytes`", "it is below 8 KiB, which the HTTP client reads at once");
        }
        Ok(())
    }
}
