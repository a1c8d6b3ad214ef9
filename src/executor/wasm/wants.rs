//! What a component wants, held against what there is and what it may have.

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::limits::PluginLimits;
use super::sandbox::MEMORIES_MAX;
use crate::error::PluginError;

/// The one export that makes a component a handler.
pub(super) const HANDLER: &str = "millpond:jobs/handler@0.1.0";

/// Interfaces that are there for everybody.
const OFFERED: [&str; 9] = ["types", "attempt", "log", "config", "state", "enqueue", "progress", "clock", "random"];

pub(super) fn check(component: &Component, limits: &PluginLimits) -> Result<(), PluginError> {
    let ty = component.component_type();
    for (import, item) in ty.imports(component.engine()) {
        let offered = matches!(item.ty, ComponentItem::ComponentInstance(_)) && is_offered(import);
        if !offered {
            return Err(PluginError::UnknownImport { import: import.to_owned() });
        }
    }
    check_size(component, limits)
}

/// The interface of our package that `name` means, of whatever version: the linker says whether it fits.
fn interface(name: &str) -> Option<&str> {
    Some(name.strip_prefix("millpond:jobs/")?.split_once('@')?.0)
}

fn is_offered(import: &str) -> bool {
    interface(import).is_some_and(|interface| OFFERED.contains(&interface))
}

fn check_size(component: &Component, limits: &PluginLimits) -> Result<(), PluginError> {
    let Some(needs) = component.resources_required() else {
        return Err(PluginError::UnknownImport { import: "another component or module".into() });
    };
    let sizes = [
        ("memories", Some(u64::from(needs.num_memories)), MEMORIES_MAX),
        ("bytes of memory", needs.max_initial_memory_size.map(|pages| pages << 16), limits.memory_bytes as u64),
        ("elements in a table", needs.max_initial_table_size, limits.table_elements as u64),
    ];
    for (what, needs, limit) in sizes {
        if let Some(needs) = needs.filter(|&needs| needs > limit) {
            return Err(PluginError::OverLimits { what, needs, limit });
        }
    }
    Ok(())
}
