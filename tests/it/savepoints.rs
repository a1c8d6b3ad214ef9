//! The application can roll an attached database back to a savepoint, and the queue's tables with it.

use std::sync::Arc;

use millpond::{Error, Event, State};
use redb::Database;

use crate::support::*;

fn save(db: &Database) -> u64 {
    let txn = db.begin_write().unwrap();
    let savepoint = txn.persistent_savepoint().unwrap();
    txn.commit().unwrap();
    savepoint
}

fn restore(db: &Database, savepoint: u64) {
    let mut txn = db.begin_write().unwrap();
    let savepoint = txn.get_persistent_savepoint(savepoint).unwrap();
    txn.restore_savepoint(&savepoint).unwrap();
    txn.commit().unwrap();
}

#[tokio::test]
async fn a_queue_whose_database_was_rolled_back_accepts_nothing_until_it_is_attached_again() {
    let disk = OnDisk::new();
    let db = Arc::new(Database::create(disk.path()).unwrap());
    let pond = disk.builder().attach(db.clone()).unwrap();
    let before = pond.enqueue("q", work(1)).await.unwrap();
    let savepoint = save(&db);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    pond.enqueue("other", work(2)).await.unwrap();
    let mut events = pond.events();

    restore(&db, savepoint);
    // Every call that would write is refused, not only the first one.
    for n in 3..6 {
        match pond.enqueue("q", work(n)).await {
            Err(Error::Degraded { reason, .. }) => assert!(reason.contains("savepoint"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(pond.begin_write(), Err(Error::Degraded { .. })));
    assert!(matches!(events.try_next(), Some(Ok(Event::Degraded { .. }))));
    // The state in memory does not match the file any more, so the queue does not recover by itself.
    disk.clock.advance(HOUR);
    settled(&pond).await;
    assert!(pond.degraded().is_some());
    assert_eq!(ran.all(), [1]);
    close(pond).await;

    // A job that ended after the savepoint is back, as the application wanted, and a job enqueued after it is gone.
    let pond = disk.builder().attach(db).unwrap();
    assert_eq!(state(&pond, before), State::Pending);
    assert_eq!(pond.queue("other").unwrap().counts().unfinished(), 0);
    let ran = record(&pond, "q", 1);
    let next = pond.enqueue("q", work(7)).await.unwrap();
    drained(&pond).await;
    assert_eq!((ran.all(), next.id.get()), (vec![1, 7], 2));
}

/// Only rows of the application were rolled back, and no commit of the queue.
#[tokio::test]
async fn a_savepoint_that_rolls_back_nothing_of_the_queue_does_not_affect_it() {
    let disk = OnDisk::new();
    let db = Arc::new(Database::create(disk.path()).unwrap());
    let pond = disk.builder().attach(db.clone()).unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    let savepoint = save(&db);
    restore(&db, savepoint);
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2]);
}
