//! Distinguishes the process that opened something from its forked children.

/// The process in which something was opened. After a fork the child has a copy of it, but none of its threads, and any lock
/// can be held for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    pub fn current() -> Self {
        Self(std::process::id())
    }

    /// Whether this is still the same process. It costs a system call where processes can fork, and nothing elsewhere.
    pub fn is_this(self) -> bool {
        !cfg!(unix) || self.0 == std::process::id()
    }

    pub fn id(self) -> u32 {
        self.0
    }
}
