//! The events as they happen.

use futures_util::StreamExt;
use millpond::dashboard::{PondSource, Source};

use crate::support::*;

#[tokio::test]
async fn what_happens_is_told_until_the_queue_is_closed() {
    let file = OnDisk::new();
    let pond = file.open();
    let source = PondSource::new(&pond);
    let mut events = source.events();
    let id = pond.enqueue("mail", work(7)).await.unwrap();
    let event = events.next().await.unwrap();
    assert_eq!((event.kind.as_str(), event.queue.as_deref()), ("enqueued", Some("mail")));
    assert_eq!((event.job, event.detail.as_str()), (Some(id.id.to_string()), "kind work"));
    pond.queue("mail").unwrap().pause_group("g").await.unwrap();
    let event = events.next().await.unwrap();
    assert_eq!((event.kind.as_str(), event.detail.as_str()), ("paused", "group g"));
    drop(source);
    close(pond).await;
    assert_eq!(events.next().await, None);
}
