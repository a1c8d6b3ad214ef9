//! The only unsafe line of this crate: native code that this crate has compiled becomes runnable again.

#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads what [`Component::serialize`] has made.
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` must be what `serialize` made and nobody has changed. Its only caller reads it from a file
    // that it wrote itself, in a directory that nobody but its owner can write to, whose checksum matches, and
    // whose name says that it was made of this component, by this build, for this engine. A plugin's author
    // never gets here: precompiled input is refused before it is looked at. Whoever owns the directory can
    // already do what this process can.
    unsafe { Component::deserialize(engine, code) }
}
