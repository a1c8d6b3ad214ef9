//! What [`Plugin::check`](crate::Plugin::check) reports about a plugin.

use serde::Serialize;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;

use super::deployed::Setting;
use super::limits::PluginLimits;
use super::version::Version;
use super::wants;
use crate::job::PluginHash;

/// What a plugin contains, and what it needs. [`Plugin::check`](crate::Plugin::check) returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginInfo {
    /// The plugin's name.
    pub name: String,
    /// The version: the SHA-256 of the file.
    #[serde(serialize_with = "PluginHash::in_hex")]
    pub hash: PluginHash,
    /// The size of the file in bytes.
    pub bytes: usize,
    /// Whether the file is a component. Otherwise it is a core module that describes its interfaces.
    pub is_component: bool,
    /// The interfaces that the plugin imports.
    pub imports: Vec<PluginImport>,
    /// The interfaces that the plugin exports. The handler is one of them.
    pub exports: Vec<String>,
    /// The number of linear memories.
    pub memories: u32,
    /// The initial size of the largest of them, in bytes.
    pub memory_bytes: u64,
    /// The number of tables.
    pub tables: u32,
    /// The initial size of the largest of them, in elements.
    pub table_elements: u64,
    /// The limits of each attempt.
    pub limits: PluginLimits,
}

/// An interface that a plugin imports: see [`PluginInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginImport {
    /// The interface's name, with its version.
    pub interface: String,
    /// The functions that the plugin imports from it.
    pub functions: Vec<String>,
    /// The grant that the interface needs, as Rust code. Without it the plugin or its calls are refused.
    pub grant: Option<&'static str>,
}

impl PluginInfo {
    pub(super) fn of(version: &Version, setting: Setting, bytes: &[u8]) -> Self {
        let component = version.component();
        let (ty, engine) = (component.component_type(), component.engine());
        let imports = ty.imports(engine).map(|(name, item)| {
            let functions = functions(&item.ty, engine);
            PluginImport { interface: name.to_owned(), grant: wants::grant(name, &functions), functions }
        });
        let needs = component.resources_required();
        Self {
            hash: version.hash,
            bytes: bytes.len(),
            is_component: wasmparser::Parser::is_component(bytes),
            imports: imports.collect(),
            exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
            memories: needs.as_ref().map_or(0, |needs| needs.num_memories),
            memory_bytes: needs.as_ref().and_then(|needs| needs.max_initial_memory_size).unwrap_or(0) << 16,
            tables: needs.as_ref().map_or(0, |needs| needs.num_tables),
            table_elements: needs.as_ref().and_then(|needs| needs.max_initial_table_size).unwrap_or(0),
            name: setting.name,
            limits: setting.limits,
        }
    }
}

fn functions(import: &ComponentItem, engine: &Engine) -> Vec<String> {
    let ComponentItem::ComponentInstance(interface) = import else { return Vec::new() };
    let items = interface.exports(engine);
    let functions = items.filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
    functions.map(|(name, _)| name.to_owned()).collect()
}
