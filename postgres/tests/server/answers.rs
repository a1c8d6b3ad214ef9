//! Calls that are carried out, and whose answers are lost on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millpond::{JobFilter, Millpond, NewJob};
use millpond_links::{Forward, Mailbox, Receive, SharedQueue};
use millpond_links_testkit::{SOON, until};
use millpond_postgres::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Server;

/// A way to a server on which each connection ends after some calls: what a machine has sent gets to the server, and the answer does not
/// come back.
struct Way {
    address: String,
    cut: Arc<AtomicU32>,
}

impl Way {
    /// A connection ends after so many calls, of which the first twenty or so are those with which it is made.
    async fn to(server: &Server, calls: std::ops::Range<u32>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("postgres://postgres@127.0.0.1:{}/postgres", listener.local_addr().unwrap().port());
        let (cut, port) = (Arc::new(AtomicU32::new(0)), server.port());
        let cuts = cut.clone();
        tokio::spawn(async move {
            while let Ok((machine, _)) = listener.accept().await {
                let (calls, cuts) = (fastrand::u32(calls.clone()), cuts.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    if carry(machine, server, calls).await {
                        cuts.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { address, cut }
    }
}

/// Carries calls and answers. Returns whether it has cut the connection.
async fn carry(mut machine: TcpStream, mut server: TcpStream, mut calls: u32) -> bool {
    let (mut from_machine, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = machine.read(&mut from_machine) => {
                let Ok(bytes @ 1..) = read else { return false };
                if server.write_all(&from_machine[..bytes]).await.is_err() {
                    return false;
                }
                calls -= 1;
                if calls == 0 {
                    // The server has time to carry it out.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return true;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(bytes @ 1..) = read else { return false };
                if machine.write_all(&from_server[..bytes]).await.is_err() {
                    return false;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_arrives_once_and_in_order_while_answers_are_lost() {
    let Some(server) = Server::start() else { return };
    server.engine().check().await.unwrap();
    let way = Way::to(&server, 30..60).await;
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let hub = Millpond::open(dir.path().join("hub.redb")).unwrap();
    let engine = Postgres::connect(&way.address).start().unwrap();
    let mailbox = Mailbox::named("hub").unwrap();
    let count = 900;
    for first in (0..count).step_by(100) {
        let jobs = (first..first + 100).map(|n| NewJob::raw("reading", n.to_string()).group(format!("g{}", n % 5)));
        device.enqueue_many("readings", jobs).await.unwrap();
    }
    let to_hub = Forward::new(&device, "readings", &engine, mailbox.clone()).batch(5).start().await.unwrap();
    let from_device = Receive::new(&hub, "readings", &engine, mailbox).batch(20).start().unwrap();
    let all = until(&from_device, |state| state.jobs >= u64::from(count)).await;
    assert_eq!(all.jobs, u64::from(count));
    let sender = until(&to_hub, |state| state.jobs + state.known == u64::from(count)).await;
    println!(
        "{} connections were cut; {} jobs were stored whose answer was lost",
        way.cut.load(Ordering::Relaxed),
        sender.known
    );
    assert!(sender.known > 0, "no answer to an append was lost");
    assert_eq!((sender.engine_went_back, sender.file_went_back), (0, 0));
    assert_eq!(server.number("select count(*) from millpond.entry").await, i64::from(count));
    let mut by_group: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for job in hub.jobs(&JobFilter::new().queue("readings"), None, 1_000).unwrap().jobs {
        let number = std::str::from_utf8(&job.payload.bytes).unwrap().parse().unwrap();
        by_group.entry(job.group.unwrap()).or_default().push((job.id, number).1);
    }
    for (group, numbers) in by_group {
        let first: u32 = group[1..].parse().unwrap();
        let mut expected: Vec<u32> = (first..count).step_by(5).collect();
        if numbers.first() > numbers.last() {
            expected.reverse();
        }
        assert_eq!(numbers, expected, "group {group}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_of_a_shared_queue_is_missing_while_answers_are_lost() {
    let Some(server) = Server::start() else { return };
    let way = Way::to(&server, 25..45).await;
    let (queue, count) = (SharedQueue::named("work").unwrap(), 300);
    let jobs: Vec<_> = (0..count).map(|number| crate::jobs::envelope(0, &format!("{number}"))).collect();
    crate::jobs::send(&server.engine(), queue.clone(), &crate::jobs::origin(1), &jobs).await;
    let engine = Postgres::connect(&way.address).start().unwrap();
    let mut seen = BTreeMap::new();
    let run = async {
        use millpond_links::Lease;
        while server.number("select count(*) from millpond.job").await > 0 {
            // What was taken in vain waits for the end of its lease.
            let Ok(taken) = engine.take(&queue, "one", 7, Duration::from_millis(500)).await else { continue };
            for leased in taken {
                *seen.entry(leased.envelope.payload.clone()).or_insert(0) += 1;
                while engine.end(&queue, std::slice::from_ref(&leased.id)).await.is_err() {}
            }
        }
    };
    tokio::time::timeout(SOON, run).await.unwrap();
    assert_eq!(seen.len(), count as usize, "each was seen");
    println!(
        "{} connections were cut, {} jobs were taken again",
        way.cut.load(Ordering::Relaxed),
        seen.values().filter(|times| **times > 1).count()
    );
    assert!(way.cut.load(Ordering::Relaxed) > 5);
    assert!(take_none(&engine, &queue).await);
}

/// Whether nothing is left.
async fn take_none(engine: &Postgres, queue: &SharedQueue) -> bool {
    use millpond_links::Lease;
    loop {
        if let Ok(taken) = engine.take(queue, "one", 1, SOON).await {
            return taken.is_empty();
        }
    }
}
