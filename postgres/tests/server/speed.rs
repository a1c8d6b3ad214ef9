//! Figures, in one run: the engine beside a bare producer and a bare consumer of the same server.
//!
//! ```text
//! cargo test --release -p millpond-postgres --test server -- --ignored --nocapture speed::
//! ```

use std::time::{Duration, Instant};

use millpond_links::{Append, Envelope, Lease, Log, Mailbox, SharedQueue};
use millpond_links_testkit::speed::{BATCH, envelope, from_file_to_file, told};

use crate::jobs::{append, origin};
use crate::support::Server;

const JOBS: usize = 100_000;
const LEASE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: takes a minute"]
async fn jobs_per_second_through_mailboxes_and_shared_queues() {
    let Some(server) = Server::start() else { return };
    let engine = server.engine();
    engine.check().await.unwrap();
    let client = server.client().await;
    let batches: Vec<Vec<Envelope>> =
        (0..JOBS / BATCH).map(|batch| (0..BATCH).map(|place| envelope(batch * BATCH + place)).collect()).collect();
    let texts: Vec<String> = batches[0]
        .iter()
        .map(|envelope| {
            let pairs: Vec<String> =
                envelope.headers.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
            format!("{{{}}}", pairs.join(","))
        })
        .collect();
    let payloads: Vec<&[u8]> = batches[0].iter().map(|envelope| &envelope.payload[..]).collect();

    // Bare tables have the same columns and a primary key.
    client
        .batch_execute(
            "create table bare_log (id bigint generated always as identity primary key, partition smallint not null, \
             headers text not null, payload bytea not null); \
             create table bare_queue (id bigint generated always as identity primary key, headers text not null, payload bytea not null)",
        )
        .await
        .unwrap();
    let insert = "insert into bare_log (partition, headers, payload) select 0, h, p from unnest($1::text[], $2::bytea[]) as t (h, p)";
    let insert = client.prepare(insert).await.unwrap();
    let begun = Instant::now();
    for _ in 0..batches.len() {
        client.execute(&insert, &[&texts, &payloads]).await.unwrap();
    }
    let bare_append = told("log: bare insert of 500 rows", JOBS, begun);
    let (mailbox, of) = (Mailbox::named("hub").unwrap(), origin(1));
    let (begun, mut revision) = (Instant::now(), 0);
    for (number, batch) in (1..).zip(&batches) {
        let Append::Stored(next) = append(&engine, mailbox.clone(), &of, revision, number, batch).await.unwrap() else {
            panic!("nobody else sends")
        };
        revision = next;
    }
    let of_append = told("log: append", JOBS, begun);

    let select = "select id, partition, headers, payload from bare_log where id > $1 order by id limit 500";
    let select = client.prepare(select).await.unwrap();
    let (begun, mut after, mut count) = (Instant::now(), 0_i64, 0);
    while count < JOBS {
        let rows = client.query(&select, &[&after]).await.unwrap();
        (after, count) = (rows[rows.len() - 1].get(0), count + rows.len());
    }
    let bare_read = told("log: bare select of 500 rows", JOBS, begun);
    let of_read = read(&engine, &mailbox, JOBS, "log: read all partitions").await;
    read(&engine, &mailbox.clone().only(0..4).unwrap(), JOBS / 4, "log: read 4 of 16 partitions").await;

    let insert =
        "insert into bare_queue (headers, payload) select h, p from unnest($1::text[], $2::bytea[]) as t (h, p)";
    let insert = client.prepare(insert).await.unwrap();
    let begun = Instant::now();
    for _ in 0..batches.len() {
        client.execute(&insert, &[&texts, &payloads]).await.unwrap();
    }
    let bare_put = told("queue: bare insert of 500 rows", JOBS, begun);
    let delete = "delete from bare_queue where id in \
                  (select id from bare_queue order by id limit $1 for update skip locked) returning id, headers, payload";
    let delete = client.prepare(delete).await.unwrap();
    let (shared, mut revision) = (SharedQueue::named("work").unwrap(), 0);
    let begun = Instant::now();
    for (number, batch) in (1..).zip(&batches) {
        let Append::Stored(next) = append(&engine, shared.clone(), &of, revision, number, batch).await.unwrap() else {
            panic!("nobody else sends")
        };
        revision = next;
    }
    let of_put = told("queue: append", JOBS, begun);
    let mut ratios = Vec::new();
    for at_once in [100_i64, 500] {
        let part = JOBS / 4;
        let (begun, mut count) = (Instant::now(), 0);
        while count < part {
            count += client.query(&delete, &[&at_once]).await.unwrap().len();
        }
        let bare = told(&format!("queue: bare delete returning of {at_once}"), count, begun);
        let (begun, mut count, mut longest) = (Instant::now(), 0, Duration::ZERO);
        while count < part {
            let one = Instant::now();
            let taken = engine.take(&shared, "one", at_once as usize, LEASE).await.unwrap();
            longest = longest.max(one.elapsed());
            let ids: Vec<_> = taken.into_iter().map(|leased| leased.id).collect();
            engine.end(&shared, &ids).await.unwrap();
            count += ids.len();
        }
        let of_engine = told(&format!("queue: take and end of {at_once}, longest take {longest:.1?}"), count, begun);
        ratios.push((at_once, of_engine / bare));
    }
    println!(
        "of the bare ones: append {:.2}, read {:.2}, append to a queue {:.2}, take and end {ratios:.2?}",
        of_append / bare_append,
        of_read / bare_read,
        of_put / bare_put
    );
}

async fn read(engine: &millpond_postgres::Postgres, mailbox: &Mailbox, jobs: usize, what: &str) -> f64 {
    let (begun, mut after, mut count) = (Instant::now(), 0, 0);
    while count < jobs {
        let page = engine.read(mailbox, after, BATCH).await.unwrap();
        (after, count) = (page.envelopes.last().unwrap().0, count + page.envelopes.len());
    }
    told(what, jobs, begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: takes a minute"]
async fn a_take_takes_as_long_whatever_waits_and_whatever_has_ended() {
    let Some(server) = Server::start() else { return };
    let (engine, shared, of) = (server.engine(), SharedQueue::named("work").unwrap(), origin(1));
    let jobs: Vec<Envelope> = (0..1_000).map(envelope).collect();
    let (mut revision, mut number) = (0, 0);
    let mut waiting = 0;
    for until in [10_000, 100_000, 1_000_000] {
        while waiting < until {
            number += 1;
            match append(&engine, shared.clone(), &of, revision, number, &jobs).await.unwrap() {
                Append::Stored(next) => revision = next,
                Append::Stale => panic!("nobody else sends"),
            }
            waiting += jobs.len();
        }
        let (rounds, begun) = (20, Instant::now());
        for _ in 0..rounds {
            let taken = engine.take(&shared, "one", 100, LEASE).await.unwrap();
            assert_eq!(taken.len(), 100);
        }
        println!("{waiting:>9} jobs wait: {:?} for each take of 100, which are held", begun.elapsed() / rounds);
    }
    // What has ended leaves rows behind that a vacuum removes later.
    for part in 0..4 {
        let (rounds, begun) = (250, Instant::now());
        for _ in 0..rounds {
            let taken = engine.take(&shared, "one", 100, LEASE).await.unwrap();
            let ids: Vec<_> = taken.into_iter().map(|leased| leased.id).collect();
            engine.end(&shared, &ids).await.unwrap();
        }
        println!("{:>9} have ended: {:?} for each take and end of 100", (part + 1) * 25_000, begun.elapsed() / rounds);
    }
    // Somebody looks at a table for long, so nothing can be vacuumed.
    let holder = server.client().await;
    holder.batch_execute("begin isolation level repeatable read; select count(*) from millpond.version").await.unwrap();
    for part in 0..4 {
        let (rounds, begun) = (250, Instant::now());
        for _ in 0..rounds {
            let taken = engine.take(&shared, "one", 100, LEASE).await.unwrap();
            let ids: Vec<_> = taken.into_iter().map(|leased| leased.id).collect();
            engine.end(&shared, &ids).await.unwrap();
        }
        println!("{:>9} more, while a transaction is open: {:?}", (part + 1) * 25_000, begun.elapsed() / rounds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: takes a minute"]
async fn jobs_per_second_from_file_to_file() {
    let Some(server) = Server::start() else { return };
    from_file_to_file(&server.engine(), 20_000).await;
}
