//! The only unsafe code of this crate: it loads native code that this crate has compiled before.

#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads the output of [`Component::serialize`].
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` must be the unchanged output of `serialize`. The only caller reads it from a file that only the
    // user of this process can write, in a directory that only this user can write to (`cache::private`). The file's
    // checksum matches, and its name is a hash of the component, the engine's settings and this crate's version. A
    // plugin's author cannot reach this line, because precompiled input is refused (`scan::check_head`). The owner of
    // the directory can already do everything that this process can.
    unsafe { Component::deserialize(engine, code) }
}
