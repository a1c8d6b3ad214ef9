//! A batch handler with its types erased.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::super::attempt_facts::AttemptFacts;
use super::super::job::Job;
use super::super::shared::Shared;
use super::function::BatchHandler;
use super::jobs::Jobs;
use super::settings::Batch;
use super::verdicts::Verdicts;
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::job::{Handled, Payload};

/// The future of one call of a batch handler.
pub(crate) type BoxedBatch = Pin<Box<dyn Future<Output = Handled<Verdicts>> + Send>>;

/// A call of a batch handler that is being prepared.
pub(crate) trait BatchCall: Send {
    /// Decodes the payload of a job and adds the job, or returns why the payload cannot be decoded.
    fn add(&mut self, payload: &Payload, facts: &Arc<AttemptFacts>) -> Result<(), BoxError>;

    /// Calls the handler with the jobs that were added.
    fn call(self: Box<Self>, shared: Arc<Shared>) -> BoxedBatch;
}

type Prepare = Quiet<Box<dyn Fn(usize) -> Box<dyn BatchCall> + Send + Sync>>;

/// How a batch handler is called.
pub(crate) struct BatchRun {
    pub settings: Batch,
    prepare: Prepare,
}

impl BatchRun {
    pub fn of<T: Send + 'static, Args>(settings: Batch, handler: impl BatchHandler<T, Args>, read: Read<T>) -> Self {
        let call: Box<dyn Fn(Jobs<T>) -> BoxedBatch + Send + Sync> = Box::new(move |jobs| Box::pin(handler.call(jobs)));
        let handler = Arc::new(Quiet::new(call));
        let prepare = move |jobs| -> Box<dyn BatchCall> {
            Box::new(Preparing { jobs: Vec::with_capacity(jobs), read, handler: handler.clone() })
        };
        Self { settings, prepare: Quiet::new(Box::new(prepare)) }
    }

    /// Prepares a call for this many jobs.
    pub fn prepare(&self, jobs: usize) -> Box<dyn BatchCall> {
        (self.prepare)(jobs)
    }
}

type CallWith<T> = Quiet<Box<dyn Fn(Jobs<T>) -> BoxedBatch + Send + Sync>>;
type Read<T> = fn(&Payload) -> Result<T, BoxError>;

struct Preparing<T> {
    jobs: Vec<Job<T>>,
    read: Read<T>,
    /// The call can outlive its worker, and then it drops the handler.
    handler: Arc<CallWith<T>>,
}

impl<T: Send> BatchCall for Preparing<T> {
    fn add(&mut self, payload: &Payload, facts: &Arc<AttemptFacts>) -> Result<(), BoxError> {
        self.jobs.push(Job::new((self.read)(payload)?, facts.clone()));
        Ok(())
    }

    fn call(self: Box<Self>, shared: Arc<Shared>) -> BoxedBatch {
        (self.handler)(Jobs::new(self.jobs, shared))
    }
}
