//! From what a build tool makes to a component: a core module bears its interfaces in a section of its own.

use std::borrow::Cow;

use wasmparser::{Parser, Payload};

use super::scan::INTERFACES;
use crate::error::PluginError;

/// Makes of WASI as it was before components what is there since. It goes along only with a module that needs it.
#[cfg(feature = "wasm-wasi")]
mod adapter {
    pub use wasi_preview1_component_adapter_provider::{
        WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
    };
}

pub(super) fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, PluginError> {
    if Parser::is_component(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    if !says_its_interfaces(bytes) {
        return Err(PluginError::NoInterface);
    }
    let encoder = wit_component::ComponentEncoder::default().module(bytes);
    // Whether it may have what this leads to has been looked at.
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
