use crate::executor::wasm::contract::log::{Host, Level};
use crate::executor::wasm::guest::Guest;

impl Host for Guest {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.count_call()?;
        let message = plain(message);
        if matches!(level, Level::Error | Level::Critical) {
            self.note_last_words(&message);
        }
        if self.may_log(message.len()) {
            tell(&self.plugin.name, level, &message);
            self.context.log(message);
        }
        Ok(())
    }
}

/// What would move a terminal's cursor, colour it or end the line is shown instead of done.
fn plain(message: String) -> String {
    let harmless = |c: char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if message.chars().all(harmless) {
        return message;
    }
    let mut plain = String::with_capacity(message.len() + 16);
    for c in message.chars() {
        match harmless(c) {
            true => plain.push(c),
            false => plain.extend(c.escape_default()),
        }
    }
    plain
}

/// The level is the guest's own word: an operator filters by the target.
fn tell(plugin: &str, level: Level, message: &str) {
    match level {
        Level::Trace => tracing::trace!(target: "millpond::plugin", plugin, message),
        Level::Debug => tracing::debug!(target: "millpond::plugin", plugin, message),
        Level::Info => tracing::info!(target: "millpond::plugin", plugin, message),
        Level::Warn => tracing::warn!(target: "millpond::plugin", plugin, message),
        Level::Error | Level::Critical => tracing::error!(target: "millpond::plugin", plugin, message),
    }
}
