//! Makes the jobs that the random workloads draw.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millpond::{Backoff, NewJob, Priority, Timestamp};
use millpond_testkit::{Expires, JobSpec, When};

/// Gives the job the options of `spec`, except for its unique key. `wall` is what the wall clock shows, and `group` names the groups.
pub fn with_options(mut job: NewJob, spec: &JobSpec, wall: Timestamp, group: impl Fn(u8) -> String) -> NewJob {
    let spec = spec.made_at(wall.as_millis());
    job = job.priority(Priority::new(spec.priority).expect("a priority is a digit"));
    if let Some(number) = spec.group {
        job = job.group(group(number));
    }
    job = match spec.when {
        When::Delay(millis) => job.delay(Duration::from_millis(millis)),
        When::At(millis) => job.run_at(at(millis)),
        When::Now | When::In(_) => job,
    };
    if let Some(max) = spec.max {
        job = job.max_attempts(max);
    }
    if spec.once {
        job = job.at_most_once();
    }
    job = match spec.expires {
        Some(Expires::In(millis)) => job.expires_in(Duration::from_millis(millis)),
        Some(Expires::At(millis)) => job.expires_at(at(millis)),
        Some(Expires::Ahead(_)) | None => job,
    };
    if let Some(timeout) = spec.timeout {
        job = job.timeout(Duration::from_millis(timeout));
    }
    if let Some(backoff) = spec.backoff {
        job = job.backoff(Backoff::Fixed(Duration::from_millis(backoff)));
    }
    job.tags(tags_of(&spec))
}

/// The tags of a job. Some jobs have two, and they say nothing about what becomes of a job.
pub fn tags_of(spec: &JobSpec) -> Vec<String> {
    if spec.n % 5 == 1 { vec![format!("t{}", spec.n % 3), "every fifth".to_owned()] } else { Vec::new() }
}

fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}
