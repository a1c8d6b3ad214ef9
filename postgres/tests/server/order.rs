//! Positions become visible in their order, and a cursor is never older than an append that may still be carried out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millpond_links::{Append, Log, Mailbox};
use millpond_links_testkit::{SOON, hub};
use millpond_postgres::Postgres;
use millpond_postgres::tokio_postgres::Client;

use crate::jobs::{append, envelope, origin, send, until_true};
use crate::support::Server;

/// From now on an append with the header `slow` stops after it has its positions, until the returned client gives up the lock 42.
async fn slow_appends(server: &Server) -> Client {
    let holder = server.client().await;
    let trigger = "create function pause() returns trigger language plpgsql as \
        'begin perform pg_advisory_xact_lock_shared(42); return new; end'; \
        create trigger pause before insert on millpond.entry for each row when (new.headers like '%slow%') execute function pause(); \
        select pg_advisory_lock(42)";
    holder.batch_execute(trigger).await.unwrap();
    holder
}

const ONE_IS_SLOW: &str =
    "select count(*) = 1 from pg_stat_activity where wait_event = 'advisory' and query like '%SLOW%'";

fn is_slow() -> String {
    ONE_IS_SLOW.replace("%SLOW%", "%insert into millpond.entry%")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_passes_a_job_whose_transaction_commits_late() {
    let Some(server) = Server::start() else { return };
    let (one, two, reader) = (server.engine(), server.engine(), server.engine());
    let (of_one, of_two) = (origin(1), origin(2));
    send(&one, hub(), &of_one, &[envelope(0, "first")]).await;
    let holder = slow_appends(&server).await;
    let slow = |engine: Postgres| async move {
        let of = origin(3);
        send(&engine, hub(), &of, &[envelope(0, "slow")]).await
    };
    let slow = tokio::spawn(slow(one.clone()));
    until_true(&holder, &is_slow()).await;
    // The other one either waits for the first one, or has ended.
    let fast = tokio::spawn(async move { send(&two, hub(), &of_two, &[envelope(0, "fast")]).await });
    let waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and wait_event <> 'advisory') \
                 or exists (select from millpond.entry where headers like '%fast%')";
    until_true(&holder, waits).await;
    let read = reader.read(&hub(), 0, 100).await.unwrap();
    let mut texts: Vec<_> = read.envelopes.iter().map(|(_, envelope)| envelope.payload.clone()).collect();
    let mut after = read.envelopes.last().unwrap().0;
    holder.batch_execute("select pg_advisory_unlock(42)").await.unwrap();
    slow.await.unwrap();
    fast.await.unwrap();
    let rest = async {
        while texts.len() < 3 {
            for (position, envelope) in reader.read(&hub(), after, 100).await.unwrap().envelopes {
                (after, _) = (position, texts.push(envelope.payload));
            }
        }
    };
    let all = tokio::time::timeout(SOON / 10, rest).await;
    assert!(all.is_ok(), "only these were read: {texts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_senders_append_at_once_is_read_once_and_in_order() {
    let Some(server) = Server::start() else { return };
    let (senders, batches) = (6, 40);
    let reader = server.engine();
    let mut tasks = Vec::new();
    for sender in 0..senders {
        let engine = server.engine();
        tasks.push(tokio::spawn(async move {
            let (of, mut revision) = (origin(sender), 0);
            for number in 1..=batches {
                let jobs: Vec<_> = (0..5).map(|place| envelope(0, &format!("{sender} {number} {place}"))).collect();
                match append(&engine, hub(), &of, revision, number, &jobs).await.unwrap() {
                    Append::Stored(next) => revision = next,
                    Append::Stale => panic!("nobody else sends for {sender}"),
                }
            }
        }));
    }
    let mut of_sender: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    let (mut after, mut count) = (0, 0);
    let read = async {
        while count < senders as u64 * batches * 5 {
            for (position, envelope) in reader.read(&hub(), after, 17).await.unwrap().envelopes {
                (after, count) = (position, count + 1);
                let text = String::from_utf8(envelope.payload.to_vec()).unwrap();
                let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
                of_sender.entry(numbers[0]).or_default().push((numbers[1], numbers[2]));
            }
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("{count} jobs were read"));
    for task in tasks {
        task.await.unwrap();
    }
    let expected: Vec<(u64, u64)> = (1..=batches).flat_map(|number| (0..5).map(move |place| (number, place))).collect();
    assert!(of_sender.values().all(|jobs| *jobs == expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_waits_for_an_append_that_a_killed_process_has_left() {
    let Some(server) = Server::start() else { return };
    let (killed, next) = (server.engine(), server.engine());
    next.check().await.unwrap();
    let holder = slow_appends(&server).await;
    let left = tokio::spawn(async move { send(&killed, hub(), &origin(1), &[envelope(0, "slow")]).await });
    until_true(&holder, &is_slow()).await;
    let cursor = tokio::spawn(async move { next.cursor(&hub().into(), &origin(1)).await.unwrap() });
    let waits = "select count(*) = 1 from pg_stat_activity where wait_event = 'advisory' and query like '%pg_advisory_xact_lock($1)%'";
    let waits = async {
        while !holder.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) && !cursor.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waits).await.unwrap();
    holder.batch_execute("select pg_advisory_unlock(42)").await.unwrap();
    assert_eq!(cursor.await.unwrap().map(|cursor| cursor.batch), Some(1), "the append was carried out");
    left.await.unwrap();
}

#[tokio::test]
async fn a_page_ends_before_it_has_too_many_bytes() {
    let Some(server) = Server::start() else { return };
    let engine = server.engine();
    let large = |partition| millpond_links::Envelope {
        payload: vec![partition as u8; 3 << 20].into(),
        ..envelope(partition, "")
    };
    send(&engine, hub(), &origin(1), &[0, 1, 2, 3].map(large)).await;
    for mailbox in [hub(), hub().only(0..8).unwrap()] {
        let first = engine.read(&mailbox, 0, 100).await.unwrap();
        assert_eq!(first.envelopes.len(), 3, "9 MiB are read for a page of 8");
        let rest = engine.read(&mailbox, first.envelopes[2].0, 100).await.unwrap();
        assert_eq!(rest.envelopes[0].1.payload[0], 3);
        assert_eq!(rest.end, rest.envelopes[0].0);
    }
    // One that is larger than a page comes alone.
    let bytes = engine.limits().envelope_bytes;
    let largest = millpond_links::Envelope { payload: vec![1; bytes].into(), headers: Vec::new(), partition: 0 };
    send(&engine, Mailbox::named("large").unwrap(), &origin(1), &[largest.clone(), envelope(0, "small")]).await;
    let read = engine.read(&Mailbox::named("large").unwrap(), 0, 100).await.unwrap();
    assert_eq!(read.envelopes.len(), 1);
    assert!(read.envelopes[0].1 == largest, "16 MiB arrive as they were");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_was_left_without_an_answer_is_not_carried_out_later() {
    let Some(server) = Server::start() else { return };
    let engine = server.engine();
    engine.check().await.unwrap();
    let holder = slow_appends(&server).await;
    // It is left after ten seconds.
    let left = append(&engine, hub(), &origin(1), 0, 1, &[envelope(0, "slow")]).await;
    assert!(left.is_err(), "{left:?}");
    assert_eq!(engine.cursor(&hub().into(), &origin(1)).await.unwrap(), None);
    holder.batch_execute("select pg_advisory_unlock(42)").await.unwrap();
    send(&engine, hub(), &origin(1), &[envelope(0, "another")]).await;
    assert_eq!(server.number("select count(*) from millpond.entry").await, 1);
}

#[tokio::test]
async fn who_waits_for_jobs_gets_a_hint() {
    let Some(server) = Server::start() else { return };
    let long = millpond_postgres::Connect::POLL_DEFAULT * 2;
    let (engine, reader) = (server.engine(), server.connect().poll(long).start().unwrap());
    reader.check().await.unwrap();
    let (begun, mut after, mut revision, rounds) = (Instant::now(), 0, 0, 20);
    for number in 1..=rounds {
        let mailbox = hub();
        let read = reader.read(&mailbox, after, 10);
        let append = async {
            // The reader has looked once.
            tokio::time::sleep(Duration::from_millis(30)).await;
            let text = number.to_string();
            match append(&engine, hub(), &origin(1), revision, number, &[envelope(0, &text)]).await.unwrap() {
                Append::Stored(next) => next,
                Append::Stale => panic!("nobody else sends"),
            }
        };
        let (read, next) = tokio::join!(read, append);
        (after, revision) = (read.unwrap().envelopes[0].0, next);
    }
    let took = begun.elapsed();
    assert!(took < long * rounds as u32 / 2, "{took:?} for {rounds} jobs, of which each would wait {long:?}");
}
