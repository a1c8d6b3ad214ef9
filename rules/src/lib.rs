//! The names that the Millpond job queue accepts, and the default limits of a plugin's attempts.
//!
//! The queue and the SDK for plugins both use this crate, so that the SDK's test host refuses what the queue refuses.
//! Applications and plugins do not use it directly.

#![no_std]

/// The longest name of a queue or kind, in bytes: operators read and type it, and it may become part of a path or a metric.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether a name can contain this byte: `A-Z`, `a-z`, `0-9`, `.`, `_`, `:` and `-`.
pub const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

/// The longest group or unique key, in bytes. It is limited because the key of each row of its jobs contains it.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Whether this is a valid group or unique key: any text of 1 to [`KEY_BYTES_MAX`] bytes in UTF-8.
pub const fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= KEY_BYTES_MAX
}

/// Whether this is a valid name of a queue or kind: 1 to [`NAME_BYTES_MAX`] bytes, each of them
/// [allowed](is_name_byte), and not all of them dots. A name of dots would lead out of a directory if it became a path.
pub fn is_name(name: &str) -> bool {
    // True for the empty name too, which is refused by this as well.
    let only_dots = name.bytes().all(|byte| byte == b'.');
    !only_dots && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_name_byte)
}

/// The longest routing key in bytes: as in AMQP.
pub const ROUTING_KEY_BYTES_MAX: usize = 255;

/// The most words of a routing key, which are between dots. The work for one message grows with it.
pub const ROUTING_WORDS_MAX: usize = 64;

/// Whether this is a valid routing key. The empty one is, and has no words.
pub fn is_routing_key(text: &str) -> bool {
    text.len() <= ROUTING_KEY_BYTES_MAX && (text.is_empty() || text.split('.').count() <= ROUTING_WORDS_MAX)
}

/// The number of priorities. 0 runs first, 9 runs last.
pub const PRIORITIES: u8 = 10;

/// The most tags of one job.
pub const TAGS_MAX: usize = 16;

/// The longest tag in bytes.
pub const TAG_BYTES_MAX: usize = 64;

/// Whether this is a valid tag: a text of 1 to [`TAG_BYTES_MAX`] bytes without control characters.
pub fn is_tag(text: &str) -> bool {
    !text.is_empty() && text.len() <= TAG_BYTES_MAX && !text.chars().any(char::is_control)
}

/// The longest name of a header in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 128;

/// Whether this is a valid name of a header: any text of 1 to [`HEADER_NAME_BYTES_MAX`] bytes.
pub const fn is_header_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= HEADER_NAME_BYTES_MAX
}

/// The most bytes of the names and values of all headers of one job.
pub const HEADERS_BYTES_MAX: usize = 4 << 10;

/// The longest time for which a key is held that does not depend on a job, in seconds: 30 days.
pub const KEY_SECONDS_MAX: u64 = 30 * 24 * 3600;

/// The most steps of one job.
pub const STEPS_MAX: usize = 1_000;

/// The most bytes of the results of one job's steps together.
pub const STEP_BYTES_MAX: usize = 1 << 20;

/// The limits of a plugin's attempt unless the operator sets others: the defaults of `PluginLimits`, which documents them.
pub mod attempt {
    /// The longest result in bytes.
    pub const OUTPUT_BYTES: usize = 1 << 20;
    /// The most log lines.
    pub const LOG_LINES: u32 = 1_000;
    /// The most bytes of log lines.
    pub const LOG_BYTES: usize = 256 << 10;
    /// The most keys that one attempt can write.
    pub const STATE_WRITES: u32 = 1_000;
    /// The longest key in bytes.
    pub const STATE_KEY_BYTES: usize = 256;
    /// The longest value in bytes.
    pub const STATE_VALUE_BYTES: usize = 64 << 10;
    /// The most keys of a plugin in all.
    pub const STATE_KEYS: u64 = 100_000;
    /// The most bytes of keys and values of a plugin in all.
    pub const STATE_BYTES: u64 = 64 << 20;
    /// The most follow-up jobs.
    pub const FOLLOW_UPS: u32 = 100;
    /// The most bytes of follow-up jobs together: payloads, tags and headers.
    pub const FOLLOW_UP_BYTES: usize = 1 << 20;
    /// The most resource handles that a guest can hold at a time. It has one for each follow-up job that it makes and has not
    /// enqueued.
    pub const HANDLES: usize = 1_000;
    /// How many bytes each tag and each header of a follow-up job counts beside its text, because the host needs memory also
    /// for short ones.
    pub const LABEL_BYTES: usize = 64;
}
