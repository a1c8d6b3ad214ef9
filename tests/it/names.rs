//! Names of queues and kinds: reading a name, or a refused call, uses none, and each job is found under its own
//! names.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millpond::{Capacity, Data, Error, Job, JobFilter, Millpond, NewJob, QueueSettings, WhenFull};
use redb::{ReadableTable, TableDefinition};

use crate::all_jobs::all_jobs;
use crate::support::*;

/// More names than a file is allowed to have.
const MANY: usize = 66_000;

/// As many names as a file is allowed to have.
const MOST: usize = 65_536;

const KINDS: TableDefinition<u32, &str> = TableDefinition::new("millpond/kinds");
const QUEUES: TableDefinition<u32, &[u8]> = TableDefinition::new("millpond/queues");

/// The kinds in the file, by number.
fn kinds(pond: &Millpond) -> BTreeMap<u32, String> {
    let table = pond.begin_read().unwrap().open_table(KINDS).unwrap();
    let rows = table.iter().unwrap().map(Result::unwrap);
    rows.map(|(number, name)| (number.value(), name.value().to_owned())).collect()
}

/// The numbers of the queues in the file.
fn queues(pond: &Millpond) -> BTreeSet<u32> {
    let table = pond.begin_read().unwrap().open_table(QUEUES).unwrap();
    table.iter().unwrap().map(|row| row.unwrap().0.value()).collect()
}

fn of_kind(kind: impl ToString) -> NewJob {
    NewJob::raw(kind.to_string(), "x")
}

/// Each job is in the queue and of the kind that it was enqueued with: its payload is `queue/kind`.
fn check_queues_and_kinds(pond: &Millpond) -> usize {
    let jobs = all_jobs(pond);
    for job in &jobs {
        assert_eq!(job.payload.bytes, format!("{}/{}", job.queue, job.kind), "job {}", job.id);
    }
    assert!(pond.verify().wait().unwrap().is_ok());
    jobs.len()
}

fn job_naming(queue: &str, kind: &str) -> NewJob {
    NewJob::raw(kind.to_owned(), format!("{queue}/{kind}"))
}

#[tokio::test]
async fn a_worker_that_stops_or_does_not_start_releases_its_names() {
    let (_, pond) = memory();
    let handler = |_: Job<Bytes>| async { Ok(()) };
    record(&pond, "kept", 1);
    let before = pond.testing().names_in_use();
    for n in 0..100 {
        let (queue, kind) = (format!("tenant-{n}"), format!("kind-{n}"));
        let worker = pond.worker(&queue).handle_raw(&kind, handler).start().unwrap();
        assert_ne!(pond.testing().names_in_use(), before);
        worker.clone().stop();
        assert_eq!((worker.running(), pond.testing().names_in_use()), (0, before));
        let missing = |_: Job<Bytes>, _: Data<String>| async { Ok(()) };
        let twice = pond.worker(&queue).handle_raw(&kind, handler).handle_raw(&kind, handler);
        let refused = [
            pond.worker(&queue).handle_raw(&kind, handler).handle_raw("other", missing).start(),
            pond.worker("kept").handle_raw(&kind, handler).start(),
            pond.worker(&queue).handle_raw("a b", handler).start(),
            twice.start(),
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        assert_eq!(pond.testing().names_in_use(), before);
    }
}

#[tokio::test]
async fn a_reused_queue_number_carries_nothing_over_from_its_former_queue() {
    let (_, pond) = memory();
    let start = |queue: &str| {
        let handler = |_: Job<Bytes>| async { Ok(()) };
        let slow = millpond::Rate::per_minute(1).burst(5);
        pond.worker(queue).rate_limit(slow).handle_raw("k", handler).start().unwrap()
    };
    let worker = start("first");
    let rate = pond.queue("first").unwrap().rate();
    assert_eq!(rate.available(), 5.0);
    worker.stop();
    let taken = rate.take(5);
    let worker = start("second");
    assert!(matches!(taken.await, Err(Error::NoWorker { .. })));
    let second = pond.queue("second").unwrap();
    assert_eq!((second.rate().available(), rate.available()), (5.0, f64::INFINITY));
    worker.stop();
    // A stored name keeps its number, and each job is found under its own names.
    let worker = start("third");
    pond.enqueue("third", job_naming("third", "x")).await.unwrap();
    worker.stop();
    let worker = start("fourth");
    pond.enqueue("fourth", job_naming("fourth", "y")).await.unwrap();
    worker.stop();
    assert_eq!((check_queues_and_kinds(&pond), queues(&pond).len(), kinds(&pond).len()), (2, 2, 2));
}

#[tokio::test]
async fn a_kind_of_two_workers_is_kept_when_the_first_one_stops() {
    let (_, pond) = memory();
    let handler = |_: Job<Bytes>| async { Ok(()) };
    let first = pond.worker("a").handle_raw("k", handler).start().unwrap();
    let _second = pond.worker("b").handle_raw("k", handler).start().unwrap();
    assert_eq!(pond.testing().names_in_use(), (2, 1));
    first.stop();
    assert_eq!(pond.testing().names_in_use(), (1, 1));
    pond.enqueue("b", of_kind("other")).await.unwrap();
    pond.enqueue("b", of_kind("k")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.queue("b").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn reading_the_state_of_queues_uses_no_names() {
    let (_, pond) = memory();
    let commits = pond.metrics().commits_total;
    for n in 0..MANY {
        let queue = pond.queue(&format!("looked-at-{n}")).unwrap();
        if n % 1_000 == 0 {
            assert_eq!((queue.counts(), queue.settings()), Default::default());
            assert!(!queue.is_paused());
            assert!(!queue.resume().await.unwrap());
            assert!(!queue.resume_group("g").await.unwrap());
            let rates = [queue.rate(), queue.group_rate("g").unwrap()];
            for rate in rates {
                assert_eq!((rate.available(), rate.available_in()), (f64::INFINITY, None));
                assert!(matches!(rate.take(1_000).await, Err(Error::NoWorker { .. })));
                rate.reset().await.unwrap();
            }
            let filter = JobFilter::new().queue(queue.name());
            assert!(pond.jobs(&filter, None, 10).unwrap().jobs.is_empty());
        }
    }
    assert_eq!(pond.metrics().commits_total, commits, "something was written");
    pond.enqueue("emails", work(1)).await.unwrap();
    assert_eq!((queues(&pond).len(), kinds(&pond).len(), pond.queues().len()), (1, 1, 1));
}

#[tokio::test]
async fn a_queue_that_was_read_before_it_existed_works_like_any_other() {
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    assert_eq!(queue.counts().pending, 0);
    assert!(queue.pause().await.unwrap());
    assert!(queue.is_paused());
    queue.enqueue(work(1)).await.unwrap();
    assert_eq!(queue.counts().pending, 1);
    let ran = record(&pond, "q", 1);
    assert!(queue.resume().await.unwrap());
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);

    let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Refuse);
    let other = pond.queue("other").unwrap();
    other.configure(settings.clone()).await.unwrap();
    assert_eq!(other.settings(), settings);
    assert!(pond.queue("third").unwrap().pause_group("g").await.unwrap());
    let names: Vec<_> = pond.queues().iter().map(|queue| queue.name().to_owned()).collect();
    assert_eq!(names, ["other", "q", "third"]);
}

#[tokio::test]
async fn enqueues_that_are_refused_or_never_made_use_no_names() {
    let (_, pond) = memory();
    let full = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Refuse);
    pond.queue("full").unwrap().configure(full).await.unwrap();
    pond.enqueue("full", of_kind("known")).await.unwrap();
    let mut names = 0..;
    let mut name = move || format!("n{}", names.next().unwrap());

    for _ in 0..MANY / 2 {
        drop(pond.enqueue(&name(), of_kind(name())));
    }
    for _ in 0..100 {
        let jobs: Vec<_> = (0..100).map(|_| (name(), of_kind(name()))).chain([("full".into(), of_kind("k"))]).collect();
        assert!(matches!(pond.enqueue_all(jobs).await, Err(Error::QueueFull { .. })));
        let jobs: Vec<_> =
            (0..100).map(|_| (name(), of_kind(name()))).chain([("no name".into(), of_kind("k"))]).collect();
        assert!(matches!(pond.enqueue_all(jobs).await, Err(Error::InvalidName { .. })));
        let jobs: Vec<_> = (0..100).map(|_| (name(), of_kind(name()))).collect();
        let rolled_back = pond.transaction(move |tx| {
            jobs.iter().try_for_each(|(queue, job)| tx.enqueue(queue, of_kind(job.kind())).map(drop))?;
            Err::<(), _>("no".into())
        });
        assert!(matches!(rolled_back.await, Err(Error::Aborted { .. })));
        let jobs: Vec<_> = (0..100).map(|_| (name(), of_kind(name()))).collect();
        let guarded = pond.clone();
        let dropped = tokio::task::spawn_blocking(move || {
            let mut guard = guarded.begin_write().unwrap();
            for (queue, job) in jobs {
                guard.enqueue(&queue, job).unwrap();
            }
        });
        dropped.await.unwrap();
    }
    for _ in 0..100 {
        let (queue, kind) = (name(), name());
        let went_on = pond.transaction(move |tx| {
            assert!(matches!(tx.enqueue("full", of_kind(&kind)), Err(Error::QueueFull { .. })));
            assert!(matches!(tx.enqueue(&queue, of_kind("no name")), Err(Error::InvalidName { .. })));
            Ok(tx.enqueue("kept", of_kind("known"))?)
        });
        went_on.await.unwrap();
    }
    assert_eq!(kinds(&pond).into_values().collect::<Vec<_>>(), ["known"]);
    assert_eq!(queues(&pond).len(), 2);
    pond.enqueue("emails", work(1)).await.unwrap();
    assert_eq!((kinds(&pond).len(), queues(&pond).len()), (2, 3));
}

#[tokio::test]
async fn an_enqueue_that_is_refused_beside_one_that_is_not_leaves_no_name() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let full = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Refuse);
    pond.queue("full").unwrap().configure(full).await.unwrap();
    pond.enqueue("full", of_kind("known")).await.unwrap();
    // Both calls wait while the transaction is held, and share a commit.
    let (unlock, holder) = guard_elsewhere(&pond, drop);
    let refused = tokio::spawn(pond.enqueue_all([("new", of_kind("refused")), ("full", of_kind("known"))]));
    let stored = tokio::spawn(pond.enqueue("also-new", of_kind("stored")));
    while pond.testing().inbox() < 2 {
        tokio::task::yield_now().await;
    }
    let commits = pond.metrics().commits_total;
    drop(unlock);
    assert!(matches!(refused.await.unwrap(), Err(Error::QueueFull { .. })));
    stored.await.unwrap().unwrap();
    holder.join().unwrap();
    assert_eq!(pond.metrics().commits_total, commits + 1, "they were to share a commit");
    assert_eq!(kinds(&pond).into_values().collect::<Vec<_>>(), ["known", "stored"]);
    let names = |pond: &Millpond| pond.queues().iter().map(|queue| queue.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&pond), ["also-new", "full"]);
    close(pond).await;
    let pond = disk.open();
    assert_eq!(names(&pond), ["also-new", "full"], "the one has the number of the other");
    assert_eq!(pond.queue("also-new").unwrap().counts().pending, 1);
}

#[tokio::test]
async fn a_duplicate_of_a_new_kind_leaves_no_name() {
    let (_, pond) = memory();
    let first = pond.enqueue("q", of_kind("known").unique_key("once")).await.unwrap();
    for n in 0..100 {
        let again = ("q", of_kind(format!("new-{n}")).unique_key("once"));
        assert_eq!(pond.enqueue_all([again, ("q", of_kind("known"))]).await.unwrap()[0], first.id);
    }
    assert_eq!(kinds(&pond).into_values().collect::<Vec<_>>(), ["known"]);
}

#[tokio::test]
async fn a_worker_for_an_unused_queue_or_kind_leaves_nothing_in_the_file() {
    let disk = OnDisk::new();
    let pond = disk.open();
    for n in 0..100 {
        let ignore = |_: Job<Bytes>| async { Ok(()) };
        pond.worker(&format!("ghost-{n}")).handle_raw(&format!("ghost-kind-{n}"), ignore).start().unwrap();
    }
    pond.enqueue("real", job_naming("real", "real-kind")).await.unwrap();
    assert_eq!(
        (queues(&pond).len(), kinds(&pond).into_values().collect::<Vec<_>>()),
        (1, vec!["real-kind".to_owned()])
    );
    close(pond).await;

    // Numbers under which nothing was stored are assigned again.
    let pond = disk.open();
    for n in 0..50 {
        let (queue, kind) = (format!("later-{n}"), format!("later-kind-{n}"));
        pond.enqueue(&queue, job_naming(&queue, &kind)).await.unwrap();
    }
    let highest = (queues(&pond).into_iter().max(), kinds(&pond).into_keys().max());
    assert_eq!(highest, (Some(100), Some(100)), "a gap is filled first");
    assert_eq!(check_queues_and_kinds(&pond), 51);
    close(pond).await;
    assert_eq!(check_queues_and_kinds(&disk.open()), 51);
}

#[tokio::test]
async fn a_file_full_of_names_refuses_new_names_and_keeps_serving_the_others() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let names: Vec<_> = (0..MOST).map(|n| (format!("q{n}"), of_kind(format!("k{n}")))).collect();
    let mut names = names.into_iter().peekable();
    while names.peek().is_some() {
        pond.enqueue_all(names.by_ref().take(10_000).collect::<Vec<_>>()).await.unwrap();
    }
    async fn is_full(pond: &Millpond) {
        let queue = pond.enqueue("one-more", of_kind("k0")).await;
        assert!(matches!(queue, Err(Error::InvalidConfig { field: "queue", .. })), "{queue:?}");
        let kind = pond.enqueue("q0", of_kind("one-more")).await;
        assert!(matches!(kind, Err(Error::InvalidConfig { field: "kind", .. })), "{kind:?}");
        let pause = pond.queue("one-more").unwrap().pause().await;
        assert!(matches!(pause, Err(Error::InvalidConfig { field: "queue", .. })), "{pause:?}");
        assert!(!pond.queue("one-more").unwrap().resume().await.unwrap());
        pond.enqueue("q65535", of_kind("k65535")).await.unwrap();
    }
    is_full(&pond).await;
    // A worker is allowed to wait for a queue that does not exist yet.
    pond.worker("one-more").handle_raw("one-more", |_: Job<Bytes>| async { Ok(()) }).start().unwrap();
    is_full(&pond).await;
    close(pond).await;
    is_full(&disk.open()).await;
}

#[test]
fn threads_that_use_the_same_new_names_at_once_get_the_same_queues_and_kinds() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let pond = pond.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    let (queue, kind) = (format!("q{}", n % 25), format!("k{n}"));
                    let job = job_naming(&queue, &kind);
                    match (thread + n) % 4 {
                        0 => drop(pond.enqueue(&queue, job).wait().unwrap()),
                        1 => {
                            let own = queue.clone();
                            let write = move |tx: &millpond::Transaction<'_>| {
                                let id = tx.enqueue(&own, job_naming(&own, &kind))?;
                                if n % 2 == 0 { Err("no".into()) } else { Ok(id) }
                            };
                            let _ = pond.transaction(write).wait();
                            pond.enqueue(&queue, job).wait().unwrap();
                        }
                        2 => {
                            let mut guard = pond.begin_write().unwrap();
                            guard.enqueue(&queue, job).unwrap();
                            if n % 3 > 0 {
                                guard.commit().unwrap();
                            }
                        }
                        _ => {
                            let both = [(queue.clone(), job), (format!("own-{thread}"), of_kind("x"))];
                            let both = both.map(|(queue, job)| match job.kind() {
                                "x" => (queue.clone(), job_naming(&queue, "x")),
                                _ => (queue, job),
                            });
                            pond.enqueue_all(both).wait().unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let seen = check_queues_and_kinds(&pond);
    assert!(seen > 300);
    let names: Vec<_> = kinds(&pond).into_values().collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{names:?}");
    drop(pond);
    assert_eq!(check_queues_and_kinds(&disk.open()), seen);
}

#[tokio::test]
async fn a_transaction_can_use_a_new_name_more_than_once() {
    let (_, pond) = memory();
    let write = |tx: &millpond::Transaction<'_>| {
        for (queue, kind) in [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")] {
            tx.enqueue(queue, job_naming(queue, kind))?;
        }
        let first = tx.enqueue("c", job_naming("c", "x").unique_key("once"))?;
        assert_eq!(tx.enqueue("c", job_naming("c", "x").unique_key("once"))?, first.id);
        Ok(())
    };
    pond.transaction(write).await.unwrap();
    let guarded = pond.clone();
    let guard = move || {
        let mut guard = guarded.begin_write().unwrap();
        let first = guard.enqueue("d", job_naming("d", "z").unique_key("once")).unwrap();
        assert_eq!(guard.enqueue("d", job_naming("d", "z").unique_key("once")).unwrap(), first.id);
        guard.enqueue("e", job_naming("e", "z").unique_key("once")).unwrap();
        guard.commit().unwrap();
    };
    tokio::task::spawn_blocking(guard).await.unwrap();
    assert_eq!(check_queues_and_kinds(&pond), 7);
}
