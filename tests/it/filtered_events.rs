//! `events_where`: an event that the filter rejects takes no place in the listener's buffer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::{Error, Event, Job, Millpond, Outcome};

use crate::support::*;

/// A queue with room for two events, whose job 1 fails for good.
fn small() -> Millpond {
    let (_, pond) = memory_with(|builder| builder.events_buffer(2));
    let handler =
        |job: Job<Work>| async move { Ok(if job.n == 1 { Outcome::dead_letter("no") } else { Outcome::Done(None) }) };
    pond.worker("q").handle(handler).start().unwrap();
    pond
}

#[tokio::test]
async fn many_unwanted_events_do_not_displace_those_that_a_listener_wants() {
    let pond = small();
    let (mut all, mut dead) = (pond.events(), pond.events_where(|event| matches!(event, Event::Dead { .. })));
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    pond.enqueue_many("q", (2..100).map(work)).await.unwrap();
    drained(&pond).await;
    assert!(matches!(all.next().await, Some(Err(millpond::Missed { .. }))));
    assert!(matches!(dead.try_next(), Some(Ok(Event::Dead { .. }))));
    assert_eq!(dead.try_next(), None);
    close(pond).await;
    assert_eq!(dead.next().await, None, "the queue is closed");
}

#[tokio::test]
async fn a_slow_listener_gets_the_number_of_wanted_events_that_it_missed() {
    let pond = small();
    let mut paused = pond.events_where(|event| matches!(event, Event::Paused { .. }));
    let queue = pond.queue("q").unwrap();
    for _ in 0..5 {
        queue.pause().await.unwrap();
        queue.resume().await.unwrap();
    }
    assert!(matches!(paused.try_next(), Some(Err(millpond::Missed { count: 3, .. }))));
}

#[tokio::test]
async fn a_filter_cannot_wait_for_the_queue_and_its_panic_accepts_the_event() {
    let pond = small();
    let caller = pond.clone();
    let refused = Log::new();
    let answers = refused.clone();
    let mut all = pond.events_where(move |_| {
        answers.push(matches!(caller.enqueue("q", work(9)).wait(), Err(Error::WouldDeadlock)));
        panic!("a filter of the test's")
    });
    pond.queue("q").unwrap().pause().await.unwrap();
    assert!(matches!(all.next().await, Some(Ok(Event::Paused { .. }))));
    assert_eq!(refused.all(), [true]);
}

#[tokio::test]
async fn a_filter_is_dropped_once_its_listener_is_gone_and_another_one_comes() {
    let pond = small();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let listener = pond.events_where(move |_| counted.fetch_add(1, Ordering::SeqCst) > 0);
    drop(listener);
    pond.queue("q").unwrap().pause().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 0, "nobody listens");
    let _other = pond.events_where(|_| true);
    assert_eq!(Arc::strong_count(&calls), 1);
}
