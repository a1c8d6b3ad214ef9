//! Limits the memory and the tables of one instance.

use wasmtime::ResourceLimiter;

use super::exceeded::Exceeded;

/// Sums up the memories and tables of one instance, because the engine limits each memory and table only by itself.
pub(super) struct Meter {
    memory: usize,
    memory_max: usize,
    elements: usize,
    elements_max: usize,
}

impl Meter {
    pub fn new(memory_max: usize, elements_max: usize) -> Self {
        Self { memory: 0, memory_max, elements: 0, elements_max }
    }

    /// The bytes of all memories together.
    pub fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_max {
            // An error, not `Ok(false)`: a guest whose allocation fails mostly panics with a message that does not name
            // the limit.
            return Err(Exceeded::Memory { wanted, limit: self.memory_max }.into());
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.elements.saturating_add(desired.saturating_sub(current));
        if wanted > self.elements_max {
            return Err(Exceeded::Table { wanted, limit: self.elements_max }.into());
        }
        self.elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        50
    }

    fn memories(&self) -> usize {
        50
    }

    fn tables(&self) -> usize {
        200
    }
}
