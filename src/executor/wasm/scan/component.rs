//! What a component brings into being. One that instantiates another twice, which does so again, and so on, has a million instances
//! in a kilobyte: so they are counted each time that they are made.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Encoding,
    Instance, Payload,
};

use super::super::sandbox::CORE_INSTANCES_MAX;
use super::{invalid, starts_within, within};
use crate::error::PluginError;

/// Components within components. QuickJS has 1.
const DEPTH_MAX: u64 = 20;

/// Instances of components. QuickJS has 25.
const INSTANCES_MAX: u64 = 200;

/// Types, aliases, imports, exports, functions and instances of components. CPython has 1,800.
const ITEMS_MAX: u64 = 20_000;

/// Bytes of the sections that have these. CPython has 100 KB.
const BYTES_MAX: u64 = 1 << 20;

/// Functions that go into components and out of them, each time that the component is instantiated. QuickJS has 120. Where one
/// leads from a component to another, code is made for all that is passed: that takes up to a hundredth of a second.
const CANONICALS_MAX: u64 = 4_000;

/// What any other item costs.
const ITEM_WORK: u64 = 5;

/// The components that were begun and not ended yet, from the outside in.
#[derive(Default)]
pub(super) struct Components {
    open: Vec<Open>,
    items: u64,
    bytes: u64,
}

enum Open {
    Module,
    Component(Component),
}

#[derive(Default)]
struct Component {
    /// What it makes when it is instantiated.
    makes: Made,
    /// The components that it can name, and what each makes; none if that is known only when it is instantiated.
    names: Vec<Option<Made>>,
}

#[derive(Clone, Copy, Default)]
struct Made {
    instances: u64,
    core_instances: u64,
    canonicals: u64,
}

impl Made {
    fn add(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.canonicals = self.canonicals.saturating_add(other.canonicals);
    }
}

impl Components {
    /// Whether this is a module that is part of no component.
    pub fn is_outside(&self) -> bool {
        matches!(self.open[..], [Open::Module])
    }

    /// Counts what the payload brings, and says what it costs.
    pub fn count(&mut self, payload: &Payload<'_>) -> Result<u64, PluginError> {
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => self.open.push(Open::Module),
            Payload::Version { encoding: Encoding::Component, .. } => {
                self.open.push(Open::Component(Component::default()));
                within("components within components:", self.open.len() as u64, DEPTH_MAX)?;
            }
            Payload::End(_) => self.end()?,
            _ => {}
        }
        let Some(Open::Component(component)) = self.open.last_mut() else { return Ok(0) };
        let (items, range) = match payload {
            Payload::ComponentTypeSection(section) => (section.count(), section.range()),
            Payload::CoreTypeSection(section) => (section.count(), section.range()),
            Payload::ComponentCanonicalSection(section) => (section.count(), section.range()),
            Payload::ComponentAliasSection(section) => (section.count(), section.range()),
            Payload::ComponentImportSection(section) => (section.count(), section.range()),
            Payload::ComponentExportSection(section) => (section.count(), section.range()),
            Payload::InstanceSection(section) => (section.count(), section.range()),
            Payload::ComponentInstanceSection(section) => (section.count(), section.range()),
            _ => return Ok(0),
        };
        self.items += u64::from(items);
        self.bytes += range.len() as u64;
        within("items of components:", self.items, ITEMS_MAX)?;
        within("bytes of items of components:", self.bytes, BYTES_MAX)?;
        match payload {
            Payload::ComponentCanonicalSection(_) => component.makes.canonicals += u64::from(items),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    let is_made = matches!(instance.map_err(invalid)?, Instance::Instantiate { .. });
                    component.makes.core_instances += u64::from(is_made);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance.map_err(invalid)? {
                        component.instantiate(component_index)?;
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    if let ComponentTypeRef::Component(_) = import.map_err(invalid)?.ty {
                        component.names.push(None);
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export.map_err(invalid)?;
                    if export.kind == ComponentExternalKind::Component {
                        // It is named once more by that.
                        component.names.push(component.named(export.index));
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias.map_err(invalid)?);
                }
            }
            _ => {}
        }
        Ok(ITEM_WORK * u64::from(items))
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        let made = match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => None,
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let at = self.open.len().checked_sub(1 + *count as usize);
                at.and_then(|at| match &self.open[at] {
                    Open::Component(component) => component.named(*index),
                    Open::Module => None,
                })
            }
            _ => return,
        };
        if let Some(Open::Component(component)) = self.open.last_mut() {
            component.names.push(made);
        }
    }

    fn end(&mut self) -> Result<(), PluginError> {
        let Some(Open::Component(ended)) = self.open.pop() else { return Ok(()) };
        let Made { instances, core_instances, canonicals } = ended.makes;
        match self.open.last_mut() {
            Some(Open::Component(outer)) => {
                // With itself.
                outer.names.push(Some(Made { instances: instances.saturating_add(1), ..ended.makes }));
                Ok(())
            }
            _ => {
                within("instances of components:", instances, INSTANCES_MAX)?;
                within("functions into components and out of them:", canonicals, CANONICALS_MAX)?;
                starts_within("core instances", core_instances, CORE_INSTANCES_MAX)
            }
        }
    }
}

impl Component {
    /// An index that means nothing is refused by the validation.
    fn named(&self, index: u32) -> Option<Made> {
        self.names.get(index as usize).copied().flatten()
    }

    fn instantiate(&mut self, index: u32) -> Result<(), PluginError> {
        let Some(made) = self.named(index) else {
            return within("instances of components that are not in it:", 1, 0);
        };
        self.makes.add(made);
        Ok(())
    }
}
