//! The values that a handler can take beside its job.

use std::any::{TypeId, type_name};
use std::ops::Deref;
use std::sync::Arc;

use super::context::Context;
use crate::job::Failure;

/// A value that a handler can take as an argument beside its job. Implemented by [`Context`] and [`Data`]; implement it for
/// types that can be made from those. A failure fails the attempt, which is retried as usual; the handler is not called.
///
/// ```
/// use millpond::{Context, Failure, FromContext, Handled, Job};
/// # use doc_prelude::*;
///
/// /// Whether there is time for a thorough check.
/// struct Thorough(bool);
///
/// impl FromContext for Thorough {
///     fn from_context(context: &Context) -> Result<Self, Failure> {
///         Ok(Self(context.time_left().is_none_or(|left| left.as_secs() > 60)))
///     }
/// }
///
/// /// The customer to whom the job's group belongs.
/// struct Customer(u64);
///
/// impl FromContext for Customer {
///     fn from_context(context: &Context) -> Result<Self, Failure> {
///         let group = context.group().ok_or("the job has no group")?;
///         Ok(Self(group.parse()?))
///     }
/// }
///
/// async fn import(job: Job<Import>, thorough: Thorough, customer: Customer) -> Handled {
///     println!("{} files of customer {}, thorough: {}", job.files.len(), customer.0, thorough.0);
///     Ok(())
/// }
/// ```
pub trait FromContext: Sized {
    /// Makes the value from the attempt's context.
    ///
    /// # Errors
    /// What fails the attempt.
    fn from_context(context: &Context) -> Result<Self, Failure>;

    /// The shared data this needs, so that a worker without it is refused when it starts.
    #[doc(hidden)]
    fn needs() -> Option<(TypeId, &'static str)> {
        None
    }
}

impl FromContext for Context {
    fn from_context(context: &Context) -> Result<Self, Failure> {
        Ok(context.clone())
    }
}

/// Shared state that the worker was given with `.data(value)`, as in axum and apalis.
///
/// ```
/// use millpond::{Data, Handled, Job, Kind};
/// # use doc_prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # struct Welcome { email: String }
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
    pub(super) fn of(value: Arc<T>) -> Self {
        Self(value)
    }

    /// The shared value.
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T: Send + Sync + 'static> FromContext for Data<T> {
    fn from_context(context: &Context) -> Result<Self, Failure> {
        Ok(Self(context.data().expect("a worker whose handler needs this does not start without it")))
    }

    fn needs() -> Option<(TypeId, &'static str)> {
        Some((TypeId::of::<T>(), type_name::<T>()))
    }
}
