//! One version of a plugin: its code is checked, compiled and linked.

use std::borrow::Cow;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::cache::Cached;
use super::contract::JobHandlerPre;
use super::deployed::Setting;
use super::grant::Grant;
use super::guest::Guest;
use super::sandbox::Sandbox;
use super::{compiler, encode, imports, scan, wants};
use crate::error::PluginError;
use crate::executor::panics;
use crate::job::PluginHash;

/// The compiled code of a plugin. It does not depend on the plugin's grants and limits, so clones with other settings
/// share it.
#[derive(Clone)]
pub(super) struct Code {
    hash: PluginHash,
    component: Component,
}

/// One version of a plugin, ready to be run: everything that can be prepared once for all attempts is done.
pub(super) struct Version {
    pub hash: PluginHash,
    pub pre: JobHandlerPre<Guest>,
}

impl Version {
    /// The version that these bytes are.
    pub fn hash(bytes: &[u8]) -> PluginHash {
        PluginHash::new(Sha256::digest(bytes).into())
    }

    pub fn component(&self) -> &Component {
        self.pre.instance_pre().component()
    }

    /// Checks and links a plugin, and compiles it unless `code` is set already. Compiling can take seconds. None of the
    /// plugin's code runs.
    ///
    /// # Errors
    /// The reason why the plugin is refused.
    pub fn make(
        bytes: &[u8],
        code: &OnceLock<Code>,
        setting: &Setting,
        sandbox: &Sandbox,
    ) -> Result<Self, PluginError> {
        // The libraries that parse and compile untrusted files can have bugs that make them panic.
        let made = panics::catch(|| Self::checked(bytes, code, setting, sandbox));
        made.unwrap_or_else(|panic| Err(PluginError::NotCompiled { detail: format!("reading it panicked: {panic}") }))
    }

    fn checked(bytes: &[u8], code: &OnceLock<Code>, setting: &Setting, sandbox: &Sandbox) -> Result<Self, PluginError> {
        scan::check_head(bytes)?;
        check_expected(bytes, setting)?;
        match code.get() {
            // The same bytes were validated when they were compiled. The limits of this setting can be lower.
            Some(_) => scan::check_around(bytes, &setting.limits)?,
            None => scan::check_cost(bytes, &setting.limits)?,
        }
        wants::check_module(bytes, &setting.grants)?;
        let Code { hash, component } = match code.get() {
            Some(code) => code.clone(),
            None => {
                let component = encode::component(bytes)?;
                if let Cow::Owned(component) = &component {
                    scan::check_around(component, &setting.limits)?;
                }
                let component = compiled(&component, setting, &sandbox.engine)?;
                let made = Code { hash: Self::hash(bytes), component };
                code.get_or_init(|| made).clone()
            }
        };
        wants::check(&component, setting)?;
        let mut linker = Linker::new(&sandbox.engine);
        let not_compiled = |error: wasmtime::Error| PluginError::NotCompiled { detail: format!("{error:#}") };
        imports::add_to(&mut linker, setting.grants.iter().any(Grant::is_http)).map_err(not_compiled)?;
        #[cfg(feature = "wasm-wasi")]
        super::wasi::add_to(&mut linker, &component).map_err(not_compiled)?;
        let linked = linker.instantiate_pre(&component);
        let linked = linked.map_err(|error| PluginError::UnknownImport { import: format!("{error:#}") })?;
        wants::check_handler(&component)?;
        let pre = JobHandlerPre::new(linked).map_err(|_| PluginError::NoHandler { export: wants::HANDLER })?;
        Ok(Self { hash, pre })
    }
}

/// # Errors
/// The setting expects another version.
fn check_expected(bytes: &[u8], setting: &Setting) -> Result<(), PluginError> {
    let Some(expected) = setting.expected else { return Ok(()) };
    let found = Version::hash(bytes);
    if found == expected { Ok(()) } else { Err(PluginError::UnexpectedVersion { expected, found }) }
}

/// Loads the component from the cache, or compiles it and puts it there.
fn compiled(component: &[u8], setting: &Setting, engine: &Engine) -> Result<Component, PluginError> {
    let cached = setting.cache.as_ref().and_then(|directory| Cached::at(directory, engine, component));
    if let Some(component) = cached.as_ref().and_then(|cached| cached.load(engine)) {
        return Ok(component);
    }
    let compiled = compiler::compile(engine, component).map_err(|error| refused(&error))?;
    if let Some(cached) = cached {
        cached.keep(&compiled);
    }
    Ok(compiled)
}

/// Part of the compiler's message about an invalid function. The compiler validates each function when it compiles it.
const INVALID_FUNCTION: &str = "Invalid input WebAssembly code";

fn refused(error: &wasmtime::Error) -> PluginError {
    let detail = format!("{error:#}");
    let invalid = error.downcast_ref::<wasmparser::BinaryReaderError>().is_some() || detail.contains(INVALID_FUNCTION);
    if invalid { PluginError::Invalid { detail } } else { PluginError::NotCompiled { detail } }
}
