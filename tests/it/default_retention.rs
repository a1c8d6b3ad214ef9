//! `Builder::retention` applies to every queue that has no retention of its own.

use millpond::{Error, Job, Keep, QueueSettings, Retention, State};

use crate::support::*;

fn all() -> Retention {
    Retention::default().completed(Keep::FOREVER)
}

#[tokio::test]
async fn the_default_retention_applies_to_queues_without_their_own() {
    let (_, pond) = memory_with(|builder| builder.retention(all()));
    let own = Retention::default().completed(Keep::new(HOUR, 1));
    pond.queue("own").unwrap().configure(QueueSettings::default().retention(own)).await.unwrap();
    for queue in ["own", "plain"] {
        record(&pond, queue, 1);
        pond.enqueue_many(queue, (0..3).map(work)).await.unwrap();
    }
    drained(&pond).await;
    assert_eq!(pond.queue("plain").unwrap().counts().completed, 3);
    let settings = pond.queue("own").unwrap().settings();
    assert_eq!(settings, QueueSettings::default().retention(own), "what is in the file is what was configured");
    assert_eq!(pond.queue("plain").unwrap().settings(), QueueSettings::default());
}

#[tokio::test]
async fn the_default_retention_applies_to_jobs_that_ended_before_it_was_set() {
    let disk = OnDisk::new();
    let pond = disk.builder().retention(all()).open(disk.path()).unwrap();
    record(&pond, "q", 1);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Completed);
    close(pond).await;
    let pond = disk.builder().retention(Retention::default().completed(Keep::NOTHING)).open(disk.path()).unwrap();
    settled(&pond).await;
    disk.clock.advance(SECOND * 31);
    settled(&pond).await;
    drained(&pond).await;
    let gone = pond.job(id).unwrap_err();
    assert!(matches!(gone, Error::NoSuchJob { .. }));
    assert!(gone.to_string().contains("`Retention::completed`"), "{gone}");
}

#[tokio::test]
async fn cancelled_and_expired_jobs_follow_the_default_retention() {
    let (clock, pond) = memory_with(|builder| builder.retention(Retention::default().cancelled(Keep::NOTHING)));
    let id = pond.enqueue("q", work(1)).await.unwrap();
    pond.cancel(id, "no").await.unwrap();
    pond.enqueue("q", work(2).expires_in(SECOND)).await.unwrap();
    pond.worker("other").handle(|_: Job<Work>| async { Ok(millpond::Outcome::cancel("no")) }).start().unwrap();
    pond.enqueue("other", work(3)).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND * 2);
    drained(&pond).await;
    for queue in ["q", "other"] {
        let counts = pond.queue(queue).unwrap().counts();
        assert_eq!((counts.cancelled, counts.cancelled_total > 0), (0, true), "{queue}");
    }
}
