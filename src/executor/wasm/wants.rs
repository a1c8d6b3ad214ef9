//! Checks a component's imports, exports and sizes: whether the host offers them, the plugin is granted them, and its
//! limits allow them.

use wasmparser::{Parser, Payload};
use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{Component, Type};

use super::deployed::Setting;
use super::grant::Grant;
use super::limits::PluginLimits;
use super::sandbox::{MEMORIES_MAX, TABLES_MAX};
use super::scan::starts_within;
use crate::error::PluginError;

/// The export that makes a component a handler.
pub(super) const HANDLER: &str = "millpond:jobs/handler@0.1.3";

/// The interfaces of the contract that every plugin can import.
const OFFERED: [&str; 14] = [
    "types", "attempt", "outcome", "log", "config", "state", "enqueue", "steps", "flow", "streams", "topics",
    "progress", "clock", "random",
];

/// The interface of the contract that a plugin can import if it is granted hosts.
const HTTP: &str = "outbound-http";

const HTTP_GRANT: &str = "Grant::http(Allow::https(\"...\"))";
const STDIO_GRANT: &str = "Grant::stdio()";

/// The module name of WASI preview 1, which core modules import.
const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// The packages of WASI 0.2 that a plugin can import if it is granted standard output. Build tools import them all for
/// a program that only prints.
const WASI: [&str; 6] = ["cli/", "clocks/", "filesystem/", "io/", "random/", "sockets/"];

/// # Errors
/// An import is unknown or not granted, or a size is over its limit.
pub(super) fn check(component: &Component, setting: &Setting) -> Result<(), PluginError> {
    let ty = component.component_type();
    for (import, item) in ty.imports(component.engine()) {
        let is_interface = matches!(item.ty, ComponentItem::ComponentInstance(_));
        match interface(import) {
            Some(interface) if is_interface && OFFERED.contains(&interface) => {}
            Some(HTTP) if is_interface => http(import, &setting.grants)?,
            None if is_interface && wasi_interface(import).is_some() => stdio(import, &setting.grants)?,
            _ => return Err(PluginError::UnknownImport { import: import.to_owned() }),
        }
    }
    check_size(component, &setting.limits)
}

/// Checks the imports of a core module that encoding it as a component replaces: WASI preview 1.
pub(super) fn check_module(bytes: &[u8], grants: &[Grant]) -> Result<(), PluginError> {
    if Parser::is_component(bytes) || !imports_wasi(bytes) { Ok(()) } else { stdio(WASI_MODULE, grants) }
}

fn imports_wasi(module: &[u8]) -> bool {
    let mut payloads = Parser::new(0).parse_all(module);
    payloads.any(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => {
            imports.into_imports().any(|import| import.is_ok_and(|import| import.module == WASI_MODULE))
        }
        _ => false,
    })
}

fn http(import: &str, grants: &[Grant]) -> Result<(), PluginError> {
    let is_granted = grants.iter().any(Grant::is_http);
    granted(import, is_granted, cfg!(feature = "wasm-http"), "wasm-http", HTTP_GRANT)
}

fn stdio(import: &str, grants: &[Grant]) -> Result<(), PluginError> {
    let is_granted = grants.iter().any(Grant::is_stdio);
    granted(import, is_granted, cfg!(feature = "wasm-wasi"), "wasm-wasi", STDIO_GRANT)
}

fn granted(
    import: &str,
    is_granted: bool,
    is_built: bool,
    feature: &'static str,
    grant: &'static str,
) -> Result<(), PluginError> {
    let import = import.to_owned();
    match (is_built, is_granted) {
        (false, _) => Err(PluginError::FeatureOff { import, feature }),
        (true, false) => Err(PluginError::MissingGrant { import, grant }),
        (true, true) => Ok(()),
    }
}

/// The interface of WASI 0.2 that `name` stands for, of any patch version.
pub(super) fn wasi_interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix("wasi:")?.split_once('@')?;
    let is_known = version.starts_with("0.2.") && WASI.iter().any(|package| interface.starts_with(package));
    is_known.then_some(interface)
}

/// Checks that the component exports a handler of the contract's type. The linker does not check it: a handler of
/// another type would break at each call.
pub(super) fn check_handler(component: &Component) -> Result<(), PluginError> {
    let (ty, engine) = (component.component_type(), component.engine());
    let handler = ty.exports(engine).find(|(name, _)| interface(name) == Some("handler"));
    let Some((export, item)) = handler else { return Err(PluginError::NoHandler { export: HANDLER }) };
    let ComponentItem::ComponentInstance(instance) = item.ty else {
        return Err(PluginError::NoHandler { export: HANDLER });
    };
    let is_ours = instance.exports(engine).any(|(name, item)| match item.ty {
        ComponentItem::ComponentFunc(handle) => name == "handle" && is_our_type(&handle),
        _ => false,
    });
    if is_ours { Ok(()) } else { Err(PluginError::OtherHandler { export: export.to_owned() }) }
}

/// Whether the function is `func(payload: list<u8>) -> result<list<u8>, handle-error>`, as in the contract.
fn is_our_type(handle: &types::ComponentFunc) -> bool {
    let params: Vec<Type> = handle.params().map(|(_, ty)| ty).collect();
    let results: Vec<Type> = handle.results().collect();
    let ([payload], [Type::Result(answer)]) = (&params[..], &results[..]) else { return false };
    is_bytes(payload) && answer.ok().is_some_and(|ok| is_bytes(&ok)) && answer.err().is_some_and(|err| is_error(&err))
}

fn is_bytes(ty: &Type) -> bool {
    matches!(ty, Type::List(list) if list.ty() == Type::U8)
}

fn is_error(ty: &Type) -> bool {
    let Type::Variant(variant) = ty else { return false };
    let cases: Vec<_> = variant.cases().map(|case| (case.name, case.ty)).collect();
    match &cases[..] {
        [
            ("retry", Some(retry)),
            ("cancel", Some(Type::String)),
            ("dead-letter", Some(Type::String)),
            ("snooze", Some(Type::U64)),
        ] => is_retry(retry),
        _ => false,
    }
}

fn is_retry(ty: &Type) -> bool {
    let Type::Record(record) = ty else { return false };
    let fields: Vec<_> = record.fields().map(|field| (field.name, field.ty)).collect();
    match &fields[..] {
        [("reason", Type::String), ("delay", Type::Option(delay))] => delay.ty() == Type::U64,
        _ => false,
    }
}

/// The interface of the contract that `name` stands for, of any version. The linker checks whether the version fits.
fn interface(name: &str) -> Option<&str> {
    Some(name.strip_prefix("millpond:jobs/")?.split_once('@')?.0)
}

/// The grant that calls of these functions of an import need, as Rust code.
pub(super) fn grant(import: &str, functions: &[String]) -> Option<&'static str> {
    match interface(import) {
        // What makes entries and messages is in this interface too, and needs no grant of its own.
        Some("enqueue") if !functions.iter().any(|function| function.starts_with("enqueue")) => None,
        Some("enqueue") => Some("Grant::enqueue(kind)"),
        Some("streams") => Some("Grant::append(kind).to_stream(name)"),
        Some("topics") => Some("Grant::publish(kind).to_topic(name)"),
        Some("outcome") => Some("Grant::rate_limit()"),
        Some("flow") => Some("Grant::flow_results()"),
        Some(HTTP) => Some(HTTP_GRANT),
        None if wasi_interface(import).is_some() => Some(STDIO_GRANT),
        _ => None,
    }
}

fn check_size(component: &Component, limits: &PluginLimits) -> Result<(), PluginError> {
    let Some(needs) = component.resources_required() else {
        return Err(PluginError::UnknownImport { import: "another component or module".into() });
    };
    let sizes = [
        ("memories", Some(u64::from(needs.num_memories)), MEMORIES_MAX),
        ("tables", Some(u64::from(needs.num_tables)), TABLES_MAX),
        ("bytes of memory", needs.max_initial_memory_size.map(|pages| pages << 16), limits.memory_bytes as u64),
        ("elements in a table", needs.max_initial_table_size, limits.table_elements as u64),
    ];
    for (what, needs, limit) in sizes {
        needs.map_or(Ok(()), |needs| starts_within(what, needs, limit))?;
    }
    Ok(())
}
