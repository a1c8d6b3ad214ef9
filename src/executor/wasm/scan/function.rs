//! What compiling one function would cost.
//!
//! Some of what the compiler does for a function grows with the square of its basic blocks, and with its variables times that:
//! finding out what dominates what, and which value is in which register. Some of its tables have an entry for each variable in each
//! block. So both products are bounded, beside what a function may have of each.

use wasmparser::{BlockType, FuncValidator, FunctionBody, ModuleArity, Operator, OperatorsReader, ValidatorResources};

use super::{invalid, within};
use crate::error::PluginError;

/// Local variables with the parameters. CPython needs 273.
const LOCALS_MAX: u64 = 1_000;

/// Loops within loops; CPython needs 6.
const LOOPS_MAX: u64 = 50;

/// Blocks within blocks; CPython needs 781.
const BLOCKS_MAX: u64 = 2_000;

/// A function's code; CPython needs 427 kB.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Values on the stack of operands. StarlingMonkey needs 64.
const STACK_MAX: u64 = 1_000;

/// What one function may cost. StarlingMonkey needs 1.6 million, CPython 0.5. The most that passes takes the compiler two to
/// three seconds on one thread.
const WORK_MAX: u64 = 4_000_000;

/// Variables times basic blocks; a table of the compiler may have two to five bytes for each of them. StarlingMonkey needs
/// 10 million.
const SPREAD_MAX: u64 = 50_000_000;

/// Basic blocks that become of an instruction. A loop has those of the look at the time in it.
const LOOP_BLOCKS: u64 = 10;
const IF_BLOCKS: u64 = 3;

/// Those of instructions that look into a table of functions, which is filled in when it is used, and of those that the runtime does
/// and that may fail there.
const INDIRECT_CALL_BLOCKS: u64 = 5;
const TABLE_BLOCKS: u64 = 4;
const BULK_BLOCKS: u64 = 4;
const TABLE_BULK_BLOCKS: u64 = 15;

/// How many pairs of basic blocks cost as much as an instruction: by themselves, for each local variable, and for each value on the
/// stack.
const PAIRS_FOR_ONE: u64 = 2_000;
const PAIRS_FOR_ONE_OF_LOCALS: u64 = 8_000;
const PAIRS_FOR_ONE_OF_STACK: u64 = 32_000;

/// What so many basic blocks cost beside their instructions.
pub(super) fn pairs(basic_blocks: u64) -> u64 {
    basic_blocks * basic_blocks / PAIRS_FOR_ONE
}

/// Validates a function and says what it would cost.
pub(super) fn check(
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
) -> Result<u64, PluginError> {
    within("bytes in a function:", body.as_bytes().len() as u64, BODY_BYTES_MAX)?;
    let mut locals = 0;
    for group in body.get_locals_reader().map_err(invalid)? {
        locals += u64::from(group.map_err(invalid)?.0);
        within("locals in a function:", locals, LOCALS_MAX)?;
    }
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(invalid)?;
    let mut function = Function { locals: u64::from(validator.len_locals()), ..Function::default() };
    let mut operators = OperatorsReader::new(reader);
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().map_err(invalid)?;
        // Before it is validated, which costs as much as values are moved by it.
        function.count(&operator, validator)?;
        validator.op(offset, &operator).map_err(invalid)?;
        let height = u64::from(validator.operand_stack_height());
        within("values on the stack of a function:", height, STACK_MAX)?;
        function.stack = function.stack.max(height);
    }
    operators.finish().map_err(invalid)?;
    function.work()
}

/// What a function has, as far as it was read.
#[derive(Default)]
struct Function {
    locals: u64,
    /// Most values on its stack at a time.
    stack: u64,
    operators: u64,
    /// Values that the operators take and give, and pass to each place that they may go to.
    moved: u64,
    basic_blocks: u64,
    /// Values that blocks take and give.
    block_values: u64,
    /// Whether each open block is a loop.
    open: Vec<bool>,
    loops: u64,
}

impl Function {
    fn count(&mut self, operator: &Operator<'_>, module: &impl ModuleArity) -> Result<(), PluginError> {
        // It has no arity if it is not valid, which is found next.
        let (taken, given) = operator.operator_arity(module).unwrap_or_default();
        self.operators += 1;
        self.moved += u64::from(taken) + u64::from(given);
        match operator {
            Operator::Block { blockty } => self.enter(*blockty, 1, false, module)?,
            Operator::If { blockty } => self.enter(*blockty, IF_BLOCKS, false, module)?,
            Operator::Loop { blockty } => self.enter(*blockty, LOOP_BLOCKS, true, module)?,
            Operator::TryTable { try_table } => self.enter(try_table.ty, 1, false, module)?,
            Operator::End => self.loops -= u64::from(self.open.pop().unwrap_or(false)),
            Operator::BrIf { .. } => self.basic_blocks += 1,
            Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => {
                self.basic_blocks += INDIRECT_CALL_BLOCKS;
            }
            Operator::TableGet { .. } | Operator::TableSet { .. } => self.basic_blocks += TABLE_BLOCKS,
            Operator::MemoryGrow { .. }
            | Operator::MemoryInit { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. } => self.basic_blocks += BULK_BLOCKS,
            Operator::TableGrow { .. }
            | Operator::TableInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. } => self.basic_blocks += TABLE_BULK_BLOCKS,
            Operator::BrTable { targets } => {
                // Where values go along, a block for each target passes them on.
                self.basic_blocks += if taken > 1 { 1 + u64::from(targets.len()) } else { 1 };
                self.moved += u64::from(targets.len()) * (1 + u64::from(taken));
            }
            _ => {}
        }
        within("estimated work for a function:", self.operators + self.moved, WORK_MAX)
    }

    fn enter(
        &mut self,
        ty: BlockType,
        basic_blocks: u64,
        is_loop: bool,
        module: &impl ModuleArity,
    ) -> Result<(), PluginError> {
        let (params, results) = module.block_type_arity(ty).unwrap_or_default();
        self.block_values += u64::from(params) + u64::from(results);
        self.basic_blocks += basic_blocks;
        self.open.push(is_loop);
        self.loops += u64::from(is_loop);
        within("nested loops:", self.loops, LOOPS_MAX)?;
        within("nested blocks:", self.open.len() as u64, BLOCKS_MAX)
    }

    fn work(&self) -> Result<u64, PluginError> {
        let spread = self.basic_blocks * (self.locals + self.block_values);
        within("variables times blocks of a function:", spread, SPREAD_MAX)?;
        let pairs = self.basic_blocks * self.basic_blocks;
        let squared = self::pairs(self.basic_blocks)
            + pairs * self.locals / PAIRS_FOR_ONE_OF_LOCALS
            + pairs * self.stack / PAIRS_FOR_ONE_OF_STACK;
        let work = self.operators + self.moved + squared;
        within("estimated work for a function:", work, WORK_MAX)?;
        Ok(work)
    }
}
