//! Checks a file before it is compiled.
//!
//! The compiler can need minutes, or more memory than the machine has, for a hostile file of a few kilobytes. It cannot
//! be stopped, and the process ends if memory runs out. So the file is validated here, the cost of compiling it is
//! estimated ([`function`], [`component`]), and a file that would cost too much is refused.
//!
//! The unit of the estimate is the cost of a plain instruction: about a microsecond. Each limit is several times what
//! the largest real plugins need: CPython and StarlingMonkey, the JavaScript engine of Firefox.

mod component;
mod function;
mod refusal;

use wasmparser::{
    CompositeInnerType, ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader,
    Encoding, FuncValidatorAllocations, FunctionSectionReader, GlobalSectionReader, Parser, Payload, TypeSectionReader,
    ValidPayload, Validator,
};
use wasmtime::Engine;

use self::component::Components;
pub(super) use self::refusal::starts_within;
use self::refusal::{invalid, within};
use super::limits::PluginLimits;
use super::sandbox::{FEATURES, MEMORIES_MAX, TABLES_MAX};
use crate::error::PluginError;

/// The largest file in bytes. CPython with its libraries has 20 MB.
pub(super) const BYTES_MAX: usize = 32 << 20;

/// The most functions. CPython has 13,500.
const FUNCTIONS_MAX: u64 = 50_000;

/// The most function types. CPython has 1,300. A type with its glue code takes up to 8 KB.
const TYPES_MAX: u64 = 20_000;

/// The most parameters, and the most results, of a function or a block. CPython's functions have up to 18 and 1.
const VALUES_MAX: u64 = 100;

/// The most functions in tables. StarlingMonkey has 7,800. The compiler needs 2.3 KB for each.
const ELEMENTS_MAX: u64 = 100_000;

/// The most imports, exports, globals, data segments and element segments together. StarlingMonkey has 10,000 data
/// segments.
const ENTRIES_MAX: u64 = 100_000;

/// The most data and element segments of a module. If they cannot be laid out at compile time, the compiler makes a
/// function that copies one after another. StarlingMonkey has 10,000.
const SEGMENTS_MAX: u64 = 15_000;

/// The basic blocks of that function for each segment.
const SEGMENT_BLOCKS: u64 = 5;

/// The most bytes of constant expressions, such as the values of globals. They are evaluated each time that a module is
/// instantiated. StarlingMonkey has 60 KB.
const CONSTANT_BYTES_MAX: u64 = 1 << 20;

/// The bytes that an instance needs for an entry, and for a function in a table.
const ENTRY_BYTES: u64 = 32;
const ELEMENT_BYTES: u64 = 8;

/// The most bytes of a core module's description of its interfaces. The whole contract has 12 KB.
const INTERFACE_BYTES_MAX: u64 = 256 << 10;

/// The highest cost of the whole file. StarlingMonkey has 17 million, CPython 11 million. The compiler needs about 20 s
/// of processor time for a file at the limit.
const WORK_MAX: u64 = 30_000_000;

/// The cost of a function, and of each of its parameters and results, in addition to its instructions.
const FUNCTION_WORK: u64 = 130;
const FUNCTION_VALUE_WORK: u64 = 4;

/// The cost of a function type, and of each of its parameters and results. The compiler generates code for each type
/// that calls into the sandbox and out of it.
const TYPE_WORK: u64 = 60;
const TYPE_VALUE_WORK: u64 = 9;

const ELEMENT_WORK: u64 = 6;
const ENTRY_WORK: u64 = 5;

/// Checks the first bytes and the size of a file.
pub(super) fn check_head(bytes: &[u8]) -> Result<(), PluginError> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(PluginError::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(PluginError::NotWasm);
    }
    if bytes.len() > BYTES_MAX {
        return Err(PluginError::TooLarge { len: bytes.len(), max: BYTES_MAX });
    }
    Ok(())
}

/// Validates a whole module or component, and estimates the cost of compiling it. The initial memories and tables are
/// checked against the limits as well, because the engine's own error would not name the limit.
pub(super) fn check_cost(bytes: &[u8], limits: &PluginLimits) -> Result<(), PluginError> {
    let mut scan = Scan::default();
    let mut validator = Validator::new_with_features(FEATURES);
    let mut allocations = FuncValidatorAllocations::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(invalid)?;
        // Counted first, so that validating it is bounded as well.
        scan.count(&payload, limits)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            let mut validator = function.into_validator(std::mem::take(&mut allocations));
            scan.add(function::check(&body, &mut validator)?)?;
            allocations = validator.into_allocations();
        }
    }
    Ok(())
}

/// Checks the counts of a component without validating its functions. For a component that was encoded from a module
/// whose code was checked before, and for a file that was compiled before.
pub(super) fn check_around(component: &[u8], limits: &PluginLimits) -> Result<(), PluginError> {
    let mut scan = Scan::default();
    for payload in Parser::new(0).parse_all(component) {
        scan.count(&payload.map_err(invalid)?, limits)?;
    }
    Ok(())
}

/// What was counted so far.
#[derive(Default)]
struct Scan {
    work: u64,
    functions: u64,
    types: u64,
    elements: u64,
    entries: u64,
    constant_bytes: u64,
    /// The segments of the current module.
    segments: u64,
    memories: u64,
    tables: u64,
    interface_bytes: u64,
    components: Components,
    /// The number of parameters and results of each type of the current module.
    arities: Vec<u64>,
}

impl Scan {
    fn add(&mut self, work: u64) -> Result<(), PluginError> {
        self.work = self.work.saturating_add(work);
        within("estimated work:", self.work, WORK_MAX)
    }

    fn count(&mut self, payload: &Payload<'_>, limits: &PluginLimits) -> Result<(), PluginError> {
        let work = self.components.count(payload)?;
        self.add(work)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => {
                self.arities.clear();
                self.segments = 0;
            }
            Payload::TypeSection(types) => self.types(types)?,
            Payload::FunctionSection(functions) => self.functions(functions)?,
            Payload::ElementSection(segments) => self.elements(segments)?,
            Payload::ImportSection(section) => self.entries(section.count())?,
            Payload::ExportSection(section) => self.entries(section.count())?,
            Payload::GlobalSection(section) => self.globals(section)?,
            Payload::DataSection(section) => self.data(section)?,
            Payload::MemorySection(section) => {
                self.memories += u64::from(section.count());
                starts_within("memories", self.memories, MEMORIES_MAX)?;
                for memory in section.clone() {
                    let pages = memory.map_err(invalid)?.initial;
                    let limit = limits.memory_bytes as u64;
                    starts_within("bytes of memory", pages.saturating_mul(PAGE_BYTES), limit)?;
                }
            }
            Payload::TableSection(section) => {
                self.tables += u64::from(section.count());
                starts_within("tables", self.tables, TABLES_MAX)?;
                for table in section.clone() {
                    let elements = table.map_err(invalid)?.ty.initial;
                    starts_within("elements in a table", elements, limits.table_elements as u64)?;
                }
            }
            Payload::CustomSection(section)
                if self.components.is_outside() && section.name().starts_with(INTERFACES) =>
            {
                self.interfaces(section.data())?;
            }
            _ => {}
        }
        Ok(())
    }

    fn types(&mut self, types: &TypeSectionReader<'_>) -> Result<(), PluginError> {
        self.types += u64::from(types.count());
        within("types:", self.types, TYPES_MAX)?;
        for group in types.clone() {
            for ty in group.map_err(invalid)?.types() {
                let CompositeInnerType::Func(function) = &ty.composite_type.inner else {
                    self.arities.push(0);
                    continue;
                };
                let (params, results) = (function.params().len() as u64, function.results().len() as u64);
                within("parameters of a function or block:", params, VALUES_MAX)?;
                within("results of a function or block:", results, VALUES_MAX)?;
                self.arities.push(params + results);
                self.add(TYPE_WORK + TYPE_VALUE_WORK * (params + results))?;
            }
        }
        Ok(())
    }

    fn functions(&mut self, functions: &FunctionSectionReader<'_>) -> Result<(), PluginError> {
        self.functions += u64::from(functions.count());
        within("functions:", self.functions, FUNCTIONS_MAX)?;
        for ty in functions.clone() {
            let arity = self.arities.get(ty.map_err(invalid)? as usize).copied().unwrap_or(0);
            self.add(FUNCTION_WORK + FUNCTION_VALUE_WORK * arity)?;
        }
        Ok(())
    }

    fn elements(&mut self, segments: &ElementSectionReader<'_>) -> Result<(), PluginError> {
        self.segments(segments.count())?;
        for segment in segments.clone() {
            let segment = segment.map_err(invalid)?;
            if let ElementKind::Active { offset_expr, .. } = &segment.kind {
                self.constant(offset_expr)?;
            }
            let count = match segment.items {
                ElementItems::Functions(functions) => functions.count(),
                ElementItems::Expressions(_, expressions) => {
                    let count = expressions.count();
                    for expression in expressions {
                        self.constant(&expression.map_err(invalid)?)?;
                    }
                    count
                }
            };
            self.components.starts_with(ELEMENT_BYTES * u64::from(count));
            self.elements += u64::from(count);
            within("functions in tables:", self.elements, ELEMENTS_MAX)?;
            self.add(ELEMENT_WORK * u64::from(count))?;
        }
        Ok(())
    }

    fn globals(&mut self, globals: &GlobalSectionReader<'_>) -> Result<(), PluginError> {
        self.entries(globals.count())?;
        for global in globals.clone() {
            self.constant(&global.map_err(invalid)?.init_expr)?;
        }
        Ok(())
    }

    fn data(&mut self, segments: &DataSectionReader<'_>) -> Result<(), PluginError> {
        self.segments(segments.count())?;
        for segment in segments.clone() {
            let segment = segment.map_err(invalid)?;
            if let DataKind::Active { offset_expr, .. } = &segment.kind {
                self.constant(offset_expr)?;
                self.components.starts_with(segment.data.len() as u64);
            }
        }
        Ok(())
    }

    fn segments(&mut self, count: u32) -> Result<(), PluginError> {
        self.entries(count)?;
        self.segments += u64::from(count);
        within("segments of data and tables in a module:", self.segments, SEGMENTS_MAX)?;
        self.add(function::pairs(SEGMENT_BLOCKS * u64::from(count)))
    }

    fn constant(&mut self, expression: &ConstExpr<'_>) -> Result<(), PluginError> {
        let bytes = expression.get_binary_reader().bytes_remaining() as u64;
        self.constant_bytes += bytes;
        self.components.starts_with(bytes);
        within("bytes of constant expressions:", self.constant_bytes, CONSTANT_BYTES_MAX)
    }

    fn entries(&mut self, count: u32) -> Result<(), PluginError> {
        self.entries += u64::from(count);
        within("imports, exports, globals and segments:", self.entries, ENTRIES_MAX)?;
        self.components.starts_with(ENTRY_BYTES * u64::from(count));
        self.add(ENTRY_WORK * u64::from(count))
    }

    /// Checks a core module's description of its interfaces, which is itself a component that contains only types.
    fn interfaces(&mut self, component: &[u8]) -> Result<(), PluginError> {
        self.interface_bytes += component.len() as u64;
        within("bytes about interfaces:", self.interface_bytes, INTERFACE_BYTES_MAX)?;
        let mut components = Components::default();
        for payload in Parser::new(0).parse_all(component) {
            self.add(components.count(&payload.map_err(invalid)?)?)?;
        }
        Ok(())
    }
}

/// The prefix of the names of custom sections that describe a core module's interfaces.
pub(super) const INTERFACES: &str = "component-type";

/// The bytes of a page. Memories with other page sizes are not enabled.
const PAGE_BYTES: u64 = 64 << 10;
