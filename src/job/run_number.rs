//! The number that tells one run of a job from another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Tells one run of a job from another: [`Job::run`](crate::Job::run).
///
/// Each call of a handler has a number of its own, which is greater than that of every run before it in the same file,
/// of whichever job. That holds across restarts and crashes, also for runs of which the file knows nothing because the process
/// died at once, and for runs that use up no attempt: a job that was snoozed, held back, taken back by a
/// stop, or that ran when the process died, runs again as the same
/// [attempt](crate::Job::attempt), but never under the same run number.
///
/// It is made of the opening of the file that the run belongs to, whose number becomes durable before anything
/// starts, and of the runs since then. Numbers are not consecutive. A backup that is restored counts on from where
/// it was taken, as it does with ids.
///
/// ```
/// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
/// # let runs = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
/// # let log = runs.clone();
/// pond.worker("billing")
///     .handle(move |job: Job<Charge>| {
///         let attempt = (job.attempt(), job.run());
/// #         log.lock().unwrap().push(attempt);
///         println!("attempt {}, run {}", attempt.0, attempt.1);
///         async { Ok(Outcome::snooze(Duration::from_secs(1))) }
///     })
///     .start()?;
/// pond.enqueue("billing", Charge { order: 7 }).await?;
/// drain(&pond).await;
/// clock.advance(Duration::from_secs(1));
/// drain(&pond).await;
///
/// # let runs = runs.lock().unwrap().clone();
/// let [(first_attempt, first), (second_attempt, second)] = runs[..] else { panic!("two runs") };
/// assert_eq!(first_attempt, second_attempt);
/// assert!(first < second);
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunNumber {
    opening: u64,
    start: u64,
}

impl RunNumber {
    pub(crate) const fn new(opening: u64, start: u64) -> Self {
        Self { opening, start }
    }
}

/// Two numbers with a hyphen between them: a key for other systems, but not in order as text.
impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.opening, self.start)
    }
}
