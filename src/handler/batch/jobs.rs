//! The jobs that one call of a batch handler gets.

use std::ops::Deref;
use std::sync::Arc;

use super::super::job::Job;
use super::super::shared::Shared;

/// The jobs of one call of a [batch handler](crate::WorkerBuilder::handle_batch): at least one, in the order in which they
/// have started. It derefs to a slice of [`Job`], and each job has its own facts and its own
/// [`Context`](crate::Context).
///
/// ```
/// # use doc_prelude::*;
/// use millpond::Jobs;
///
/// async fn charge(jobs: Jobs<Charge>) -> Handled {
///     let orders: Vec<u64> = jobs.iter().map(|job| job.order).collect();
///     println!("{} charges, the first is of order {}", jobs.len(), orders[0]);
///     for job in jobs {
///         job.context().log("charged together with others");
///     }
///     Ok(())
/// }
/// # let _ = |pond: Millpond| pond.worker("billing").handle_batch(millpond::Batch::up_to(10), charge).start();
/// ```
pub struct Jobs<T> {
    jobs: Vec<Job<T>>,
    shared: Arc<Shared>,
}

impl<T> Jobs<T> {
    pub(super) fn new(jobs: Vec<Job<T>>, shared: Arc<Shared>) -> Self {
        Self { jobs, shared }
    }

    /// The value of this type that the worker was given with `.data(...)`, if there is one.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// use millpond::Jobs;
    /// struct Bank { name: &'static str }
    ///
    /// async fn charge(jobs: Jobs<Charge>) -> Handled {
    ///     let name = jobs.data::<Bank>().map_or("any bank", |bank| bank.name);
    ///     println!("{name} charges {} orders", jobs.len());
    ///     Ok(())
    /// }
    /// ```
    pub fn data<D: Send + Sync + 'static>(&self) -> Option<Arc<D>> {
        self.shared.data.find()
    }
}

impl<T> Deref for Jobs<T> {
    type Target = [Job<T>];

    fn deref(&self) -> &[Job<T>] {
        &self.jobs
    }
}

impl<T> IntoIterator for Jobs<T> {
    type Item = Job<T>;
    type IntoIter = std::vec::IntoIter<Job<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.jobs.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Jobs<T> {
    type Item = &'a Job<T>;
    type IntoIter = std::slice::Iter<'a, Job<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.jobs.iter()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Jobs<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.jobs).finish()
    }
}
