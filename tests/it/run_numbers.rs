//! A run's number: no two runs have the same one, and a later run has a greater one.

use std::time::Duration;

use millpond::{Clock, Job, JobId, Millpond, Outcome, Retry, RunNumber, Timestamp};

use crate::support::*;

/// Each run: its job, the number of its attempt, and its run number.
type Runs = Log<(JobId, u32, RunNumber)>;

fn assert_rising(runs: &[(JobId, u32, RunNumber)]) {
    assert!(runs.windows(2).all(|pair| pair[0].2 < pair[1].2), "{runs:#?}");
}

/// A worker with one slot. Its answer to run number `n`, counted from 1, is `answer(n)`.
fn answering(pond: &Millpond, runs: &Runs, answer: impl Fn(usize) -> Outcome + Send + Sync + 'static) {
    let log = runs.clone();
    let handler = move |job: Job<Work>| {
        log.push((job.id(), job.attempt(), job.run()));
        let answer = answer(log.len());
        async { Ok(answer) }
    };
    let retry = Retry::fixed(Duration::ZERO).jitter(0.0);
    pond.worker("q").concurrency(1).retry(retry).handle(handler).start().unwrap();
}

#[tokio::test]
async fn a_run_number_rises_with_every_run_even_where_the_attempt_number_does_not() {
    let (clock, pond) = memory();
    let runs = Runs::new();
    answering(&pond, &runs, |run| match run {
        1 => Outcome::snooze(SECOND),
        2 => Outcome::rate_limited(SECOND),
        3 => Outcome::retry("boom"),
        4 => Outcome::dead_letter("boom"),
        _ => Outcome::Done(None),
    });
    let id = pond.enqueue("q", work(1)).await.unwrap();
    for _ in 0..4 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    pond.dead_letters().redrive(id).await.unwrap();
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    let runs = runs.all();
    let attempts: Vec<_> = runs.iter().map(|(_, attempt, _)| *attempt).collect();
    assert_eq!(attempts, [1, 1, 1, 2, 1, 1]);
    assert_rising(&runs);
}

/// A worker whose handler never returns, and a receiver that reports each call of it.
fn hanging(pond: &Millpond, runs: &Runs) -> tokio::sync::mpsc::UnboundedReceiver<()> {
    let (called, calls) = tokio::sync::mpsc::unbounded_channel();
    let log = runs.clone();
    let handler = move |job: Job<Work>| {
        log.push((job.id(), job.attempt(), job.run()));
        let _ = called.send(());
        std::future::pending::<millpond::Handled>()
    };
    pond.worker("q").no_timeout().handle(handler).start().unwrap();
    calls
}

#[tokio::test]
async fn a_run_number_rises_across_crashes_and_stops_whatever_the_clock_does() {
    let disk = OnDisk::new();
    let runs = Runs::new();
    let pond = disk.open();
    let mut calls = hanging(&pond, &runs);
    let id = pond.enqueue("q", work(1).max_attempts(10)).await.unwrap();
    calls.recv().await;
    // The process is killed at once: the file does not have the start mark. Then the same happens again. Nothing is written
    // while the file is copied: the copy would have pages of two commits.
    settled(&pond).await;
    let mut path = disk.dir.path().join("crash.redb");
    std::fs::copy(disk.path(), &path).unwrap();
    drop(pond);
    for n in 0..8 {
        let pond = disk.builder().open(&path).unwrap();
        let mut calls = hanging(&pond, &runs);
        calls.recv().await;
        if n == 2 {
            disk.clock.advance(SECOND);
        }
        if n == 4 {
            disk.clock.set_wall(Timestamp::EPOCH);
        }
        // The first asks for what is to be written now: a start mark, or that the clock was set. The second waits for that.
        settled(&pond).await;
        settled(&pond).await;
        if n % 2 == 0 {
            let next = disk.dir.path().join(format!("crash{n}.redb"));
            std::fs::copy(&path, &next).unwrap();
            drop(pond);
            path = next;
        } else {
            pond.shutdown(Duration::ZERO).await.unwrap();
        }
    }
    let runs = runs.all();
    assert_eq!(runs.len(), 9);
    // Each crash after the start mark was written uses an attempt; a stop uses none.
    let attempts: Vec<_> = runs.iter().map(|(job, attempt, _)| (*job == id).then_some(*attempt)).collect();
    assert_eq!(attempts, [1, 1, 2, 2, 3, 3, 4, 4, 5].map(Some));
    assert_rising(&runs);
    assert_eq!(disk.clock.wall(), Timestamp::EPOCH);
}

#[tokio::test]
async fn numbers_of_openings_and_positions_of_groups_do_not_collide() {
    let disk = OnDisk::new();
    let runs = Runs::new();
    for opening in 0..5 {
        let pond = disk.open();
        answering(&pond, &runs, |_| Outcome::Done(None));
        let jobs = (0..20).map(|n| member(&format!("g{}", n % 7), opening * 100 + n));
        pond.enqueue_many("q", jobs).await.unwrap();
        drained(&pond).await;
        close(pond).await;
    }
    let runs = runs.all();
    assert_eq!(runs.len(), 100);
    assert_rising(&runs);
}

#[tokio::test]
async fn a_run_number_is_displayed_as_two_numbers() {
    let (_, pond) = memory();
    let runs = Runs::new();
    answering(&pond, &runs, |_| Outcome::Done(None));
    pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    drained(&pond).await;
    let said: Vec<String> = runs.all().iter().map(|(_, _, run)| run.to_string()).collect();
    assert_eq!(said, ["1-1", "1-2"]);
}
