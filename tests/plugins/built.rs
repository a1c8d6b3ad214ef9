//! The guests that are committed: the hostile ones, the ones of other versions, and the examples.

use std::path::Path;

use millpond::{Error, Plugin, PluginError};

use super::guest;
use crate::support::*;

/// A file of the project.
pub fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn from_bytes(bytes: impl Into<bytes::Bytes>) -> Plugin {
    Plugin::from_bytes("guest", bytes).unwrap()
}

/// A hostile guest, by its name.
pub fn hostile(name: &str) -> Plugin {
    from_bytes(file(&format!("tests/guests/built/{name}.wasm")))
}

/// The text of a module that no compiler would produce.
pub fn raw_text(name: &str) -> String {
    String::from_utf8(file(&format!("tests/guests/raw/{name}.wat"))).unwrap()
}

/// The module of such a text.
pub fn raw(text: &str) -> Vec<u8> {
    guest::current(text)
}

pub fn noop() -> Vec<u8> {
    file("guest-examples/rust-noop/noop.wasm")
}

/// Registers the plugin, and returns why it was refused if it was.
pub fn register(plugin: Result<Plugin, Error>) -> Result<(), PluginError> {
    let (_, pond) = memory();
    match plugin.and_then(|plugin| pond.worker("q").handle_wasm("job", plugin).start()) {
        Ok(_) => Ok(()),
        Err(Error::Plugin { reason, .. }) => Err(reason),
        Err(other) => panic!("{other:?}"),
    }
}

/// What is too much for the compiler, how much of it there is, and how much is allowed.
pub fn too_complex(bytes: Vec<u8>) -> (&'static str, u64, u64) {
    match register_bytes(bytes) {
        Err(PluginError::TooComplex { what, found, max }) => (what, found, max),
        other => panic!("{other:?}"),
    }
}

pub fn register_bytes(bytes: Vec<u8>) -> Result<(), PluginError> {
    register(Plugin::from_bytes("guest", bytes))
}
