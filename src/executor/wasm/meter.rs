use wasmtime::ResourceLimiter;

use super::exceeded::Exceeded;

/// Sums up what one instance has of memory and tables: the engine limits each of them by itself only.
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
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_max {
            // A guest that is told "no" mostly gives up with a message that does not say why.
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
