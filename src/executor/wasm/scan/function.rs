//! Estimates what compiling one function would cost.
//!
//! Some of the compiler's work grows with the square of a function's basic blocks, or with that square times its
//! variables: computing which block dominates which, and allocating registers. Some of its tables have an entry for
//! each variable in each block. So both products are bounded, in addition to blocks and variables by themselves.

use wasmparser::{BlockType, FuncValidator, FunctionBody, ModuleArity, Operator, OperatorsReader, ValidatorResources};

use super::refusal::{invalid, within};
use crate::error::PluginError;

/// The most local variables, parameters included. CPython needs 273.
const LOCALS_MAX: u64 = 1_000;

/// The deepest nesting of loops. CPython needs 6.
const LOOPS_MAX: u64 = 50;

/// The deepest nesting of blocks. CPython needs 781.
const BLOCKS_MAX: u64 = 2_000;

/// The most bytes of a function's code. CPython needs 427 kB.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// The most values on the operand stack. StarlingMonkey needs 64.
const STACK_MAX: u64 = 1_000;

/// The highest cost of one function. StarlingMonkey needs 1.6 million, CPython 0.5 million. The compiler needs two to
/// three seconds on one thread for a function at the limit.
const WORK_MAX: u64 = 4_000_000;

/// The most variables times basic blocks. Tables of the compiler have two to five bytes for each of them.
/// StarlingMonkey needs 10 million.
const SPREAD_MAX: u64 = 50_000_000;

/// The basic blocks that the compiler makes of an instruction. A loop includes the blocks of its epoch check.
const LOOP_BLOCKS: u64 = 10;
const IF_BLOCKS: u64 = 3;

/// The basic blocks of instructions that read a table, which is initialised lazily, and of instructions that the
/// runtime executes and that can fail.
const INDIRECT_CALL_BLOCKS: u64 = 5;
const TABLE_BLOCKS: u64 = 4;
const BULK_BLOCKS: u64 = 4;
const TABLE_BULK_BLOCKS: u64 = 15;

/// How many pairs of basic blocks cost as much as one instruction: by themselves, for each local variable, and for each
/// value on the stack.
const PAIRS_FOR_ONE: u64 = 2_000;
const PAIRS_FOR_ONE_OF_LOCALS: u64 = 8_000;
const PAIRS_FOR_ONE_OF_STACK: u64 = 32_000;

/// The cost of this many basic blocks in addition to their instructions.
pub(super) fn pairs(basic_blocks: u64) -> u64 {
    basic_blocks * basic_blocks / PAIRS_FOR_ONE
}

/// Validates a function, and returns what compiling it would cost.
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
        // Counted before it is validated, because the cost of validating it grows with the values that it moves.
        function.count(&operator, validator)?;
        validator.op(offset, &operator).map_err(invalid)?;
        let height = u64::from(validator.operand_stack_height());
        within("values on the stack of a function:", height, STACK_MAX)?;
        function.stack = function.stack.max(height);
    }
    operators.finish().map_err(invalid)?;
    function.work()
}

/// What was counted of a function so far.
#[derive(Default)]
struct Function {
    locals: u64,
    /// The most values on its stack at a time.
    stack: u64,
    operators: u64,
    /// Values that the operators pop and push, and pass to each of their branch targets.
    moved: u64,
    basic_blocks: u64,
    /// Parameters and results of the blocks.
    block_values: u64,
    /// Whether each open block is a loop.
    open: Vec<bool>,
    loops: u64,
}

impl Function {
    fn count(&mut self, operator: &Operator<'_>, module: &impl ModuleArity) -> Result<(), PluginError> {
        // An invalid operator has no arity. The validation refuses it next.
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
                // If the branch passes values, each target gets a block that moves them.
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
