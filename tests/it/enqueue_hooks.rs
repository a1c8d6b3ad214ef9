//! Hooks that see and change each new job before it is stored.

use millpond::testing::{ManualClock, all_enqueued, drain};
use millpond::{Builder, Context, Error, Every, HasQueue, Job, JobInfo, JobPatch, Kind, Millpond, NewJob, Schedule};
use serde::{Deserialize, Serialize};

use crate::support::*;

/// A kind with a queue of its own.
#[derive(Serialize, Deserialize)]
struct Mail {
    n: u64,
}

impl Kind for Mail {
    const KIND: &'static str = "mail";
}

impl HasQueue for Mail {
    const QUEUE: &'static str = "mails";
}

/// A queue whose hook gives each job a header with the name of its queue.
fn with_header() -> (ManualClock, Millpond) {
    memory_with(|builder| builder.on_enqueue(|queue, job| Ok(job.header("enqueued-in", queue))))
}

fn header(job: &JobInfo) -> Option<&str> {
    job.headers.get("enqueued-in").map(String::as_str)
}

#[tokio::test]
async fn every_call_that_enqueues_passes_the_hook() {
    let (clock, pond) = with_header();
    pond.enqueue("a", work(1)).await.unwrap();
    pond.enqueue("a", work(2)).wait().unwrap();
    pond.enqueue_many("a", (3..5).map(work)).await.unwrap();
    pond.queue("a").unwrap().enqueue(work(5)).await.unwrap();
    pond.enqueue_all([("a", work(6)), ("b", work(7))]).await.unwrap();
    pond.send(Mail { n: 8 }).await.unwrap();
    let in_transaction = |tx: &millpond::Transaction<'_>| {
        tx.enqueue("a", work(9))?;
        tx.enqueue_many("b", (10..12).map(work))?;
        tx.send(Mail { n: 12 })?;
        Ok(())
    };
    pond.transaction(in_transaction).await.unwrap();
    let mut guard = pond.begin_write().unwrap();
    guard.enqueue("b", work(13)).unwrap();
    guard.commit().unwrap();
    pond.schedule("hourly", Schedule::new(Every::new(HOUR), "a", work(14))).await.unwrap();
    clock.advance(HOUR);
    drain(&pond).await;
    pond.worker("next-to-last")
        .handle(|_: Job<Work>, context: Context| async move {
            context.on_complete(|tx| Ok(tx.enqueue("b", work(15)).map(|_| ())?));
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue("next-to-last", work(0)).await.unwrap();
    drain(&pond).await;

    let jobs: Vec<JobInfo> = ["a", "b", "mails"].iter().flat_map(|queue| all_enqueued(&pond, queue)).collect();
    let mut numbers: Vec<u64> = jobs.iter().map(|job| job.payload.decode::<Work>().unwrap().n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
    for job in &jobs {
        assert_eq!(header(job), Some(&*job.queue), "{job:?}");
    }
}

#[tokio::test]
async fn hooks_are_called_in_the_order_in_which_they_were_added() {
    let (_, pond) = memory_with(|builder: Builder| {
        builder
            .on_enqueue(|_, job| Ok(job.header("step", "first").group("g")))
            .on_enqueue(|_, job| Ok(job.header("step", "second")))
    });
    let id = pond.enqueue("q", work(1)).await.unwrap();
    let job = pond.job(id).unwrap();
    assert_eq!((&*job.headers["step"], job.group.as_deref()), ("second", Some("g")));
}

#[tokio::test]
async fn a_job_that_the_hook_refuses_is_not_stored_and_neither_are_the_others_of_its_call() {
    let (_, pond) = memory_with(|builder: Builder| {
        builder.on_enqueue(|queue, job| match queue {
            "refusing" => Err("not on a Sunday".into()),
            "panicking" => panic!("on purpose"),
            _ if job.kind() == "bad" => Err("a bad kind".into()),
            _ => Ok(job),
        })
    });
    let refused = pond.enqueue("refusing", work(1)).await.unwrap_err();
    let text = "the application's hook refused a job of kind \"work\" for queue \"refusing\": not on a Sunday";
    assert!(matches!(refused, Error::EnqueueRefused { .. }), "{refused:?}");
    assert_eq!(refused.to_string(), text);
    assert!(!refused.is_transient());
    let panicked = pond.enqueue("panicking", work(1)).await.unwrap_err().to_string();
    assert!(panicked.ends_with("the hook panicked: on purpose"), "{panicked}");

    let some = [work(1), NewJob::raw("bad", "x"), work(2)];
    assert!(matches!(pond.enqueue_many("q", some).await, Err(Error::EnqueueRefused { .. })));
    let aborted = pond.transaction(|tx| {
        tx.enqueue("q", work(1))?;
        Ok(tx.enqueue("refusing", work(2)).map(|_| ())?)
    });
    let aborted = aborted.await.unwrap_err().aborted();
    assert!(matches!(aborted, Ok(Error::EnqueueRefused { .. })), "{aborted:?}");
    assert!(pond.queues().is_empty(), "{:?}", pond.queues());
}

/// A new payload for a job that is there is not a new job.
#[tokio::test]
async fn a_new_payload_for_a_stored_job_does_not_pass_the_hook() {
    let passed = Log::new();
    let log = passed.clone();
    let (_, pond) = memory_with(|builder: Builder| {
        builder.on_enqueue(move |queue, job| {
            log.push(queue.to_owned());
            Ok(job)
        })
    });
    let id = pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(passed.take(), ["q"]);
    pond.update(id, JobPatch::new().payload(work(2))).await.unwrap();
    pond.transaction(move |tx| Ok(tx.update(id, JobPatch::new().payload(work(3)))?)).await.unwrap();
    assert_eq!(pond.job(id).unwrap().payload.decode::<Work>().unwrap().n, 3);
    assert_eq!(passed.len(), 0);
}
