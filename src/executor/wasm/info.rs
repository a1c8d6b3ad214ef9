use serde::{Serialize, Serializer};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;

use super::deployed::Setting;
use super::limits::PluginLimits;
use super::version::Version;
use super::wants;
use crate::job::PluginHash;

/// What a plugin is and what it wants: see [`Plugin::check`](crate::Plugin::check).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginInfo {
    /// What it is known by.
    pub name: String,
    /// Its version.
    #[serde(serialize_with = "in_hex")]
    pub hash: PluginHash,
    /// Its file's size.
    pub bytes: usize,
    /// It is a component; otherwise a core module that says its interfaces.
    pub is_component: bool,
    /// The interfaces that it uses.
    pub imports: Vec<PluginImport>,
    /// The interfaces that it offers: its handler is one.
    pub exports: Vec<String>,
    /// How many linear memories it has.
    pub memories: u32,
    /// Bytes of the largest of them at its start.
    pub memory_bytes: u64,
    /// How many tables of functions it has.
    pub tables: u32,
    /// Elements of the largest of them at its start.
    pub table_elements: u64,
    /// What each attempt may use.
    pub limits: PluginLimits,
}

/// An interface that a plugin uses: see [`PluginInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginImport {
    /// Its name, with its version.
    pub interface: String,
    /// What it calls of it.
    pub functions: Vec<String>,
    /// What it has to be granted, or else these calls are refused.
    pub grant: Option<&'static str>,
}

impl PluginInfo {
    pub(super) fn of(version: &Version, setting: Setting, bytes: &[u8]) -> Self {
        let component = version.component();
        let (ty, engine) = (component.component_type(), component.engine());
        let imports = ty.imports(engine).map(|(name, item)| PluginImport {
            interface: name.to_owned(),
            functions: functions(&item.ty, engine),
            grant: wants::grant(name),
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

fn in_hex<S: Serializer>(hash: &PluginHash, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(hash)
}
