//! Turns a core module into a component. The module describes its interfaces in a custom section, as the build tools
//! write it.

use std::borrow::Cow;

use wasmparser::{Parser, Payload};

use super::scan::INTERFACES;
use crate::error::PluginError;

/// The adapter that implements WASI preview 1 with WASI 0.2. The encoder adds it only to a module that imports preview
/// 1.
#[cfg(feature = "wasm-wasi")]
mod adapter {
    pub use wasi_preview1_component_adapter_provider::{
        WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
    };
}

/// Returns the bytes as a component: unchanged if they are one already.
///
/// # Errors
/// The module describes no interfaces, or they do not fit its imports and exports.
pub(super) fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, PluginError> {
    if Parser::is_component(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    if !says_its_interfaces(bytes) {
        return Err(PluginError::NoInterface);
    }
    let encoder = wit_component::ComponentEncoder::default().module(bytes);
    // Whether the plugin is granted the imports that this adds was checked before (`wants::check_module`).
    #[cfg(feature = "wasm-wasi")]
    let encoder = encoder.and_then(|encoder| encoder.adapter(adapter::NAME, adapter::REACTOR));
    let encoded = encoder.and_then(|mut encoder| encoder.encode());
    match encoded {
        Ok(component) => Ok(Cow::Owned(component)),
        Err(error) => Err(PluginError::Invalid { detail: format!("{error:#}") }),
    }
}

fn says_its_interfaces(module: &[u8]) -> bool {
    let mut payloads = Parser::new(0).parse_all(module);
    payloads.any(|payload| match payload {
        Ok(Payload::CustomSection(section)) => section.name().starts_with(INTERFACES),
        _ => false,
    })
}
