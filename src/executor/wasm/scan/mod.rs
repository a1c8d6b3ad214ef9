//! What is looked at before anything is compiled.
//!
//! The compiler takes minutes, or more memory than there is, for files of a few kilobytes that were made for it. It cannot be
//! stopped, and it ends the process where memory runs out. So the file is validated here, what compiling it would cost is
//! estimated on the way ([`function`], [`component`]), and a file that is out of all proportion is refused.
//!
//! The unit of that estimate is what a plain instruction costs: about a microsecond. Each limit is some times what the largest of real
//! plugins have: CPython and StarlingMonkey, the JavaScript engine of Firefox.

mod component;
mod function;

use wasmparser::{
    CompositeInnerType, ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader,
    Encoding, FuncValidatorAllocations, FunctionSectionReader, GlobalSectionReader, Parser, Payload, TypeSectionReader,
    ValidPayload, Validator,
};
use wasmtime::Engine;

use self::component::Components;
use super::limits::PluginLimits;
use super::sandbox::{FEATURES, MEMORIES_MAX, TABLES_MAX};
use crate::error::PluginError;

/// A file's size. CPython with its libraries has 20 MB.
pub(super) const BYTES_MAX: usize = 32 << 20;

/// CPython has 13,500.
const FUNCTIONS_MAX: u64 = 50_000;

/// Types of functions. CPython has 1,300. A type with its glue takes up to 8 KB.
const TYPES_MAX: u64 = 20_000;

/// Parameters or results of a function or a block. CPython's functions have 18 and 1.
const VALUES_MAX: u64 = 100;

/// Functions in tables, one by one. StarlingMonkey has 7,800. Each takes the compiler 2.3 KB.
const ELEMENTS_MAX: u64 = 100_000;

/// Imports, exports, globals, and segments of data and of tables, each. StarlingMonkey has 10,000 segments of data.
const ENTRIES_MAX: u64 = 100_000;

/// Segments of data and of tables in a module: where they cannot be laid out beforehand, a function is made that copies one after the
/// other. StarlingMonkey has 10,000.
const SEGMENTS_MAX: u64 = 15_000;

/// Basic blocks of that function for each.
const SEGMENT_BLOCKS: u64 = 5;

/// Bytes of expressions that are evaluated each time that a module is instantiated, as the values of globals are. StarlingMonkey
/// has 60 KB.
const CONSTANT_BYTES_MAX: u64 = 1 << 20;

/// Bytes that an instance has for an entry, and for a function in a table.
const ENTRY_BYTES: u64 = 32;
const ELEMENT_BYTES: u64 = 8;

/// Bytes of what a core module says of its interfaces. The whole contract has 12 KB.
const INTERFACE_BYTES_MAX: u64 = 256 << 10;

/// What all of the file may cost. StarlingMonkey has 17 million, CPython 11. The most that passes takes the compiler some 20 s of
/// the processors' time.
const WORK_MAX: u64 = 30_000_000;

/// What things cost that are no instructions: a function, one of its parameters or results.
const FUNCTION_WORK: u64 = 130;
const FUNCTION_VALUE_WORK: u64 = 4;

/// A type of functions, one of its parameters or results: each type has code to get from one side of the sandbox to the other.
const TYPE_WORK: u64 = 60;
const TYPE_VALUE_WORK: u64 = 9;

const ELEMENT_WORK: u64 = 6;
const ENTRY_WORK: u64 = 5;

/// By its first bytes and its size.
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

/// Goes through all of a module or component: whether it is valid, and what it would cost. What a module has at its start is
/// looked at here as well: of that the engine would only say that it does not fit.
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

/// Goes through what a module became when it was made a component. Its own code was looked at before, and what was put around
/// it follows from the interfaces that it says it has. Or through a file that was compiled already.
pub(super) fn check_around(component: &[u8], limits: &PluginLimits) -> Result<(), PluginError> {
    let mut scan = Scan::default();
    for payload in Parser::new(0).parse_all(component) {
        scan.count(&payload.map_err(invalid)?, limits)?;
    }
    Ok(())
}

/// What was found so far.
#[derive(Default)]
struct Scan {
    work: u64,
    functions: u64,
    types: u64,
    elements: u64,
    entries: u64,
    constant_bytes: u64,
    /// Of the module at hand.
    segments: u64,
    memories: u64,
    tables: u64,
    interface_bytes: u64,
    components: Components,
    /// Parameters and results of the types of the module at hand.
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

    /// What a core module says of its interfaces is itself a component, with types only.
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

/// What the names of such sections begin with.
pub(super) const INTERFACES: &str = "component-type";

/// Of every memory: other sizes are switched off.
const PAGE_BYTES: u64 = 64 << 10;

pub(super) fn starts_within(what: &'static str, needs: u64, limit: u64) -> Result<(), PluginError> {
    if needs > limit { Err(PluginError::OverLimits { what, needs, limit }) } else { Ok(()) }
}

fn within(what: &'static str, found: u64, max: u64) -> Result<(), PluginError> {
    if found > max { Err(PluginError::TooComplex { what, found, max }) } else { Ok(()) }
}

fn invalid(error: wasmparser::BinaryReaderError) -> PluginError {
    PluginError::Invalid { detail: error.to_string() }
}
