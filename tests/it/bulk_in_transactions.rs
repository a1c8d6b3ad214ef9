//! Many jobs in one call of a transaction: all or none, within the limits of the transaction.

use millpond::{Capacity, Context, Enqueued, Error, Job, JobId, QueueSettings};

use crate::support::*;

fn ids(answers: &[Enqueued]) -> Vec<u64> {
    answers.iter().map(|answer| answer.id.get()).collect()
}

fn keyed(n: u64, key: &str) -> millpond::NewJob {
    work(n).unique_key(key)
}

#[tokio::test]
async fn many_jobs_of_a_transaction_are_stored_in_their_order_with_its_commit() {
    let (_, pond) = memory();
    let ids = pond.transaction(|tx| Ok(tx.enqueue_many("q", (0..100).map(work))?)).await.unwrap();
    assert_eq!(ids, (1..=100).map(JobId::new).collect::<Vec<_>>());
    let mut guard = pond.begin_write().unwrap();
    let more = guard.enqueue_many("q", (100..200).map(work)).unwrap();
    assert!(pond.job(more[0]).is_err(), "not committed yet");
    guard.commit().unwrap();
    for (n, id) in ids.into_iter().chain(more).enumerate() {
        assert_eq!(pond.job(id).unwrap().payload.decode::<Work>().unwrap().n, n as u64);
    }
    let none = pond.transaction(|tx| Ok(tx.enqueue_many("new", Vec::<millpond::NewJob>::new())?)).await.unwrap();
    assert!(none.is_empty());
    assert!(pond.queues().iter().all(|queue| queue.name() != "new"), "no jobs, no queue");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_bulk_that_does_not_fit_is_refused_as_a_whole_and_the_transaction_goes_on() {
    let (_, pond) = memory();
    let settings = QueueSettings::default().capacity(Capacity::jobs(5));
    pond.queue("small").unwrap().configure(settings).await.unwrap();
    let id = pond
        .transaction(|tx| {
            tx.enqueue("small", work(0))?;
            let refused = tx.enqueue_many("small", (1..6).map(work));
            assert!(matches!(refused, Err(Error::QueueFull { .. })), "{refused:?}");
            let too_many = tx.enqueue_many("other", (0..10_000).map(work));
            assert!(matches!(too_many, Err(Error::BatchTooLarge { .. })), "{too_many:?}");
            let wrong = tx.enqueue_many("no name", [work(1)]);
            assert!(matches!(wrong, Err(Error::InvalidName { .. })), "{wrong:?}");
            let ids = tx.enqueue_many("small", (1..5).map(work))?;
            tx.enqueue_many("other", (0..9_995).map(work))?;
            assert!(matches!(tx.enqueue("other", work(0)), Err(Error::BatchTooLarge { .. })));
            Ok(ids[3])
        })
        .await
        .unwrap();
    assert_eq!(id, JobId::new(5));
    assert_eq!(pond.queue("small").unwrap().counts().pending, 5);
    assert_eq!(pond.queue("other").unwrap().counts().pending, 9_995);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_refused_bulk_uses_up_no_name() {
    let (_, pond) = memory();
    let before = pond.testing().names_in_use();
    let large = vec![7; 1 << 20];
    let refused = pond.transaction(move |tx| {
        let jobs = (0..40).map(|_| millpond::NewJob::raw("new-kind", large.clone()));
        assert!(matches!(tx.enqueue_many("new-queue", jobs), Err(Error::BatchTooLarge { .. })));
        Ok(())
    });
    refused.await.unwrap();
    assert_eq!(pond.testing().names_in_use(), before);
}

#[tokio::test]
async fn a_bulk_stores_one_job_for_each_key_and_answers_with_its_id() {
    let (_, pond) = memory();
    let settings = QueueSettings::default().capacity(Capacity::jobs(3));
    pond.queue("q").unwrap().configure(settings).await.unwrap();
    let first = pond.enqueue("q", keyed(0, "a")).await.unwrap();
    let jobs = || [keyed(1, "a"), keyed(2, "b"), keyed(3, "b"), keyed(4, "c")];
    let answers = pond.transaction(move |tx| Ok(tx.enqueue_many("q", jobs())?)).await.unwrap();
    assert_eq!(ids(&answers), [first.id.get(), 2, 2, 3]);
    assert_eq!(answers.iter().map(|answer| answer.is_stored()).collect::<Vec<_>>(), [false, true, false, true]);

    let mut guard = pond.begin_write().unwrap();
    let again = guard.enqueue_many("q", jobs()).unwrap();
    assert_eq!(ids(&again), ids(&answers), "the queue is full, and they are there already");
    assert!(!again.iter().any(|answer| answer.is_stored()));
    guard.commit().unwrap();
    let mut guard = pond.begin_write().unwrap();
    let fresh = guard.enqueue_many("r", jobs()).unwrap();
    assert_eq!((fresh[1].id, fresh[1].is_stored(), fresh[2].is_stored()), (fresh[2].id, true, false));
    assert_eq!(guard.enqueue("r", keyed(9, "c")).unwrap().id, fresh[3].id);
    guard.commit().unwrap();
    assert_eq!(pond.queue("r").unwrap().counts().pending, 3);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_bulk_with_a_completion_is_stored_with_the_acknowledgement() {
    let (_, pond) = memory();
    let handler = |job: Job<Work>, ctx: Context| async move {
        let n = job.n;
        ctx.on_complete(move |tx| Ok(tx.enqueue_many("next", (0..n).map(work)).map(drop)?));
        Ok(())
    };
    pond.worker("q").handle(handler).start().unwrap();
    pond.enqueue("q", work(3)).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.queue("next").unwrap().counts().pending, 3);
}

#[tokio::test]
async fn a_bulk_of_a_guard_that_is_refused_leaves_the_guard_as_it_was() {
    let (_, pond) = memory();
    let mut guard = pond.begin_write().unwrap();
    let first = guard.enqueue("q", work(1)).unwrap();
    assert!(matches!(guard.enqueue_many("q", (0..10_000).map(work)), Err(Error::BatchTooLarge { .. })));
    let next = guard.enqueue("q", work(2)).unwrap();
    guard.commit().unwrap();
    assert_eq!((first.id, next.id), (JobId::new(1), JobId::new(2)));
    assert_eq!(pond.queue("q").unwrap().counts().pending, 2);
}
