//! A list that begins with the newest job: of a queue it is the reverse of the usual one, and of all queues it is one list, however
//! large its pages are.

use std::collections::BTreeSet;

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
async fn a_list_of_the_newest_jobs_of_a_queue_is_the_reverse_of_the_list_of_the_oldest() {
    let pond = stocked().await;
    let of = |queue: &str| JobFilter::new().queue(queue);
    for (filter, jobs) in [
        (of("a"), 36),
        (of("nowhere"), 0),
        (of("a").state(State::Pending), 18),
        (of("c").state(State::Scheduled), 18),
        (of("b").state(State::Completed), 10),
        (of("b").state(State::Dead), 10),
        (of("b").state(State::Cancelled), 10),
        (of("a").group("g1"), 3),
        (of("c").tag("even"), 20),
        (of("b").tag("even").state(State::Dead), 5),
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
async fn a_list_of_the_newest_jobs_of_all_queues_has_each_job_once_whatever_its_pages_are() {
    let pond = stocked().await;
    let all = JobFilter::new;
    for (filter, jobs) in [
        (all(), 102),
        (all().state(State::Pending), 36),
        (all().state(State::Scheduled), 36),
        (all().state(State::Completed), 10),
        (all().state(State::Dead), 10),
        (all().state(State::Cancelled), 10),
        (all().group("g1"), 6),
        (all().tag("even"), 55),
        (all().tag("even").state(State::Dead), 5),
    ] {
        let oldest: BTreeSet<_> = walk(&pond, &filter, 1_000).into_iter().collect();
        let newest = walk(&pond, &filter.clone().newest_first(), 1_000);
        assert_eq!((newest.len(), newest.iter().copied().collect()), (jobs, oldest), "{filter:?}");
        for limit in [1, 2, 7] {
            assert_eq!(walk(&pond, &filter.clone().newest_first(), limit), newest, "{filter:?} in pages of {limit}");
        }
    }
}

#[tokio::test]
async fn of_all_queues_the_job_that_was_enqueued_last_comes_first() {
    let pond = stocked().await;
    pond.enqueue("a", work(7).tag("even")).await.unwrap();
    pond.enqueue("c", member("g1", 7)).await.unwrap();
    for filter in [JobFilter::new(), JobFilter::new().tag("even"), JobFilter::new().group("g1")] {
        let mut by_ids = walk(&pond, &filter, 1_000);
        by_ids.sort_by(|one, other| other.cmp(one));
        assert_eq!(walk(&pond, &filter.clone().newest_first(), 5), by_ids, "{filter:?}");
    }
    // A page begins behind the job with which the one before it ended, whatever is enqueued meanwhile.
    let newest = walk(&pond, &JobFilter::new().newest_first(), 1_000);
    let first = pond.jobs(&JobFilter::new().newest_first(), None, 3).unwrap();
    pond.enqueue("d", work(8)).await.unwrap();
    let second = pond.jobs(&JobFilter::new().newest_first(), first.next, 3).unwrap();
    assert_eq!(second.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), newest[3..6]);
}

#[tokio::test]
async fn of_all_queues_the_job_that_ended_last_comes_first() {
    let (clock, pond) = memory();
    let queues = ["a", "b", "c"];
    for queue in queues {
        let handler = |job: Job<Work>| async move {
            Ok(if job.n.is_multiple_of(2) { Outcome::done_with("x") } else { Outcome::dead_letter("x") })
        };
        pond.worker(queue).retry(Retry::none()).handle(handler).start().unwrap();
    }
    let mut ends = Vec::new();
    for n in 0..18_u64 {
        ends.push(pond.enqueue(queues[(n * n % 3) as usize], work(n)).await.unwrap().id);
        drained(&pond).await;
        clock.advance(SECOND);
    }
    ends.reverse();
    for limit in [1, 4, 100] {
        let ended = |state| walk(&pond, &JobFilter::new().state(state).newest_first(), limit);
        let every_second = |from: usize| ends.iter().copied().skip(from).step_by(2).collect::<Vec<_>>();
        assert_eq!(ended(State::Completed), every_second(1));
        assert_eq!(ended(State::Dead), every_second(0));
    }
}

#[tokio::test]
async fn of_more_than_1_000_queues_the_newest_jobs_are_listed_by_queue() {
    let (_, pond) = memory();
    let mut stored = Vec::new();
    for queue in 0..1_001 {
        stored.push((format!("q{queue}"), work(queue)));
        stored.push(("q0".to_owned(), work(queue)));
    }
    let ids: BTreeSet<_> = pond.enqueue_all(stored).await.unwrap().into_iter().map(|job| job.id).collect();
    let newest = walk(&pond, &JobFilter::new().newest_first(), 100);
    assert_eq!((newest.len(), newest.iter().copied().collect()), (2_002, ids));
    let queues: Vec<_> = newest.iter().map(|id| pond.job(*id).unwrap().queue).collect();
    assert_eq!(queues.chunk_by(|one, other| one == other).count(), 1_001);
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
