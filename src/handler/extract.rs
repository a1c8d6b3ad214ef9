//! The values that a handler can take beside its job, and the shared data of a worker's handlers.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use super::context::Context;
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

    fn has(&self, id: TypeId) -> bool {
        self.values.contains_key(&id)
    }
}

/// What a handler may take beside its job. Implemented by [`Context`] and [`Data`]; implement it for
/// whatever can be made of those.
///
/// ```
/// use millpond::{Context, FromContext, Handled, Job};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Import { files:Vec<String> }
/// # impl millpond::Kind for Import { const KIND: &'static str = "import"; }
///
/// /// Whether there is time for a thorough look.
/// struct Thorough(bool);
///
/// impl FromContext for Thorough {
///     fn from_context(context: &Context) -> Self {
///         Self(context.time_left().is_none_or(|left| left.as_secs() > 60))
///     }
/// }
///
/// async fn import(job: Job<Import>, thorough: Thorough) -> Handled {
///     println!("{} files, thorough: {}", job.files.len(), thorough.0);
///     Ok(())
/// }
/// ```
pub trait FromContext: Sized {
    /// Takes it from the attempt's context.
    fn from_context(context: &Context) -> Self;

    /// The shared data this needs, so that a worker without it is refused when it starts.
    #[doc(hidden)]
    fn needs() -> Option<(TypeId, &'static str)> {
        None
    }
}

impl FromContext for Context {
    fn from_context(context: &Context) -> Self {
        context.clone()
    }
}

/// Shared state: what the worker was given with `.data(value)`, as in axum and apalis.
///
/// ```
/// use millpond::{Data, Handled, Job, Kind};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Welcome { email: String }
/// # impl Kind for Welcome { const KIND: &'static str = "welcome"; }
/// struct Mailer { from: String }
///
/// async fn welcome(job: Job<Welcome>, mailer: Data<Mailer>) -> Handled {
///     println!("from {} to {}", mailer.from, job.email);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Data<T>(Arc<T>);

impl<T> Clone for Data<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Data<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Data<T> {
    /// The shared value.
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T: Send + Sync + 'static> FromContext for Data<T> {
    fn from_context(context: &Context) -> Self {
        Self(context.data().expect("a worker whose handler needs this does not start without it"))
    }

    fn needs() -> Option<(TypeId, &'static str)> {
        Some((TypeId::of::<T>(), type_name::<T>()))
    }
}

/// The first of `needs` that `data` does not have.
pub(crate) fn missing(data: &DataMap, needs: &[(TypeId, &'static str)]) -> Option<&'static str> {
    needs.iter().find(|(id, _)| !data.has(*id)).map(|(_, name)| *name)
}
