//! Counts what a component makes when it is instantiated. If a component instantiates another one twice, which does the
//! same, and so on, a kilobyte can describe a million instances. So each instance is counted every time it is made.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Encoding,
    Instance, Payload,
};

use super::super::sandbox::CORE_INSTANCES_MAX;
use super::refusal::{invalid, starts_within, within};
use crate::error::PluginError;

/// The deepest nesting of components. QuickJS has 1.
const DEPTH_MAX: u64 = 20;

/// The most instances of components. QuickJS has 25.
const INSTANCES_MAX: u64 = 200;

/// The most modules and components in the file, whether they are instantiated or not. CPython has 60.
const PARTS_MAX: u64 = 500;

/// The cost of a module or component by itself, however small it is.
const PART_WORK: u64 = 1_000;

/// The most bytes that are copied or filled in before any code runs, each time that the component is instantiated: data
/// and element segments, imports and globals. This cannot be interrupted. CPython has 10 MB.
const START_BYTES_MAX: u64 = 64 << 20;

/// The most types, aliases, imports, exports, canonical functions and instances of components. CPython has 1,800.
const ITEMS_MAX: u64 = 20_000;

/// The most bytes of the sections that contain these. CPython has 100 KB.
const BYTES_MAX: u64 = 1 << 20;

/// The most canonical functions (lifted or lowered, which cross a component's boundary) of all instances. QuickJS has
/// 120.
const CANONICALS_MAX: u64 = 1_000;

/// The cost of a canonical function. If it leads from one component to another, code is generated for every value that
/// is passed, which takes up to 20 ms.
const CANONICAL_WORK: u64 = 10_000;

/// The cost of any other item.
const ITEM_WORK: u64 = 5;

/// The counts so far, and the modules and components that have begun and not ended yet, the outermost first.
#[derive(Default)]
pub(super) struct Components {
    open: Vec<Open>,
    parts: u64,
    items: u64,
    bytes: u64,
}

enum Open {
    /// A module, with the bytes that an instance of it starts with.
    Module(u64),
    Component(Component),
}

#[derive(Default)]
struct Component {
    /// What the component makes when it is instantiated.
    makes: Made,
    /// The components in its index space, and what each makes. `None` if that is known only at instantiation.
    names: Vec<Option<Made>>,
    /// The modules in its index space, and the bytes that an instance of each starts with. `None` if that is known only
    /// at instantiation.
    modules: Vec<Option<u64>>,
}

#[derive(Clone, Copy, Default)]
struct Made {
    instances: u64,
    core_instances: u64,
    canonicals: u64,
    start_bytes: u64,
}

impl Made {
    fn add(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.canonicals = self.canonicals.saturating_add(other.canonicals);
        self.start_bytes = self.start_bytes.saturating_add(other.start_bytes);
    }
}

impl Components {
    /// Whether this is a module that is part of no component.
    pub fn is_outside(&self) -> bool {
        matches!(self.open[..], [Open::Module(_)])
    }

    /// Adds to the bytes that each instance of the current module starts with.
    pub fn starts_with(&mut self, bytes: u64) {
        if let Some(Open::Module(start)) = self.open.last_mut() {
            *start = start.saturating_add(bytes);
        }
    }

    /// Counts the items of a payload, and returns what they cost.
    ///
    /// # Errors
    /// The payload is not valid, or a count exceeds its limit.
    pub fn count(&mut self, payload: &Payload<'_>) -> Result<u64, PluginError> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.open.push(match encoding {
                    Encoding::Module => Open::Module(0),
                    Encoding::Component => Open::Component(Component::default()),
                });
                within("components within components:", self.open.len() as u64, DEPTH_MAX)?;
                self.parts += 1;
                within("modules and components:", self.parts, PARTS_MAX)?;
                return Ok(PART_WORK);
            }
            Payload::End(_) => return self.end(),
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
                    if let Instance::Instantiate { module_index, .. } = instance.map_err(invalid)? {
                        component.instantiate_module(module_index)?;
                    }
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
                    match import.map_err(invalid)?.ty {
                        ComponentTypeRef::Component(_) => component.names.push(None),
                        ComponentTypeRef::Module(_) => component.modules.push(None),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export.map_err(invalid)?;
                    // An export adds the item to the index space once more.
                    match export.kind {
                        ComponentExternalKind::Component => component.names.push(component.named(export.index)),
                        ComponentExternalKind::Module => component.modules.push(component.module(export.index)),
                        _ => {}
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
        let outer = |count: u32| match self.open.get(self.open.len().checked_sub(1 + count as usize)?)? {
            Open::Component(component) => Some(component),
            Open::Module(_) => None,
        };
        let (mut component, mut module) = (None, None);
        match *alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => component = Some(None),
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => module = Some(None),
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                component = Some(outer(count).and_then(|outer| outer.named(index)));
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                module = Some(outer(count).and_then(|outer| outer.module(index)));
            }
            _ => {}
        }
        if let Some(Open::Component(at_hand)) = self.open.last_mut() {
            at_hand.names.extend(component);
            at_hand.modules.extend(module);
        }
    }

    fn end(&mut self) -> Result<u64, PluginError> {
        let ended = self.open.pop();
        match (ended, self.open.last_mut()) {
            (Some(Open::Module(start)), Some(Open::Component(outer))) => outer.modules.push(Some(start)),
            (Some(Open::Component(ended)), Some(Open::Component(outer))) => {
                // The component's own instance counts too.
                let instances = ended.makes.instances.saturating_add(1);
                outer.names.push(Some(Made { instances, ..ended.makes }));
            }
            (Some(Open::Module(start)), _) => within(START_BYTES, start, START_BYTES_MAX)?,
            (Some(Open::Component(ended)), _) => {
                let Made { instances, core_instances, canonicals, start_bytes } = ended.makes;
                within("instances of components:", instances, INSTANCES_MAX)?;
                within("functions into components and out of them:", canonicals, CANONICALS_MAX)?;
                starts_within("core instances", core_instances, CORE_INSTANCES_MAX)?;
                within(START_BYTES, start_bytes, START_BYTES_MAX)?;
                return Ok(CANONICAL_WORK * canonicals);
            }
            (None, _) => {}
        }
        Ok(0)
    }
}

const START_BYTES: &str = "bytes that instances start with:";

impl Component {
    /// What the component with this index makes. An index out of range is refused by the validation.
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

    fn module(&self, index: u32) -> Option<u64> {
        self.modules.get(index as usize).copied().flatten()
    }

    fn instantiate_module(&mut self, index: u32) -> Result<(), PluginError> {
        let Some(start_bytes) = self.module(index) else {
            return within("instances of modules that are not in it:", 1, 0);
        };
        self.makes.add(Made { core_instances: 1, start_bytes, ..Made::default() });
        Ok(())
    }
}
