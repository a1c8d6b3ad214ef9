//! What a batch handler says of each of its jobs.

use crate::error::BoxError;
use crate::job::{IdMap, IntoOutcome, JobId, Outcome};

/// What happens to each job of a batch. A job without an outcome is done.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// use millpond::{Batch, Jobs, Verdicts};
///
/// async fn charge(jobs: Jobs<Charge>) -> Handled<Verdicts> {
///     let mut verdicts = Verdicts::new();
///     for job in &jobs {
///         if job.order == 0 {
///             verdicts.set(job.id(), Outcome::dead_letter("no such order"));
///         }
///     }
///     Ok(verdicts)
/// }
///
/// pond.worker("billing").handle_batch(Batch::up_to(10), charge).start()?;
/// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// drain(&pond).await;
/// let counts = pond.queue("billing")?.counts();
/// assert_eq!((counts.completed_total, counts.dead), (2, 1));
/// # Ok(()) });
/// ```
#[derive(Debug, Default)]
pub struct Verdicts {
    by_id: IdMap<Outcome>,
    /// One for each job of the batch, if the handler has returned a vector. Those by id come first.
    in_order: Option<Vec<Outcome>>,
}

impl Verdicts {
    /// All jobs are done.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what happens to the job with this id. A later call for the same job replaces the outcome. An id that is not in the
    /// batch fails all jobs of the batch.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// use millpond::{Jobs, Verdicts};
    ///
    /// async fn charge(jobs: Jobs<Charge>) -> Handled<Verdicts> {
    ///     let mut verdicts = Verdicts::new();
    ///     for job in &jobs {
    ///         verdicts.set(job.id(), format!("receipt {}", job.order));
    ///     }
    ///     Ok(verdicts)
    /// }
    /// # let _ = |pond: Millpond| pond.worker("billing").handle_batch(millpond::Batch::up_to(10), charge).start();
    /// ```
    pub fn set(&mut self, job: JobId, outcome: impl IntoOutcome) {
        self.by_id.insert(job, outcome.into_outcome());
    }

    /// The outcomes of these jobs, in their order.
    pub(crate) fn of(self, ids: &[JobId]) -> Result<Vec<Outcome>, BoxError> {
        let Self { mut by_id, in_order } = self;
        let mut outcomes = in_order.unwrap_or_else(|| ids.iter().map(|_| Outcome::Done(None)).collect());
        if outcomes.len() != ids.len() {
            let (outcomes, jobs) = (outcomes.len(), ids.len());
            return Err(format!("the batch handler returned {outcomes} outcomes for {jobs} jobs").into());
        }
        for (id, outcome) in ids.iter().zip(&mut outcomes) {
            if let Some(set) = by_id.remove(id) {
                *outcome = set;
            }
        }
        match by_id.keys().min() {
            Some(id) => {
                Err(format!("the batch handler returned an outcome of job {id}, which is not in its batch").into())
            }
            None => Ok(outcomes),
        }
    }
}

impl<O: IntoOutcome> FromIterator<(JobId, O)> for Verdicts {
    fn from_iter<I: IntoIterator<Item = (JobId, O)>>(outcomes: I) -> Self {
        let mut verdicts = Self::new();
        outcomes.into_iter().for_each(|(id, outcome)| verdicts.set(id, outcome));
        verdicts
    }
}

/// What the `Ok` of a batch handler may hold: `()`, if all jobs are done; [`Verdicts`]; or a `Vec` with one value for each job,
/// in the order of the jobs. The values are what the `Ok` of a [`Handler`](crate::Handler) may hold, such as [`Outcome`], or
/// a [`Handled`](crate::Handled) of that. A `Vec` of another length fails all jobs of the batch.
///
/// ```
/// # use doc_prelude::*;
/// use millpond::Jobs;
///
/// fn receipt(order: u64) -> Handled<String> {
///     if order == 0 { Err("no such order".into()) } else { Ok(format!("receipt {order}")) }
/// }
///
/// async fn charge(jobs: Jobs<Charge>) -> Handled<Vec<Handled<String>>> {
///     Ok(jobs.iter().map(|job| receipt(job.order)).collect())
/// }
/// # let _ = |pond: Millpond| pond.worker("billing").handle_batch(millpond::Batch::up_to(10), charge).start();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what happens to the jobs of a batch",
    note = "a batch handler returns `Handled` if all its jobs are done, `Handled<Verdicts>`, or `Handled<Vec<Outcome>>` with one outcome for each job"
)]
pub trait IntoVerdicts {
    /// Converts the value into what happens to each job.
    fn into_verdicts(self) -> Verdicts;
}

impl IntoVerdicts for () {
    fn into_verdicts(self) -> Verdicts {
        Verdicts::new()
    }
}

impl IntoVerdicts for Verdicts {
    fn into_verdicts(self) -> Verdicts {
        self
    }
}

impl<O: IntoOutcome> IntoVerdicts for Vec<O> {
    fn into_verdicts(self) -> Verdicts {
        let outcomes = self.into_iter().map(IntoOutcome::into_outcome).collect();
        Verdicts { by_id: IdMap::default(), in_order: Some(outcomes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: [u64; 3]) -> [JobId; 3] {
        ids.map(JobId::new)
    }

    fn texts(outcomes: &[Outcome]) -> Vec<&str> {
        let text = |outcome: &Outcome| match outcome {
            Outcome::Done(None) => "done",
            Outcome::Cancel(_) => "cancel",
            _ => "other",
        };
        outcomes.iter().map(text).collect()
    }

    #[test]
    fn a_job_without_an_outcome_is_done_and_the_last_outcome_counts() {
        let mut verdicts = Verdicts::new();
        verdicts.set(JobId::new(5), Outcome::snooze(Outcome::SNOOZE_MIN));
        verdicts.set(JobId::new(5), Outcome::cancel("no"));
        assert_eq!(texts(&verdicts.of(&ids([4, 5, 6])).unwrap()), ["done", "cancel", "done"]);
        assert_eq!(texts(&().into_verdicts().of(&ids([4, 5, 6])).unwrap()), ["done"; 3]);
    }

    #[test]
    fn an_outcome_by_id_replaces_that_of_a_vector() {
        let mut verdicts = vec![Outcome::cancel("no"), Outcome::done(), Outcome::cancel("no")].into_verdicts();
        verdicts.set(JobId::new(4), Outcome::done());
        assert_eq!(texts(&verdicts.of(&ids([4, 5, 6])).unwrap()), ["done", "done", "cancel"]);
    }

    #[test]
    fn an_unknown_id_and_a_wrong_number_are_errors_that_say_so() {
        let unknown = Verdicts::from_iter([(JobId::new(9), ()), (JobId::new(5), ())]).of(&ids([4, 5, 6])).unwrap_err();
        assert!(unknown.to_string().contains("job 9"), "{unknown}");
        let few = vec![Outcome::done(), Outcome::done()].into_verdicts().of(&ids([4, 5, 6])).unwrap_err();
        assert!(few.to_string().contains("2 outcomes for 3 jobs"), "{few}");
    }
}
