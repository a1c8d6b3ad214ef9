//! The shared data of a worker's handlers.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::panics::drop_quietly;

/// Shared state of a worker's handlers, by type.
#[derive(Clone, Default)]
pub(crate) struct DataMap {
    values: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Drop for DataMap {
    fn drop(&mut self) {
        for (_, value) in self.values.drain() {
            drop_quietly(value);
        }
    }
}

impl DataMap {
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Arc::new(value));
    }

    pub fn find<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.values.get(&TypeId::of::<T>()).cloned()?.downcast().ok()
    }

    /// The first of `needs` that this does not have.
    pub fn missing(&self, needs: &[(TypeId, &'static str)]) -> Option<&'static str> {
        needs.iter().find(|(id, _)| !self.values.contains_key(id)).map(|(_, name)| *name)
    }
}
