//! A list that begins with the newest job is the reverse of the usual one, whatever is listed and however large its pages
//! are.

use millpond::{Job, JobFilter, Millpond, NewJob, Outcome, Priority, Retry, State};

use crate::support::*;

/// Three queues with jobs in each state and in each table, and tags on some of them.
async fn stocked() -> Millpond {
    let (_, pond) = memory();
    pond.worker("b")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move {
            Ok(match job.n % 3 {
                0 => Outcome::done_with("x"),
                1 => Outcome::dead_letter("x"),
                _ => Outcome::cancel("x"),
            })
        })
        .start()
        .unwrap();
    let tagged = |n: u64, job: NewJob| if n.is_multiple_of(2) { job.tag("even") } else { job };
    for queue in ["a", "c"] {
        pond.enqueue_many(queue, (0..9).map(|n| tagged(n, work(n).priority(Priority::new((n % 3) as u8).unwrap()))))
            .await
            .unwrap();
        pond.enqueue_many(queue, (0..9).map(|n| tagged(n, work(n).delay(HOUR * (n as u32 + 1))))).await.unwrap();
        let years = std::time::SystemTime::now() + HOUR * 24 * 365 * 50;
        pond.enqueue_many(queue, (0..9).map(|n| tagged(n, work(n).run_at(years)))).await.unwrap();
        pond.enqueue_many(queue, (0..9).map(|n| tagged(n, member(&format!("g{}", n % 3), n)))).await.unwrap();
    }
    pond.enqueue_many("b", (0..30).map(|n| tagged(n, work(n)))).await.unwrap();
    drained(&pond).await;
    pond
}

#[tokio::test]
async fn a_list_of_the_newest_jobs_is_the_reverse_of_the_list_of_the_oldest() {
    let pond = stocked().await;
    let all = JobFilter::new;
    for (filter, jobs) in [
        (all(), 102),
        (all().queue("a"), 36),
        (all().queue("nowhere"), 0),
        (all().state(State::Pending), 36),
        (all().state(State::Scheduled), 36),
        (all().state(State::Completed), 10),
        (all().state(State::Dead), 10),
        (all().state(State::Cancelled), 10),
        (all().group("g1"), 6),
        (all().tag("even"), 55),
        (all().tag("even").queue("c"), 20),
        (all().tag("even").state(State::Dead), 5),
    ] {
        for limit in [1, 2, 7, 1_000] {
            let oldest = walk(&pond, &filter, limit);
            let mut newest = walk(&pond, &filter.clone().newest_first(), limit);
            newest.reverse();
            assert_eq!((oldest.len(), newest), (jobs, oldest.clone()), "{filter:?} in pages of {limit}");
        }
    }
}

#[tokio::test]
async fn ended_jobs_are_listed_from_the_latest_end_back() {
    let (clock, pond) = memory();
    pond.worker("q")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move {
            Ok(if job.n == 2 { Outcome::dead_letter("x") } else { Outcome::done_with("x") })
        })
        .start()
        .unwrap();
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(pond.enqueue("q", work(n)).await.unwrap().id);
        drained(&pond).await;
        clock.advance(SECOND);
    }
    let newest = |filter: JobFilter| {
        let page = pond.jobs(&filter.newest_first(), None, 2).unwrap();
        page.jobs.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(newest(JobFilter::new().state(State::Completed)), [ids[5], ids[4]]);
    let dead = pond.dead_letters().list(&JobFilter::new().newest_first(), None, 2).unwrap();
    assert_eq!(dead.jobs[0].id, ids[2]);
}

#[tokio::test]
async fn changes_and_counts_cover_all_jobs_whatever_the_order_is() {
    for filter in [JobFilter::new(), JobFilter::new().newest_first()] {
        let pond = stocked().await;
        assert_eq!(pond.select(&filter).count().await.unwrap(), 102);
        let progress = pond.select(&filter.clone().state(State::Scheduled)).run_now().await.unwrap();
        assert_eq!((progress.matched, progress.changed), (36, 36));
        assert_eq!(pond.select(&filter.clone().queue("b")).delete().await.unwrap().changed, 30);
        assert_eq!(pond.select(&filter).cancel("not needed").await.unwrap().changed, 72);
    }
}
