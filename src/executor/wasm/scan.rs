//! What is looked at before anything is compiled. The compiler takes 22 s for a module of 14 kB that was made for
//! it, and asks for 26 GB for another of 265 kB: so modules out of all proportion are refused here.

use wasmparser::{FunctionBody, Operator, Parser, Payload};
use wasmtime::Engine;

use super::limits::PluginLimits;
use super::sandbox::{MEMORIES_MAX, TABLES_MAX};
use crate::error::PluginError;

/// CPython with its libraries has 18 MB.
pub(super) const BYTES_MAX: usize = 32 << 20;

/// Per function; CPython needs 271.
const LOCALS_MAX: u64 = 1_000;

/// Loops within loops; CPython needs 6.
const LOOPS_MAX: u64 = 50;

/// Blocks within blocks; CPython needs 781.
const BLOCKS_MAX: u64 = 2_000;

/// One function's code; CPython needs 427 kB.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// CPython has 13,500.
const FUNCTIONS_MAX: u64 = 50_000;

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

/// Goes through the code once. What a module has at its start is looked at here as well: of that the engine would only
/// say that it does not fit.
pub(super) fn check_cost(bytes: &[u8], limits: &PluginLimits) -> Result<(), PluginError> {
    let (mut functions, mut memories, mut tables) = (0, 0, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::CodeSectionEntry(body) => {
                functions += 1;
                within("functions:", functions, FUNCTIONS_MAX)?;
                check_body(&body)?;
            }
            Payload::MemorySection(section) => {
                memories += u64::from(section.count());
                starts_within("memories", memories, MEMORIES_MAX)?;
                for memory in section {
                    let pages = memory.map_err(invalid)?.initial;
                    starts_within("bytes of memory", pages.saturating_mul(PAGE_BYTES), limits.memory_bytes as u64)?;
                }
            }
            Payload::TableSection(section) => {
                tables += u64::from(section.count());
                starts_within("tables", tables, TABLES_MAX)?;
                for table in section {
                    let elements = table.map_err(invalid)?.ty.initial;
                    starts_within("elements in a table", elements, limits.table_elements as u64)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of every memory: other sizes are switched off.
const PAGE_BYTES: u64 = 64 << 10;

pub(super) fn starts_within(what: &'static str, needs: u64, limit: u64) -> Result<(), PluginError> {
    if needs > limit { Err(PluginError::OverLimits { what, needs, limit }) } else { Ok(()) }
}

fn check_body(body: &FunctionBody<'_>) -> Result<(), PluginError> {
    within("bytes in a function:", body.as_bytes().len() as u64, BODY_BYTES_MAX)?;
    let mut locals = 0;
    for group in body.get_locals_reader().map_err(invalid)? {
        let (count, _) = group.map_err(invalid)?;
        locals += u64::from(count);
        within("locals in a function:", locals, LOCALS_MAX)?;
    }
    let mut open = Vec::new();
    let mut loops = 0;
    for operator in body.get_operators_reader().map_err(invalid)? {
        match operator.map_err(invalid)? {
            Operator::Loop { .. } => {
                open.push(true);
                loops += 1;
                within("nested loops:", loops, LOOPS_MAX)?;
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => open.push(false),
            Operator::End => loops -= u64::from(open.pop().unwrap_or(false)),
            _ => continue,
        }
        within("nested blocks:", open.len() as u64, BLOCKS_MAX)?;
    }
    Ok(())
}

fn within(what: &'static str, found: u64, max: u64) -> Result<(), PluginError> {
    if found > max { Err(PluginError::TooComplex { what, found, max }) } else { Ok(()) }
}

fn invalid(error: wasmparser::BinaryReaderError) -> PluginError {
    PluginError::Invalid { detail: error.to_string() }
}
