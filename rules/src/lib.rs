//! Which names the Millpond job queue accepts, and what an attempt of a plugin may use by default.
//!
//! The queue and the SDK for plugins both take them from here, so that the SDK's test host refuses what the queue refuses. Applications
//! and plugins do not need this crate.

#![no_std]

/// Longest name of a queue or kind, in bytes: operators read and type it, and it may become part of a path or a metric.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether a name may have this byte: `A-Z`, `a-z`, `0-9`, `.`, `_`, `:` and `-`.
pub const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

/// Longest group or unique key, in bytes: it stands in the key of each row of its jobs, and long keys make the file's trees
/// deeper.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Whether this may be a group or a unique key: any text of 1 to [`KEY_BYTES_MAX`] bytes in UTF-8.
pub const fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= KEY_BYTES_MAX
}

/// Whether this may be the name of a queue or kind: 1 to [`NAME_BYTES_MAX`] bytes, each of them
/// [allowed](is_name_byte), and not all of them dots, which would climb out of a directory if the name became a path.
pub fn is_name(name: &str) -> bool {
    // A name of no bytes is one of dots alone as well.
    let climbs = name.bytes().all(|byte| byte == b'.');
    !climbs && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_name_byte)
}

/// How many priorities there are: 0, first, to 9, last.
pub const PRIORITIES: u8 = 10;

/// What an attempt of a plugin may use unless the operator sets something else: the defaults of `PluginLimits`, where they are
/// documented.
pub mod attempt {
    /// Longest result in bytes.
    pub const OUTPUT_BYTES: usize = 1 << 20;
    /// Most log lines.
    pub const LOG_LINES: u32 = 1_000;
    /// Most bytes of log lines.
    pub const LOG_BYTES: usize = 256 << 10;
    /// Most keys that one attempt may write.
    pub const STATE_WRITES: u32 = 1_000;
    /// Longest key in bytes.
    pub const STATE_KEY_BYTES: usize = 256;
    /// Longest value in bytes.
    pub const STATE_VALUE_BYTES: usize = 64 << 10;
    /// Most keys of a plugin in all.
    pub const STATE_KEYS: u64 = 100_000;
    /// Most bytes of keys and values of a plugin in all.
    pub const STATE_BYTES: u64 = 64 << 20;
    /// Most follow-up jobs.
    pub const FOLLOW_UPS: u32 = 100;
    /// Most payload bytes of follow-up jobs together.
    pub const FOLLOW_UP_BYTES: usize = 1 << 20;
}
