//! What keeps the queue from doing its work.

/// What keeps the queue from doing its work.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Why the file cannot be written for now: callers are turned away and nothing starts.
    pub unwritable: Option<String>,
    /// Why async handlers cannot run any more: calls still work.
    pub runtime_ended: Option<&'static str>,
}

impl Health {
    /// What an operator is to know, the worst first.
    pub fn degraded(&self) -> Option<String> {
        self.unwritable.clone().or_else(|| self.runtime_ended.map(str::to_owned))
    }
}
