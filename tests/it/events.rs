//! Events are published in order, after what they report is durable, and a slow listener delays nothing.

use millpond::{Event, Job, Millpond, Missed, Outcome, Retry};

use crate::support::*;

fn name(event: &Event) -> &'static str {
    match event {
        Event::Enqueued { .. } => "enqueued",
        Event::Completed { .. } => "completed",
        Event::Retrying { .. } => "retrying",
        Event::Snoozed { .. } => "snoozed",
        Event::Dead { .. } => "dead",
        Event::Cancelled { .. } => "cancelled",
        Event::Redriven { .. } => "redriven",
        Event::Paused { .. } => "paused",
        Event::Resumed { .. } => "resumed",
        Event::RateLimited { .. } => "rate limited",
        _ => "other",
    }
}

#[tokio::test]
async fn the_events_of_a_job_arrive_in_order() {
    let (clock, pond) = memory();
    pond.worker("q")
        .retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(2))
        .handle(|job: Job<Work>| async move {
            match (job.n, job.attempt()) {
                (1, 1) => Err("first".into()),
                (2, _) => Err("always".into()),
                _ => Ok(Outcome::Done(None)),
            }
        })
        .start()
        .unwrap();
    let mut events = pond.events();
    let one = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    let told = heard(&mut events);
    assert_eq!(told.iter().map(name).collect::<Vec<_>>(), ["enqueued", "retrying", "completed"]);
    assert!(
        matches!(&told[1], Event::Retrying { id, attempt: 1, error, delay, .. } if *id == one && error == "first" && *delay == SECOND)
    );
    assert!(
        matches!(&told[2], Event::Completed { id, attempt: 2, queue, kind, .. } if *id == one && &**queue == "q" && &**kind == "work")
    );

    let two = pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.queue("q").unwrap().pause_group("g").await.unwrap();
    pond.dead_letters().redrive(two).await.unwrap();
    pond.cancel(two, "enough").await.unwrap();
    pond.queue("q").unwrap().resume().await.unwrap();
    settled(&pond).await;
    let told: Vec<_> = heard(&mut events).iter().map(name).collect();
    assert_eq!(told, ["enqueued", "retrying", "dead", "paused", "paused", "redriven", "cancelled", "resumed"]);
}

#[tokio::test]
async fn jobs_of_a_transaction_have_the_same_events_as_any_other() {
    let (_, pond) = memory();
    let mut events = pond.events();
    let id = pond.transaction(|tx| Ok(tx.enqueue("q", work(1))?)).await.unwrap();
    let mut guard = pond.begin_write().unwrap();
    let second = guard.enqueue("q", work(2)).unwrap();
    guard.commit().unwrap();
    settled(&pond).await;
    let told: Vec<_> = heard(&mut events)
        .into_iter()
        .map(|event| match event {
            Event::Enqueued { id, .. } => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [id, second]);
}

#[tokio::test]
async fn what_was_not_committed_has_no_events() {
    let (_, pond) = memory();
    let mut events = pond.events();
    let _ = pond
        .transaction(|tx| {
            tx.enqueue("q", work(1))?;
            Err::<(), _>("no".into())
        })
        .await;
    let mut guard = pond.begin_write().unwrap();
    guard.enqueue("q", work(1)).unwrap();
    drop(guard);
    settled(&pond).await;
    assert_eq!(heard(&mut events), []);
}

#[tokio::test]
async fn an_event_is_published_only_after_the_sync() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let mut events = pond.events();
    settled(&pond).await;
    disk.hold_syncs();
    let call = tokio::spawn(pond.enqueue("q", work(1)));
    sync_begun(&disk).await;
    assert_eq!(heard(&mut events), []);
    disk.release_syncs();
    let id = call.await.unwrap().unwrap();
    assert!(matches!(events.next().await, Some(Ok(Event::Enqueued { id: told, .. })) if told == id));
}

#[tokio::test]
async fn what_an_event_reports_is_already_in_the_file() {
    let (_, pond) = memory();
    pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::done_with("x")) }).start().unwrap();
    let mut events = pond.events();
    pond.enqueue_many("q", (0..50).map(work)).await.unwrap();
    let mut completed = 0;
    while completed < 50 {
        match events.next().await.unwrap() {
            Ok(Event::Completed { id, .. }) => {
                assert_eq!(state(&pond, id), millpond::State::Completed);
                completed += 1;
            }
            Ok(Event::Enqueued { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_slow_listener_gets_the_number_of_events_that_it_missed() {
    let (_, pond) = memory_with(|builder| builder.events_buffer(16));
    let mut events = pond.events();
    pond.enqueue_many("q", (0..100).map(work)).await.unwrap();
    settled(&pond).await;
    let Some(Err(Missed { count: missed, .. })) = events.next().await else { panic!("an event must arrive") };
    let mut rest = 0;
    while let Some(Ok(Event::Enqueued { .. })) = events.try_next() {
        rest += 1;
    }
    assert_eq!((missed + rest, rest), (100, 16));
}

#[tokio::test]
async fn a_listener_gets_the_last_events_and_then_the_end_of_the_stream() {
    let (_, pond) = memory();
    let mut events = pond.events();
    record(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond.clone()).await;
    let mut told = Vec::new();
    while let Some(Ok(event)) = events.next().await {
        told.push(name(&event));
    }
    assert!(told.contains(&"enqueued"), "{told:?}");
    assert_eq!(events.try_next(), None);
    assert_eq!(pond.events().next().await, None, "nothing follows");
}

#[test]
fn a_thread_can_wait_for_events() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let mut events = pond.events();
    let thread = std::thread::spawn(move || events.next_blocking());
    pond.enqueue("q", work(1)).wait().unwrap();
    assert!(matches!(thread.join().unwrap().unwrap(), Some(Ok(Event::Enqueued { .. }))));
    pond.shutdown(SECOND).wait().unwrap();
}

#[tokio::test]
async fn a_dropped_listener_is_removed() {
    let (_, pond) = memory();
    drop(pond.events());
    pond.enqueue("q", work(1)).await.unwrap();
    let mut late = pond.events();
    pond.enqueue("q", work(2)).await.unwrap();
    settled(&pond).await;
    assert_eq!(heard(&mut late).len(), 1, "only events of later commits arrive");
}
