//! Reads every job of a queue.

use millpond::{JobFilter, JobInfo, Millpond};

/// Every stored job, read page by page.
pub fn all_jobs(pond: &Millpond) -> Vec<JobInfo> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let page = pond.jobs(&JobFilter::new(), cursor, 1_000).unwrap();
        jobs.extend(page.jobs);
        cursor = page.next;
        if cursor.is_none() {
            return jobs;
        }
    }
}
