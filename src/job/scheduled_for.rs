//! Which run of which schedule a job is.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Which schedule has enqueued a job, and for which time.
///
/// ```
/// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
/// let daily = Schedule::new(Every::new(Duration::from_secs(24 * 3600)), "billing", Charge { order: 7 });
/// pond.schedule("daily-charge", daily).await?;
/// let first = clock.wall() + Duration::from_secs(24 * 3600);
/// clock.advance(Duration::from_secs(24 * 3600 + 5));
/// # drain(&pond).await;
///
/// let job = testing::assert_enqueued::<Charge>(&pond, "billing", |charge| charge.order == 7);
/// let run = job.scheduled_for.unwrap();
/// assert_eq!((run.schedule.as_str(), run.at), ("daily-charge", first));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduledFor {
    /// The schedule's name.
    pub schedule: String,
    /// The time that the schedule has for this run, by the wall clock. The job can be enqueued later: because of
    /// [jitter](crate::Schedule::jitter), because its queue was full, or because the file was closed at this time. For a
    /// run by [`run_now`](crate::Schedules::run_now) it is the time of that call.
    pub at: Timestamp,
}

impl ScheduledFor {
    pub(crate) fn new(schedule: &str, at: Timestamp) -> Self {
        Self { schedule: schedule.to_owned(), at }
    }
}
