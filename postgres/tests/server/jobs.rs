//! Jobs and origins for tests of the engine alone.

use std::time::Duration;

use bytes::Bytes;
use millpond_links::{Append, Batch, Destination, Envelope, InDoubt, Lease, Leased, Log, Origin, SharedQueue};
use millpond_links_testkit::SOON;
use millpond_postgres::Postgres;
use millpond_postgres::tokio_postgres::Client;

pub fn origin(file: u128) -> Origin {
    Origin { file, incarnation: 0, queue: "readings".into() }
}

pub fn envelope(partition: u16, text: &str) -> Envelope {
    let headers = vec![("ce-id".to_owned(), text.to_owned())];
    Envelope { partition, headers, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

/// Appends jobs as batch `number`.
pub async fn append(
    engine: &Postgres,
    to: impl Into<Destination>,
    of: &Origin,
    expected: u64,
    number: u64,
    envelopes: &[Envelope],
) -> Result<Append, InDoubt> {
    let ids: Vec<u64> = (0..envelopes.len() as u64).collect();
    engine.append(&to.into(), of, expected, Batch { number, ids: &ids, hash: 7, envelopes }).await
}

/// Appends the first batch of an origin.
pub async fn send(engine: &Postgres, to: impl Into<Destination>, of: &Origin, envelopes: &[Envelope]) {
    let stored = append(engine, to, of, 0, 1, envelopes).await.unwrap();
    assert!(matches!(stored, Append::Stored(_)), "{stored:?}");
}

/// Takes until so many jobs have come.
pub async fn take(engine: &Postgres, from: &SharedQueue, owner: &str, count: usize, lease: Duration) -> Vec<Leased> {
    let take = async {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(engine.take(from, owner, count - all.len(), lease).await.unwrap());
        }
        all
    };
    tokio::time::timeout(SOON, take).await.expect("they are taken")
}

/// Waits until this query returns true.
pub async fn until_true(client: &Client, sql: &str) {
    let poll = async {
        while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, poll).await.unwrap_or_else(|_| panic!("not true: {sql}"));
}
