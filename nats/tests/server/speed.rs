//! Figures, in one run: the engine beside a bare producer and a bare consumer of the same server.
//!
//! ```text
//! cargo test --release -p millpond-nats --test server -- --ignored --nocapture speed::
//! ```

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use millpond_links::{Append, Batch, Envelope, Lease, Log, Mailbox, Origin, SharedQueue};
use millpond_links_testkit::speed::{BATCH, envelope, from_file_to_file, told};
use millpond_nats::JetStream;
use millpond_nats::async_nats::jetstream::{self, consumer, stream};

use crate::support::Server;

const JOBS: usize = 50_000;
const LEASE: Duration = Duration::from_secs(600);

/// Publishes without atomic batches: 500 messages on their way, each acknowledged.
async fn publish(context: &jetstream::Context, subject: &str) {
    for first in (0..JOBS).step_by(BATCH) {
        let mut acknowledged = Vec::with_capacity(BATCH);
        for number in first..first + BATCH {
            let mut headers = millpond_nats::async_nats::HeaderMap::new();
            let Envelope { headers: of_job, payload, .. } = envelope(number);
            of_job.iter().for_each(|(name, value)| headers.insert(name.as_str(), value.as_str()));
            let sent = context.publish_with_headers(subject.to_owned(), headers, payload).await.unwrap();
            acknowledged.push(async move { sent.await.unwrap() });
        }
        join_all(acknowledged).await;
    }
}

async fn append_all(engine: &JetStream, to: millpond_links::Destination) {
    let of = Origin { file: 1, incarnation: 0, queue: "readings".into() };
    let ids: Vec<u64> = (0..BATCH as u64).collect();
    let mut revision = 0;
    for number in 0..JOBS / BATCH {
        let envelopes: Vec<Envelope> = (0..BATCH).map(|place| envelope(number * BATCH + place)).collect();
        let batch = Batch { number: number as u64 + 1, ids: &ids, hash: 0, envelopes: &envelopes };
        match engine.append(&to, &of, revision, batch).await.unwrap() {
            Append::Stored(next) => revision = next,
            Append::Stale => panic!("nobody else sends"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: takes a minute"]
async fn jobs_per_second_through_mailboxes_and_shared_queues() {
    let Some(server) = Server::start() else { return };
    let client = millpond_nats::async_nats::connect(server.address()).await.unwrap();
    let context = jetstream::new(client);
    let engine = JetStream::connect(&server.address()).start().await.unwrap();
    engine.check().await.unwrap();
    let config = |name: &str, retention| stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        retention,
        ..stream::Config::default()
    };
    let log = context.create_stream(config("BARE", stream::RetentionPolicy::Limits)).await.unwrap();
    let work = context.create_stream(config("WORK", stream::RetentionPolicy::WorkQueue)).await.unwrap();

    let begun = Instant::now();
    publish(&context, "BARE.job").await;
    let bare_append = told("log: bare publish, 500 on their way", JOBS, begun);
    let mailbox = Mailbox::named("hub").unwrap();
    let begun = Instant::now();
    append_all(&engine, mailbox.clone().into()).await;
    let of_append = told("log: append of 500", JOBS, begun);

    let none = consumer::pull::Config { ack_policy: consumer::AckPolicy::None, ..consumer::pull::Config::default() };
    let bare = log.create_consumer(none).await.unwrap();
    let (begun, mut count) = (Instant::now(), 0);
    while count < JOBS {
        let mut messages = bare.fetch().max_messages(BATCH).messages().await.unwrap();
        while let Some(message) = messages.next().await {
            count += usize::from(message.is_ok());
        }
    }
    let bare_read = told("log: bare fetch of 500", JOBS, begun);
    let (begun, mut after, mut count) = (Instant::now(), 0, 0);
    while count < JOBS {
        let page = engine.read(&mailbox, after, BATCH).await.unwrap();
        (after, count) = (page.envelopes.last().map_or(after, |last| last.0), count + page.envelopes.len());
    }
    let of_read = told("log: read of 500", JOBS, begun);

    publish(&context, "WORK.job").await;
    let shared = SharedQueue::named("work").unwrap();
    append_all(&engine, shared.clone().into()).await;
    let durable = consumer::pull::Config {
        durable_name: Some("work".into()),
        max_ack_pending: 100_000,
        ..consumer::pull::Config::default()
    };
    let bare = work.create_consumer(durable).await.unwrap();
    let (begun, mut count) = (Instant::now(), 0);
    while count < JOBS {
        let mut messages = bare.fetch().max_messages(100).messages().await.unwrap();
        let mut taken = Vec::new();
        while let Some(message) = messages.next().await {
            taken.push(message.unwrap());
        }
        join_all(taken.iter().map(|message| message.double_ack())).await.into_iter().for_each(|acked| acked.unwrap());
        count += taken.len();
    }
    let bare_take = told("queue: bare fetch and confirmed ack of 100", JOBS, begun);
    let (begun, mut count) = (Instant::now(), 0);
    while count < JOBS {
        let taken = engine.take(&shared, "one", 100, LEASE).await.unwrap();
        let ids: Vec<_> = taken.into_iter().map(|leased| leased.id).collect();
        engine.end(&shared, &ids).await.unwrap();
        count += ids.len();
    }
    let of_take = told("queue: take and end of 100", JOBS, begun);
    println!(
        "of the bare ones: append {:.2}, read {:.2}, take and end {:.2}",
        of_append / bare_append,
        of_read / bare_read,
        of_take / bare_take
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: takes a minute"]
async fn jobs_per_second_from_file_to_file() {
    let Some(server) = Server::start() else { return };
    let engine = JetStream::connect(&server.address()).start().await.unwrap();
    engine.check().await.unwrap();
    from_file_to_file(&engine, 10_000).await;
}
