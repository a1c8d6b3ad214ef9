//! What a schedule does with runs that are missed, and with runs that meet the one before them.

use serde::{Deserialize, Serialize};

/// What happens to the runs whose times have passed while they could not be enqueued: because the file was closed, or
/// because the wall clock was set forward. A run counts as missed if a later one is due as well, or if it is more than
/// 60 s late.
///
/// ```
/// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
/// let hourly = |misfire| {
///     Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 })
///         .misfire(misfire)
///         .overlap(Overlap::Allow)
/// };
/// pond.schedule("skip", hourly(Misfire::Skip)).await?;
/// pond.schedule("once", hourly(Misfire::Once)).await?;
/// pond.schedule("all", hourly(Misfire::All { at_most: 3 })).await?;
///
/// clock.advance(Duration::from_secs(10 * 3600 + 300)); // as if the process had not run
/// # drain(&pond).await;
/// let of = |name: &str| testing::all_enqueued(&pond, "billing").iter().filter(|job| {
///     job.scheduled_for.as_ref().is_some_and(|run| run.schedule == name)
/// }).count();
/// assert_eq!((of("skip"), of("once"), of("all")), (0, 1, 3));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Misfire {
    /// Missed runs are left out.
    Skip,
    /// One run, for the latest of the missed times, stands for all of them. The default.
    #[default]
    Once,
    /// Each missed run is made up, in order, but not more than the latest `at_most` of them: 1 to 1,000. It needs
    /// [`Overlap::Allow`] or [`Overlap::Queue`].
    All {
        /// How many runs are made up at a time, at most.
        at_most: u32,
    },
}

/// What happens to a run if the job of the previous run has not ended: it waits, runs, or is retried. A dead letter has
/// ended.
///
/// ```
/// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
/// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
/// pond.schedule("hourly-charge", hourly).await?; // `Overlap::Skip`
/// for _ in 0..5 {
///     clock.advance(Duration::from_secs(3600));
///     drain(&pond).await;
/// }
/// assert_eq!(pond.queue("billing")?.counts().pending, 1); // there is no worker, so the first run has not ended
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Overlap {
    /// Runs are independent of each other.
    Allow,
    /// The run is left out. The default.
    #[default]
    Skip,
    /// The run is enqueued and waits for the previous one. If another run waits already, the run is left out.
    ///
    /// The jobs are in a group, which makes them run one after another: their own group if the job has one, or else
    /// the group `schedule:` with the schedule's name.
    Queue,
}
