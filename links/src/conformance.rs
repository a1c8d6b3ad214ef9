//! Checks that an engine is one on which links can rely. The tests of each engine's crate call it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    Append, Batch, Cursor, Destination, Ended, Envelope, Held, Lease, LeaseId, Leased, Log, Mailbox, Origin,
    SharedQueue,
};

fn envelope(partition: u16, text: &str) -> Envelope {
    let headers =
        vec![("ce-id".to_owned(), text.to_owned()), ("mp-escaped".to_owned(), "caf%C3%A9 au lait".to_owned())];
    Envelope { partition, headers, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

async fn append(
    log: &impl Log,
    to: &Destination,
    of: &Origin,
    expected: u64,
    number: u64,
    envelopes: &[Envelope],
) -> Append {
    let ids: Vec<u64> = (0..envelopes.len() as u64).map(|n| number * 1_000 + n).collect();
    let batch = Batch { number, ids: &ids, hash: number as u32 ^ 0xdead_beef, envelopes };
    log.append(to, of, expected, batch).await.expect("the engine answers")
}

/// Reads until `count` jobs have come, in pages of `max`.
async fn read(log: &impl Log, of: &Mailbox, mut after: u64, count: usize, max: usize) -> Vec<(u64, Envelope)> {
    let mut all = Vec::new();
    while all.len() < count {
        let page = log.read(of, after, max).await.expect("the engine answers");
        assert!(page.envelopes.len() <= max, "a page has at most so many jobs as were asked for");
        for (position, envelope) in page.envelopes {
            assert!(position > after, "positions grow");
            assert!(position <= page.end, "no job is behind the end of the log");
            after = position;
            all.push((position, envelope));
        }
    }
    all
}

/// Checks an engine, in mailboxes whose names no earlier call has used.
///
/// # Panics
/// If the engine does not do what [`Log`] says.
pub async fn check(log: &impl Log) {
    let name = format!("conformance-{:016x}", fastrand::u64(..));
    let mailbox = Mailbox::named(&name).expect("a good name").partitions(4).expect("a good number");
    let other: Destination = Mailbox::named(format!("{name}-other")).expect("a good name").into();
    let to: Destination = mailbox.clone().into();
    let origin = |queue: &str| Origin { file: fastrand::u128(..), incarnation: 0, queue: queue.into() };
    let (first, second) = (origin("queue.one"), origin("queue:two"));
    assert!(log.limits().batch > 0 && log.limits().envelope_bytes > 0, "limits are positive");

    let cursor = |of: Origin| {
        let to = to.clone();
        async move { log.cursor(&to, &of).await.expect("the engine answers") }
    };
    assert_eq!(cursor(first.clone()).await, None, "nothing was sent yet");

    // A batch, its cursor, and its jobs in order.
    let sent: Vec<Envelope> = (0..10).map(|n| envelope(n % 4, &format!("job {n}"))).collect();
    let Append::Stored(revision) = append(log, &to, &first, 0, 1, &sent).await else {
        panic!("the first batch is stored if no cursor is expected")
    };
    let expected = Cursor { batch: 1, ids: (1_000..1_010).collect(), hash: 1 ^ 0xdead_beef, revision };
    assert_eq!(cursor(first.clone()).await, Some(expected), "the cursor is that of the batch");
    assert_eq!(cursor(second.clone()).await, None, "each origin has a cursor of its own");
    let got = read(log, &mailbox, 0, 10, 3).await;
    let texts = |got: &[(u64, Envelope)]| got.iter().map(|(_, envelope)| envelope.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&got), sent, "jobs come as they were sent, in order, in pages");

    // A batch whose cursor is not the expected one leaves nothing behind.
    for stale in [0, revision + 1_000] {
        let refused = append(log, &to, &first, stale, 2, &[envelope(0, "never")]).await;
        assert_eq!(refused, Append::Stale, "an append that expects revision {stale} is refused");
    }
    let Append::Stored(next) = append(log, &to, &first, revision, 2, &[envelope(3, "next")]).await else {
        panic!("a batch that expects the latest revision is stored")
    };
    assert_ne!(next, revision, "each batch has a revision of its own");
    let behind = read(log, &mailbox, got[9].0, 1, 10).await;
    assert_eq!(
        texts(&behind),
        [envelope(3, "next")],
        "what was refused is not there, and reading goes on behind a position"
    );

    // A receiver gets its own partitions, and no other mailbox.
    let Append::Stored(_) = append(log, &other, &second, 0, 1, &[envelope(0, "elsewhere")]).await else {
        panic!("another mailbox is independent")
    };
    let part = mailbox.clone().only(1..3).expect("it has them");
    let of_part: Vec<Envelope> = sent.iter().filter(|envelope| (1..3).contains(&envelope.partition)).cloned().collect();
    assert_eq!(texts(&read(log, &part, 0, of_part.len(), 100).await), of_part, "only the partitions that are read");
    let nothing = log.read(&part, behind[0].0, 10).await.expect("the engine answers");
    assert!(nothing.envelopes.is_empty(), "there is nothing else for these partitions");
    assert!(nothing.end >= behind[0].0, "the end is not before what was read");

    // As much at once as the engine says that it takes.
    let large: Vec<Envelope> = (0..log.limits().batch).map(|n| envelope(0, &n.to_string())).collect();
    let full = Mailbox::named(format!("{name}-full")).expect("a good name");
    let Append::Stored(_) = append(log, &full.clone().into(), &first, 0, 1, &large).await else {
        panic!("a full batch is stored")
    };
    assert_eq!(texts(&read(log, &full, 0, large.len(), 500).await), large, "a full batch arrives in order");
}

/// The lease that [`check_leases`] asks for: long enough for the calls of one step, and short enough to wait for its end.
const LEASE: Duration = Duration::from_secs(3);

/// Takes until `count` jobs have come.
async fn take(engine: &impl Lease, from: &SharedQueue, count: usize, max: usize) -> Vec<Leased> {
    let (mut all, begun) = (Vec::new(), Instant::now());
    while all.len() < count {
        let taken = engine.take(from, "conformance", max, LEASE).await.expect("the engine answers");
        assert!(taken.len() <= max, "at most as many jobs are taken as were asked for");
        all.extend(taken);
        assert!(begun.elapsed() < Duration::from_secs(30), "{} of {count} jobs are taken in 30 seconds", all.len());
    }
    all
}

fn ids(taken: &[Leased]) -> Vec<LeaseId> {
    taken.iter().map(|leased| leased.id.clone()).collect()
}

fn texts(taken: &[Leased]) -> BTreeSet<Vec<u8>> {
    taken.iter().map(|leased| leased.envelope.payload.to_vec()).collect()
}

/// Checks the leases of an engine, in shared queues whose names no earlier call has used. Takes about ten seconds.
///
/// # Panics
/// If the engine does not do what [`Lease`] says.
pub async fn check_leases(engine: &impl Lease) {
    let name = format!("conformance-{:016x}", fastrand::u64(..));
    let queue = SharedQueue::named(&name).expect("a good name");
    let other = SharedQueue::named(format!("{name}-other")).expect("a good name");
    let origin = Origin { file: fastrand::u128(..), incarnation: 0, queue: "shared".into() };
    let none = engine.take(&queue, "conformance", 10, LEASE).await.expect("the engine answers");
    assert!(none.is_empty(), "a queue that nobody has used has no jobs");

    // A mailbox of the same name is another destination.
    let mailbox = Destination::Mailbox(Mailbox::named(&name).expect("a good name"));
    append(engine, &mailbox, &origin, 0, 1, &[envelope(0, "of the mailbox")]).await;
    append(engine, &other.clone().into(), &origin, 0, 1, &[envelope(0, "of another queue")]).await;
    let sent: Vec<Envelope> = (0..10).map(|n| envelope(0, &format!("job {n}"))).collect();
    let Append::Stored(revision) = append(engine, &queue.clone().into(), &origin, 0, 1, &sent).await else {
        panic!("the first batch is stored if no cursor is expected")
    };
    let stale = append(engine, &queue.clone().into(), &origin, revision + 1_000, 2, &[envelope(0, "never")]).await;
    assert_eq!(stale, Append::Stale, "a batch that expects another revision is refused");

    // Each job is taken once while its lease lasts, the oldest ones first, as it was sent.
    let first = take(engine, &queue, 4, 4).await;
    let of_first: Vec<Envelope> = first.iter().map(|leased| leased.envelope.clone()).collect();
    assert_eq!(of_first, sent[..4], "the oldest jobs are taken first, as they were sent");
    let rest = take(engine, &queue, 6, 100).await;
    let all: BTreeSet<Vec<u8>> = sent.iter().map(|envelope| envelope.payload.to_vec()).collect();
    assert_eq!(&texts(&first) | &texts(&rest), all, "all jobs are taken");
    assert!(first.iter().chain(&rest).all(|leased| leased.delivery == 1), "each for the first time");
    let none = engine.take(&queue, "conformance", 10, LEASE).await.expect("the engine answers");
    assert!(none.is_empty(), "nothing is taken twice");

    // What has ended does not come again, and what is extended lasts.
    let ended = engine.end(&queue, &ids(&rest[..4])).await.expect("the engine answers");
    assert_eq!(ended, [Ended::Ended; 4], "jobs that were held are ended");
    let extended_at = Instant::now();
    let extended = engine.extend(&queue, &ids(&rest[4..]), LEASE).await.expect("the engine answers");
    assert_eq!(extended, [Held::Yours; 2], "leases that last are extended");

    // A job that was given back comes again at once, with a higher count.
    engine.give_back(&queue, &ids(&first[..1]), Duration::ZERO).await.expect("the engine answers");
    let again = take(engine, &queue, 1, 100).await;
    assert_eq!((&again[0].envelope, again[0].delivery), (&sent[0], 2), "what was given back comes again");
    assert_ne!(again[0].id, first[0].id, "each lease has an id of its own");

    // The leases that were not extended end, and their jobs come again. Those that were extended in time do not.
    let mut lapsed = Vec::new();
    while lapsed.len() < 3 {
        assert!(extended_at.elapsed() < 10 * LEASE, "leases that are not extended end");
        if extended_at.elapsed() < 2 * LEASE {
            let extended = engine.extend(&queue, &ids(&rest[4..]), LEASE).await.expect("the engine answers");
            assert_eq!(extended, [Held::Yours; 2], "leases that last are extended");
            engine.extend(&queue, &ids(&again), LEASE).await.expect("the engine answers");
        }
        lapsed.extend(engine.take(&queue, "conformance", 100, LEASE).await.expect("the engine answers"));
    }
    assert_eq!(texts(&lapsed), texts(&first[1..]), "exactly the jobs whose leases have ended come again");
    assert!(lapsed.iter().all(|leased| leased.delivery == 2), "the count says that they were taken before");

    // The end of all. An empty answer says that nothing is left.
    let held: Vec<Leased> = lapsed.into_iter().chain(again).chain(rest.into_iter().skip(4)).collect();
    engine.end(&queue, &ids(&held)).await.expect("the engine answers");
    let begun = Instant::now();
    while begun.elapsed() < LEASE + Duration::from_secs(1) {
        let none = engine.take(&queue, "conformance", 10, LEASE).await.expect("the engine answers");
        assert!(none.is_empty(), "what has ended does not come again");
    }
    let elsewhere = take(engine, &other, 1, 10).await;
    assert_eq!(elsewhere[0].envelope, envelope(0, "of another queue"), "queues are independent");
}
