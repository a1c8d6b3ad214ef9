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

/// The number of priorities. 0 runs first, 9 runs last.
pub const PRIORITIES: u8 = 10;

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
    /// The most payload bytes of follow-up jobs together.
    pub const FOLLOW_UP_BYTES: usize = 1 << 20;
}
