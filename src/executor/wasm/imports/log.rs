//! The contract's interface `log`.

use crate::executor::wasm::contract::log::{Host, Level};
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::plain::plain;

impl Host for Guest {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.count_call()?;
        let message = plain(message);
        if matches!(level, Level::Error | Level::Critical) {
            self.note_last_words(&message);
        }
        self.log_line(level, message);
        Ok(())
    }
}

impl Guest {
    /// Logs a printable line, if the attempt's budget has room for it.
    pub(in crate::executor::wasm) fn log_line(&mut self, level: Level, line: String) {
        if self.may_log(line.len()) {
            tell(&self.plugin.name, level, &line);
            self.context.log(line);
        }
    }
}

/// Passes a line on to `tracing`. The guest chooses the level, so an operator filters by the target.
fn tell(plugin: &str, level: Level, message: &str) {
    match level {
        Level::Trace => tracing::trace!(target: "millpond::plugin", plugin, message),
        Level::Debug => tracing::debug!(target: "millpond::plugin", plugin, message),
        Level::Info => tracing::info!(target: "millpond::plugin", plugin, message),
        Level::Warn => tracing::warn!(target: "millpond::plugin", plugin, message),
        Level::Error | Level::Critical => tracing::error!(target: "millpond::plugin", plugin, message),
    }
}
