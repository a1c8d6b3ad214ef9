//! A listing returns values that the caller owns: the caller can keep them for any time.

use millpond::{Job, JobFilter, Outcome, State};

use crate::support::*;

#[tokio::test]
async fn a_page_of_results_can_be_kept_while_the_file_is_written() {
    let (clock, pond) = memory();
    pond.worker("q")
        .handle(|job: Job<Work>| async move { Ok(Outcome::done_with(format!("result {}", job.n))) })
        .start()
        .unwrap();
    pond.enqueue_many("q", (0..20).map(work)).await.unwrap();
    drained(&pond).await;
    let page = pond.jobs(&JobFilter::new().state(State::Completed), None, 100).unwrap();
    assert_eq!(page.jobs.len(), 20);

    for job in &page.jobs {
        // Bytes that lie in a page of the file are not owned: they would keep the page from being reused.
        assert!(job.payload.bytes.is_unique() && job.result.as_ref().unwrap().is_unique(), "job {}", job.id);
    }

    // Each of these changes the pages of the file in which the results lie, and frees the old pages.
    for n in 20..30 {
        pond.enqueue("q", work(n)).await.unwrap();
        drained(&pond).await;
    }
    clock.advance(HOUR * 48);
    settled(&pond).await;
    for n in 30..40 {
        pond.enqueue("q", work(n)).await.unwrap();
        drained(&pond).await;
    }
    let mut results: Vec<_> = page.jobs.into_iter().map(|job| job.result.unwrap()).collect();
    results.sort_unstable();
    let mut expected: Vec<_> = (0..20).map(|n| format!("result {n}").into_bytes()).collect();
    expected.sort_unstable();
    assert_eq!(results, expected);
}
