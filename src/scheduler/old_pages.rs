//! A page of entries can be older than what the scheduler knows, and what the writer is told comes later than what it knows.

use std::sync::Arc;
use std::time::Duration;

use super::feed::{FedPage, Feed, FeedRefill};
use super::limits::WindowLimits;
use crate::job::{
    EntryOf, EntryOrder, EntryPlace, Feeding, JobId, Kinds, Passed, Payload, Priority, QueueId, ReadyJob, Record,
};
use crate::time::Timestamp;

const QUEUE: QueueId = 1;

/// The entry at this offset. Whenever it is read, it gets another id.
fn entry(offset: u64, key: &str, id: u64) -> Arc<ReadyJob> {
    let mut record = Record::new(1, Priority::default(), Timestamp::EPOCH, Payload::raw(""));
    let passed = Some(Passed { from: offset, epoch: 0 });
    record.for_consumer(EntryPlace { of: EntryOf::new("s".into(), offset), passed }, Some(key.into()));
    Arc::new(ReadyJob::new(JobId::new(id), id, record, 32))
}

/// A page with these entries and the next one behind them, read from a file in which these groups have jobs.
fn page(entries: &[(u64, &str)], first_id: u64, in_use: &[&str]) -> FedPage {
    let next = entries.last().map_or(0, |(offset, _)| offset + 1);
    let entries = (first_id..).zip(entries).map(|(id, (offset, key))| entry(*offset, key, id)).collect();
    FedPage {
        entries,
        next,
        end: next,
        in_use: in_use.iter().map(|name| (*name).into()).collect(),
        ..FedPage::default()
    }
}

fn feed() -> Feed {
    let feeding = Feeding { stream: "s".into(), number: 1, order: EntryOrder::ByKey };
    Feed::new(feeding, WindowLimits { jobs_max: 8, bytes_max: 10_000, mark_after: Duration::ZERO })
}

fn asks(feed: &mut Feed) -> FeedRefill {
    feed.wants_page(QUEUE, Kinds::default).expect("it wants a page")
}

/// The offsets of the entries that may start now, all of which start.
fn starts(feed: &mut Feed) -> Vec<u64> {
    let started = std::iter::from_fn(|| feed.pop());
    started.map(|job| job.record.entry().expect("an entry").offset).collect()
}

/// A feed of which entry 0, with the key `a` and the id 1, is running, and which has asked for its entries again.
fn asking_again() -> Feed {
    let mut feed = feed();
    asks(&mut feed);
    feed.fed(page(&[(0, "a")], 1, &[]), |_| true);
    assert_eq!(starts(&mut feed), [0]);
    feed.restart();
    assert!(asks(&mut feed).from.is_none(), "it reads the cursor again");
    feed
}

#[test]
fn an_entry_that_was_settled_meanwhile_does_not_start_again() {
    let mut feed = asking_again();
    feed.settled(JobId::new(1));
    feed.fed(page(&[(0, "a"), (1, "a"), (2, "b")], 11, &[]), |_| true);
    assert_eq!(starts(&mut feed), [1, 2]);
}

#[test]
fn an_entry_that_runs_does_not_start_again_and_its_key_waits_for_it() {
    let mut feed = asking_again();
    feed.fed(page(&[(0, "a"), (1, "a"), (2, "b")], 11, &[]), |_| true);
    assert_eq!(starts(&mut feed), [2]);
    feed.settled(JobId::new(1));
    assert_eq!(starts(&mut feed), [1]);
}

#[test]
fn the_entries_of_a_key_that_has_got_a_job_meanwhile_wait_for_it() {
    let mut feed = asking_again();
    feed.is_job(JobId::new(1));
    feed.fed(page(&[(1, "a"), (2, "b")], 11, &[]), |_| true);
    assert_eq!(starts(&mut feed), [2]);
    feed.group_empty(&"a".into());
    assert_eq!(starts(&mut feed), [1]);
}

#[test]
fn the_entries_of_a_key_whose_last_job_has_ended_meanwhile_start() {
    let mut feed = asking_again();
    feed.is_job(JobId::new(1));
    feed.group_empty(&"a".into());
    feed.fed(page(&[(1, "a")], 11, &["a"]), |_| true);
    assert_eq!(starts(&mut feed), [1]);
}

#[test]
fn a_page_from_before_the_consumer_was_moved_is_not_used() {
    let mut feed = feed();
    asks(&mut feed);
    feed.moved(|_| true);
    feed.fed(page(&[(0, "a")], 1, &[]), |_| true);
    assert_eq!(starts(&mut feed), [0; 0]);
    assert!(asks(&mut feed).from.is_none(), "it reads the cursor again");
    feed.fed(page(&[(5, "a")], 11, &[]), |_| true);
    assert_eq!(starts(&mut feed), [5]);
}

#[test]
fn entries_that_retention_removes_meanwhile_do_not_start() {
    let mut feed = feed();
    asks(&mut feed);
    assert!(!feed.begin_at(2), "none of them is here");
    feed.fed(page(&[(0, "a"), (1, "b"), (2, "c")], 1, &[]), |_| true);
    assert_eq!(starts(&mut feed), [2]);
}

#[test]
fn entries_that_could_not_become_jobs_are_read_again() {
    let mut feed = feed();
    asks(&mut feed);
    feed.fed(page(&[(0, "a"), (1, "a"), (2, "a"), (3, "a"), (4, "a"), (5, "a")], 1, &[]), |_| true);
    assert_eq!(starts(&mut feed), [0]);
    feed.is_job(JobId::new(1));
    assert_eq!(feed.held_up().map(|jobs| jobs.len()), Some(5));
    feed.grown(7);
    assert!(feed.wants_page(QUEUE, Kinds::default).is_none(), "there is no room");
    feed.converted(false);
    assert!(asks(&mut feed).from.is_none(), "it reads the cursor again");
    feed.fed(page(&[(1, "a")], 11, &["a"]), |_| false);
    feed.group_empty(&"a".into());
    assert_eq!(starts(&mut feed), [1]);
}

#[test]
fn an_entry_waits_for_those_of_its_key_that_are_about_to_be_jobs() {
    let mut feed = feed();
    asks(&mut feed);
    feed.fed(page(&[(0, "a"), (1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")], 1, &[]), |_| true);
    assert_eq!(starts(&mut feed), [0, 2, 3, 4, 5]);
    feed.is_job(JobId::new(1));
    assert_eq!(feed.held_up().map(|jobs| jobs.len()), Some(1), "entry 1 waits, and takes up room");
    (3..=6).for_each(|id| feed.settled(JobId::new(id)));
    feed.grown(7);
    asks(&mut feed);
    feed.fed(page(&[(6, "a")], 7, &["a"]), |_| true);
    // The job that was entry 0 ends before the writer comes to entry 1.
    feed.group_empty(&"a".into());
    assert_eq!(starts(&mut feed), [0; 0]);
    feed.is_job(JobId::new(2));
    feed.converted(true);
    assert_eq!(starts(&mut feed), [0; 0]);
    feed.group_empty(&"a".into());
    assert_eq!(starts(&mut feed), [6]);
}
