//! Leases: a fence for each, and no job twice while they last.

use std::collections::BTreeSet;
use std::time::Duration;

use millpond_links::{Ended, Held, Lease, Leased};
use millpond_links_testkit::thumbnails;

use crate::jobs::{envelope, origin, send, take};
use crate::support::Server;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(100);

fn ids(taken: &[Leased]) -> Vec<millpond_links::LeaseId> {
    taken.iter().map(|leased| leased.id.clone()).collect()
}

#[tokio::test]
async fn a_lease_that_another_machine_has_taken_over_is_lost() {
    let Some(server) = Server::start() else { return };
    let (one, two) = (server.engine(), server.engine());
    send(&one, thumbnails(), &origin(1), &[envelope(0, "a")]).await;
    let first = ids(&take(&one, &thumbnails(), "one", 1, SHORT).await);
    let second = take(&two, &thumbnails(), "two", 1, LONG).await;
    assert_eq!(second[0].delivery, 2);
    assert_eq!(one.extend(&thumbnails(), &first, LONG).await.unwrap(), [Held::Lost]);
    one.give_back(&thumbnails(), &first, Duration::ZERO).await.unwrap();
    one.give_back(&thumbnails(), &first, SHORT).await.unwrap();
    assert_eq!(one.end(&thumbnails(), &first).await.unwrap(), [Ended::Lost]);
    let second = ids(&second);
    assert_eq!(two.extend(&thumbnails(), &second, LONG).await.unwrap(), [Held::Yours], "the other one has it still");
    assert_eq!(two.end(&thumbnails(), &second).await.unwrap(), [Ended::Ended]);
    assert_eq!(two.end(&thumbnails(), &second).await.unwrap(), [Ended::Lost], "it has ended before");
}

#[tokio::test]
async fn a_lease_whose_time_has_passed_is_kept_until_another_machine_takes_the_job() {
    let Some(server) = Server::start() else { return };
    let engine = server.engine();
    send(&engine, thumbnails(), &origin(1), &[envelope(0, "a"), envelope(0, "b")]).await;
    let held = ids(&take(&engine, &thumbnails(), "one", 2, Duration::ZERO).await);
    assert_eq!(engine.extend(&thumbnails(), &held[..1], LONG).await.unwrap(), [Held::Yours]);
    assert_eq!(engine.end(&thumbnails(), &held).await.unwrap(), [Ended::Ended; 2]);
}

#[tokio::test]
async fn a_job_that_was_given_back_is_not_its_holders_any_more() {
    let Some(server) = Server::start() else { return };
    let engine = server.engine();
    send(&engine, thumbnails(), &origin(1), &[envelope(0, "a"), envelope(0, "b")]).await;
    let held = ids(&take(&engine, &thumbnails(), "one", 2, LONG).await);
    engine.give_back(&thumbnails(), &held[..1], Duration::ZERO).await.unwrap();
    engine.give_back(&thumbnails(), &held[1..], LONG).await.unwrap();
    assert_eq!(engine.end(&thumbnails(), &held).await.unwrap(), [Ended::Lost; 2]);
    assert_eq!(engine.extend(&thumbnails(), &held, LONG).await.unwrap(), [Held::Lost; 2]);
    let again = take(&engine, &thumbnails(), "one", 1, LONG).await;
    assert_eq!(&again[0].envelope.payload[..], b"a");
    assert!(engine.take(&thumbnails(), "one", 9, LONG).await.unwrap().is_empty(), "the other one waits for its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_that_take_at_once_take_each_job_once() {
    let Some(server) = Server::start() else { return };
    let jobs: Vec<_> = (0..1_000).map(|number| envelope(0, &format!("{number}"))).collect();
    send(&server.engine(), thumbnails(), &origin(1), &jobs).await;
    let mut machines = Vec::new();
    for machine in 0..4 {
        let engine = server.engine();
        machines.push(tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let taken = engine.take(&thumbnails(), &format!("machine {machine}"), 7, LONG).await.unwrap();
                if taken.is_empty() {
                    return all;
                }
                engine.end(&thumbnails(), &ids(&taken[..3.min(taken.len())])).await.unwrap();
                all.extend(taken.into_iter().map(|leased| leased.envelope.payload));
            }
        }));
    }
    let (mut count, mut texts) = (0, BTreeSet::new());
    for machine in machines {
        for text in machine.await.unwrap() {
            count += 1;
            texts.insert(text);
        }
    }
    assert_eq!((count, texts.len()), (1_000, 1_000));
}

#[tokio::test]
async fn a_lease_of_a_database_that_was_set_back_does_not_end_the_next_one() {
    let Some(mut server) = Server::start() else { return };
    let (one, two) = (server.engine(), server.engine());
    send(&one, thumbnails(), &origin(1), &[envelope(0, "a")]).await;
    server.stop_at_once();
    let older = server.copy_data();
    server.start_again();
    let first = ids(&take_again(&one, "one").await);
    server.stop_at_once();
    server.restore(&older);
    server.start_again();
    let second = take_again(&two, "two").await;
    assert_eq!((second[0].id.job, second[0].delivery), (first[0].job, 1), "the same job, for the first time again");
    assert_eq!(end_again(&one, &first).await, [Ended::Lost]);
    assert_eq!(end_again(&two, &ids(&second)).await, [Ended::Ended]);
}

/// A connection that the server has closed is noticed with the next call.
async fn take_again(engine: &millpond_postgres::Postgres, owner: &str) -> Vec<Leased> {
    loop {
        match engine.take(&thumbnails(), owner, 1, LONG).await {
            Ok(taken) if !taken.is_empty() => return taken,
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

async fn end_again(engine: &millpond_postgres::Postgres, held: &[millpond_links::LeaseId]) -> Vec<Ended> {
    loop {
        if let Ok(ended) = engine.end(&thumbnails(), held).await {
            return ended;
        }
    }
}
