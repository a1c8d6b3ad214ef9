//! What is kept of a mailbox.

use std::time::Duration;

use millpond_links::{Log, Mailbox};
use millpond_postgres::Postgres;

use crate::jobs::{envelope, origin, send};
use crate::support::Server;

fn hub() -> Mailbox {
    Mailbox::named("hub").unwrap().partitions(4).unwrap()
}

const STORED: &str = "select count(*) from millpond.entry";

/// A receiver that was started now, and has stored the mailbox up to this position.
async fn reads(server: &Server, keep: Option<Duration>, mailbox: &Mailbox, position: u64) -> Postgres {
    let engine = server.connect().keep_read(keep).start().unwrap();
    engine.read(mailbox, position, 1).await.unwrap();
    engine
}

#[tokio::test]
async fn only_what_all_receivers_of_a_partition_have_stored_is_removed_and_only_when_it_is_old() {
    let Some(server) = Server::start() else { return };
    let jobs: Vec<_> = (0..40).map(|number| envelope(number % 4, &number.to_string())).collect();
    let engine = server.engine();
    send(&engine, hub(), &origin(1), &jobs).await;
    let all = engine.read(&hub(), 0, 100).await.unwrap().envelopes;
    let (fifth, last) = (all[19].0, all[39].0);
    let some = hub().only(0..2).unwrap();
    // The first engine has told that it has stored nothing.
    reads(&server, Some(Duration::ZERO), &some, last).await;
    assert_eq!(server.number(STORED).await, 40, "a receiver of all partitions has stored nothing");
    assert!(engine.forget_reader(&hub(), 0..4).await.unwrap());
    reads(&server, None, &some, last).await;
    reads(&server, Some(Duration::from_secs(3_600)), &some, last).await;
    assert_eq!(server.number(STORED).await, 40, "what was read is not old");
    reads(&server, Some(Duration::ZERO), &some, fifth).await;
    assert_eq!(server.number(STORED).await, 30, "half of what the receiver reads");
    reads(&server, Some(Duration::ZERO), &some, last).await;
    assert_eq!(server.number(STORED).await, 20, "what nobody reads stays");
    let readers = engine.readers(&hub()).await.unwrap();
    assert_eq!((readers.len(), readers[0].partitions.clone(), readers[0].position), (1, 0..2, last));
    assert!(readers[0].at.elapsed().is_ok_and(|ago| ago < Duration::from_secs(600)));
    assert!(!engine.forget_reader(&hub(), 0..3).await.unwrap(), "there is none of these");
}

#[tokio::test]
async fn a_mailbox_is_trimmed_up_to_a_position() {
    let Some(server) = Server::start() else { return };
    let engine = server.engine();
    let jobs: Vec<_> = (0..10).map(|number| envelope(number % 4, &number.to_string())).collect();
    send(&engine, hub(), &origin(1), &jobs).await;
    send(&engine, Mailbox::named("other").unwrap(), &origin(1), &jobs).await;
    let all = engine.read(&hub(), 0, 100).await.unwrap();
    assert_eq!(engine.trim(&hub(), all.envelopes[6].0).await.unwrap(), 7);
    let rest = engine.read(&hub(), 0, 100).await.unwrap();
    assert_eq!(rest.envelopes, all.envelopes[7..]);
    assert_eq!(engine.trim(&hub(), u64::MAX).await.unwrap(), 3);
    let none = engine.read(&hub(), all.end, 100).await.unwrap();
    assert_eq!((none.envelopes.len(), none.end), (0, all.end), "the end is where it was, so nothing seems to be lost");
    assert_eq!(server.number(STORED).await, 10, "another mailbox is as it was");
}
