//! A search that goes on until there is a page of jobs.

use std::time::{Duration, Instant};

use crate::api::{JobPage, JobQuery, Order, Paging, Problem};
use crate::source::Source;

/// How long a page searches, at most: then it shows what there is, and where the search goes on.
const SEARCH_TIME: Duration = Duration::from_secs(2);

/// A search that takes longer is not made again and again by live updates.
const QUICK_TIME: Duration = Duration::from_millis(100);

/// The jobs that were found.
pub struct Found {
    pub page: JobPage,
    /// It took little, so the page can be asked for again and again.
    pub is_quick: bool,
}

/// Finds a page of jobs. One reading looks at 10,000 jobs at most, which is little where few of a million match.
pub async fn search(source: &dyn Source, query: &JobQuery, order: Order, paging: Paging) -> Result<Found, Problem> {
    let begun = Instant::now();
    let limit = paging.entries();
    let mut page = source.jobs(query.clone(), order, paging).await?;
    while let Some(after) = page.next.take() {
        if page.jobs.len() >= limit || begun.elapsed() >= SEARCH_TIME {
            page.next = Some(after);
            break;
        }
        let rest = Paging { after: Some(after), limit: Some(limit - page.jobs.len()) };
        let found = source.jobs(query.clone(), order, rest).await?;
        page.jobs.extend(found.jobs);
        page.next = found.next;
    }
    Ok(Found { page, is_quick: begun.elapsed() < QUICK_TIME })
}
