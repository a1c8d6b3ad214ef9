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

/// A plugin's code, compiled. It does not depend on what the plugin may, so plugins that differ in that share it.
#[derive(Clone)]
pub(super) struct Code {
    hash: PluginHash,
    component: Component,
}

/// One version of a plugin, ready to be run: everything that can be done once is done.
pub(super) struct Version {
    pub hash: PluginHash,
    pub pre: JobHandlerPre<Guest>,
}

impl Version {
    pub fn hash(bytes: &[u8]) -> PluginHash {
        PluginHash::new(Sha256::digest(bytes).into())
    }

    pub fn component(&self) -> &Component {
        self.pre.instance_pre().component()
    }

    /// Checks it and compiles it, which may take seconds, unless `code` is there already. None of its code runs.
    pub fn make(
        bytes: &[u8],
        code: &OnceLock<Code>,
        setting: &Setting,
        sandbox: &Sandbox,
    ) -> Result<Self, PluginError> {
        // What reads files of strangers may have a mistake that one of them finds.
        let made = panics::catch(|| Self::checked(bytes, code, setting, sandbox));
        made.unwrap_or_else(|panic| Err(PluginError::NotCompiled { detail: format!("reading it panicked: {panic}") }))
    }

    fn checked(bytes: &[u8], code: &OnceLock<Code>, setting: &Setting, sandbox: &Sandbox) -> Result<Self, PluginError> {
        scan::check_head(bytes)?;
        check_expected(bytes, setting)?;
        match code.get() {
            // These very bytes were validated when they were compiled. The limits of this setting may be lower.
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
/// Another version is expected.
fn check_expected(bytes: &[u8], setting: &Setting) -> Result<(), PluginError> {
    let Some(expected) = setting.expected else { return Ok(()) };
    let found = Version::hash(bytes);
    if found == expected { Ok(()) } else { Err(PluginError::UnexpectedVersion { expected, found }) }
}

/// From the cache, or by the compiler.
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

/// What the compiler says of a function that breaks the rules: they are checked as it gets to them.
const INVALID_FUNCTION: &str = "Invalid input WebAssembly code";

fn refused(error: &wasmtime::Error) -> PluginError {
    let detail = format!("{error:#}");
    let invalid = error.downcast_ref::<wasmparser::BinaryReaderError>().is_some() || detail.contains(INVALID_FUNCTION);
    if invalid { PluginError::Invalid { detail } } else { PluginError::NotCompiled { detail } }
}
