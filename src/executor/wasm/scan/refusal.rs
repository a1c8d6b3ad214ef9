//! The errors of a plugin that is refused for its size or its form.

use crate::error::PluginError;

pub(in crate::executor::wasm) fn starts_within(what: &'static str, needs: u64, limit: u64) -> Result<(), PluginError> {
    if needs > limit { Err(PluginError::OverLimits { what, needs, limit }) } else { Ok(()) }
}

pub(super) fn within(what: &'static str, found: u64, max: u64) -> Result<(), PluginError> {
    if found > max { Err(PluginError::TooComplex { what, found, max }) } else { Ok(()) }
}

pub(super) fn invalid(error: wasmparser::BinaryReaderError) -> PluginError {
    PluginError::Invalid { detail: error.to_string() }
}
