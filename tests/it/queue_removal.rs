//! Queues are drained, removed with all that belongs to them, and renamed; a number that is free is used again.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use millpond::redb::{Database, ReadableDatabase, ReadableTableMetadata, TableHandle};
use millpond::{
    Capacity, Commit, Error, Event, Every, Explanation, Job, JobFilter, JobId, Keep, Millpond, NewJob, Outcome,
    Overrides, Pace, Queue, QueueSettings, Rate, Retention, Retry, Schedule, State, Unique, WhenFull,
};
use millpond_testkit::SimDisk;

use crate::quarantine::{Bit, Row, flip};
use crate::support::*;

fn queue(pond: &Millpond, name: &str) -> Queue {
    pond.queue(name).unwrap()
}

fn names(pond: &Millpond) -> Vec<String> {
    pond.queues().iter().map(|queue| queue.name().to_owned()).collect()
}

fn ids(pond: &Millpond, queue: &str) -> Vec<JobId> {
    let mut ids: Vec<_> = pond.jobs(&JobFilter::new().queue(queue), None, 1_000).unwrap().jobs;
    ids.sort_by_key(|job| job.id);
    ids.into_iter().map(|job| job.id).collect()
}

fn hourly(queue: &str) -> Schedule {
    Schedule::new(Every::new(HOUR), queue, work(1))
}

/// How many rows each table of ours has, without those that have none and those that concern no queue.
fn rows(disk: &OnDisk) -> Vec<(String, u64)> {
    let db = Database::open(disk.path()).unwrap();
    let read = db.begin_read().unwrap();
    let tables: Vec<_> = read.list_tables().unwrap().collect();
    let mut rows = Vec::new();
    for table in tables {
        let name = table.name().to_owned();
        let len = read.open_untyped_table(table).unwrap().len().unwrap();
        if len > 0 && !["millpond/meta", "millpond/kinds"].contains(&name.as_str()) {
            rows.push((name, len));
        }
    }
    rows
}

/// Fills a queue with everything that a queue can have, and stops its worker.
async fn filled(pond: &Millpond, name: &str) {
    let q = queue(pond, name);
    let kept = Retention::default().completed(Keep::FOREVER).cancelled(Keep::FOREVER).dead(Keep::FOREVER);
    q.configure(QueueSettings::default().retention(kept).capacity(Capacity::jobs(500))).await.unwrap();
    let worker = pond
        .worker(name)
        .retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(2))
        .rate_limit(Rate::per_minute(1_000).burst(100))
        .group_rate_limit(Rate::per_minute(60).burst(10))
        .handle(|job: Job<Work>| async move {
            match job.n {
                1 => Err("again".into()),
                2 => Ok(Outcome::dead_letter("no use")),
                3 => Ok(Outcome::cancel("not needed")),
                5 => Ok(Outcome::rate_limited(HOUR)),
                _ => Ok(Outcome::done_with("done")),
            }
        })
        .start()
        .unwrap();
    for n in 1..=4 {
        let job = work(n).tag("tagged").unique_key(format!("key-{n}")).unique_for(HOUR);
        q.enqueue(job.idempotency_key(format!("call-{n}"))).await.unwrap();
    }
    drained(pond).await;
    q.enqueue(member("limited", 5)).await.unwrap();
    drained(pond).await;
    worker.stop();
    q.enqueue(work(6).tag("tagged").unique("w", Unique::throttle(HOUR))).await.unwrap();
    q.enqueue(work(7).delay(HOUR).unique_key("key-7")).await.unwrap();
    q.enqueue(work(8).expires_in(HOUR)).await.unwrap();
    for n in 9..12 {
        q.enqueue(member("g", n)).await.unwrap();
        q.enqueue(member("later", n).delay(HOUR)).await.unwrap();
    }
    q.pause_group("g").await.unwrap();
    q.pause_group("empty").await.unwrap();
    q.pause().await.unwrap();
    q.set_overrides(Overrides::new().concurrency(9)).await.unwrap();
    q.pause_kind("packed").await.unwrap();
    for schedule in ["one", "two"] {
        pond.schedule(&format!("{name}-{schedule}"), hourly(name)).await.unwrap();
    }
    assert_sound(pond).await;
}

// --- drain ---

#[tokio::test]
async fn a_drain_removes_what_waits_and_nothing_else() {
    let (_, pond) = memory();
    filled(&pond, "q").await;
    let (q, other) = (queue(&pond, "q"), pond.enqueue("other", work(1)).await.unwrap());
    let before = q.counts();
    assert_eq!((before.dead, before.cancelled, before.completed), (1, 1, 1));
    let mut events = pond.events();
    assert_eq!(q.drain().await.unwrap(), before.unfinished());
    settled(&pond).await;
    let deleted = heard(&mut events).into_iter().filter(|event| matches!(event, Event::Deleted { .. })).count();
    assert_eq!(deleted as u64, before.unfinished());
    let after = q.counts();
    assert_eq!((after.unfinished(), after.bytes), (0, 0));
    assert_eq!((after.dead, after.cancelled, after.completed), (1, 1, 1));
    assert_eq!((q.is_paused(), pond.schedules().count().unwrap()), (true, 2));
    assert_eq!(q.unique_holder("key-7").unwrap(), None);
    assert_eq!(state(&pond, other), State::Pending);
    assert_sound(&pond).await;
    assert_eq!(q.drain().await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_of_pending_jobs_leaves_those_that_are_due_later() {
    let (_, pond) = memory();
    filled(&pond, "q").await;
    let q = queue(&pond, "q");
    let before = q.counts();
    assert_eq!(q.drain_pending().await.unwrap(), before.pending);
    let after = q.counts();
    assert_eq!((after.pending, after.scheduled, after.retrying), (0, before.scheduled, 1));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_drain_lets_the_running_jobs_finish() {
    let (_, pond) = memory();
    let (_worker, keeper) = gated(&pond, "q", 2);
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    pond.enqueue_many("q", (3..6).map(|n| member("g", n))).await.unwrap();
    running(&pond, "q", 2).await;
    assert_eq!(queue(&pond, "q").drain().await.unwrap(), 4);
    assert_eq!(queue(&pond, "q").counts().running, 2);
    keeper.let_go(2);
    assert_eq!(drained(&pond).await.completed, 2);
    assert_eq!(queue(&pond, "q").counts().unfinished(), 0);
}

// --- obliterate ---

#[tokio::test]
async fn nothing_is_left_of_a_queue_that_was_obliterated() {
    let disk = OnDisk::new();
    let pond = disk.open();
    filled(&pond, "q").await;
    let mut events = pond.events();
    let jobs = queue(&pond, "q").counts();
    let jobs = jobs.unfinished() + jobs.dead + jobs.completed + jobs.cancelled;
    let done = queue(&pond, "q").obliterate().await.unwrap();
    assert_eq!((done.jobs, done.schedules), (jobs, 2));
    settled(&pond).await;
    assert!(
        heard(&mut events).iter().any(|event| matches!(event, Event::QueueRemoved { queue, .. } if **queue == *"q"))
    );
    assert_eq!(names(&pond), Vec::<String>::new());
    assert_eq!(pond.schedules().count().unwrap(), 0);
    assert_eq!(queue(&pond, "q").counts(), Default::default());
    assert_eq!((queue(&pond, "q").settings(), queue(&pond, "q").is_paused()), (QueueSettings::default(), false));
    assert_sound(&pond).await;
    close(pond).await;
    assert_eq!(rows(&disk), []);

    let pond = disk.open();
    assert_eq!(names(&pond), Vec::<String>::new());
    let again = queue(&pond, "q").obliterate().await.unwrap();
    assert_eq!((again.jobs, again.schedules), (0, 0));
}

#[tokio::test]
async fn other_queues_keep_everything() {
    let disk = OnDisk::new();
    let pond = disk.open();
    filled(&pond, "a").await;
    filled(&pond, "b").await;
    filled(&pond, "c").await;
    let (counts, jobs) = (queue(&pond, "b").counts(), ids(&pond, "b"));
    queue(&pond, "a").obliterate().await.unwrap();
    queue(&pond, "c").obliterate().await.unwrap();
    assert_eq!((names(&pond), pond.schedules().count().unwrap()), (vec!["b".to_owned()], 2));
    close(pond).await;
    let pond = disk.open();
    let b = queue(&pond, "b");
    assert_eq!((b.counts(), ids(&pond, "b"), b.is_paused()), (counts, jobs, true));
    assert!(b.unique_holder("key-4").unwrap().is_some());
    assert!(!pond.enqueue("b", work(1).idempotency_key("call-1")).await.unwrap().is_stored());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_free_number_is_used_again_and_nothing_of_the_old_queue_is_met() {
    let (clock, pond) = memory();
    filled(&pond, "old").await;
    let before = pond.testing().names_in_use();
    for round in 0..50 {
        let name = if round == 0 { "old".to_owned() } else { format!("q{round}") };
        queue(&pond, &name).obliterate().await.unwrap();
        let next = format!("q{}", round + 1);
        let q = queue(&pond, &next);
        q.enqueue(work(1).unique_key("key-4").idempotency_key("call-4")).await.unwrap();
        let grouped = q.enqueue(member("g", 2)).await.unwrap();
        let why = pond.explain(grouped).unwrap();
        assert!(matches!(why, Explanation::NoHandler { .. }), "its group is not paused: {why}");
        assert!(!q.is_paused());
        assert_eq!(pond.testing().names_in_use(), before);
        let (ran, worker) = record_with_worker(&pond, &next, 1);
        drained(&pond).await;
        let mut ran = ran.all();
        ran.sort_unstable();
        assert_eq!(ran, [1, 2], "round {round}");
        worker.stop();
        q.pause().await.unwrap();
        q.pause_group("g").await.unwrap();
        q.enqueue(work(3).delay(SECOND)).await.unwrap();
        clock.advance(SECOND / 2);
        settled(&pond).await;
    }
}

#[tokio::test]
async fn a_limit_of_the_old_queue_does_not_hold_the_new_one() {
    let (_, pond) = memory();
    let limited = |name| {
        let handler = |_: Job<Work>| async { Ok(Outcome::rate_limited_queue(HOUR)) };
        pond.worker(name).rate_limit(Rate::per_minute(1)).handle(handler).start().unwrap()
    };
    pond.enqueue("old", work(1)).await.unwrap();
    let worker = limited("old");
    drained(&pond).await;
    worker.stop();
    queue(&pond, "old").obliterate().await.unwrap();
    pond.enqueue("new", work(2)).await.unwrap();
    assert_eq!(pond.testing().names_in_use(), (1, 1));
    let ran = record(&pond, "new", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [2]);
}

#[tokio::test]
async fn a_queue_is_refused_while_a_worker_serves_it_or_a_job_of_it_runs() {
    let (_, pond) = memory();
    pond.schedule("s", hourly("q")).await.unwrap();
    let (worker, keeper) = gated(&pond, "q", 1);
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    running(&pond, "q", 1).await;
    for stopped in [false, true] {
        if stopped {
            worker.stop();
        }
        let q = queue(&pond, "q");
        for refused in [q.obliterate().await.map(drop), q.remove().await.map(drop), q.rename("new").await.map(drop)] {
            assert!(matches!(&refused, Err(Error::QueueInUse { queue, .. }) if queue == "q"), "{refused:?}");
        }
        assert_eq!((queue(&pond, "q").counts().unfinished(), pond.schedules().count().unwrap()), (3, 1));
    }
    keeper.let_go(1);
    settled(&pond).await;
    assert_eq!(queue(&pond, "q").obliterate().await.unwrap().jobs, 2);
    assert_sound(&pond).await;
}

/// The number of the queue was looked up when the call was made, and is another queue's when it is carried out.
#[tokio::test]
async fn a_job_that_was_under_way_is_stored_in_a_new_queue_of_its_name() {
    let (_, pond) = memory();
    for same_name in [false, true] {
        pond.enqueue("q", work(0)).await.unwrap();
        let one = pond.enqueue("q", work(1));
        let many = pond.enqueue_many("q", (2..4).map(work));
        let keyed = pond.enqueue("q", work(4).unique_key("k"));
        let new_kind = pond.enqueue("q", NewJob::json("other", &5));
        queue(&pond, "q").obliterate().await.unwrap();
        let next = if same_name { "q" } else { "other" };
        let there = pond.enqueue(next, work(9).unique_key("k")).await.unwrap().id;
        one.await.unwrap();
        many.await.unwrap();
        assert_eq!(keyed.await.unwrap().is_stored(), !same_name);
        new_kind.await.unwrap();
        assert_eq!(pond.job(there).unwrap().queue, next);
        assert_eq!(ids(&pond, "q").len(), 5);
        assert_sound(&pond).await;
        queue(&pond, "q").obliterate().await.unwrap();
        queue(&pond, "other").obliterate().await.unwrap();
    }
}

/// Polls a call until it waits for the writer.
async fn submitted<T: Send + 'static>(call: Commit<T>) -> tokio::task::JoinHandle<Result<T, Error>> {
    let call = tokio::spawn(call);
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test]
async fn calls_that_are_gathered_with_a_removal_see_the_queue_as_it_is_before_or_after_it() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    pond.enqueue("q", work(0)).await.unwrap();
    queue(&pond, "q").drain().await.unwrap();
    queue(&pond, "q").pause().await.unwrap();
    let first = hold_writer(&pond, &disk).await;
    let removed = submitted(queue(&pond, "q").remove()).await;
    let stored = submitted(pond.enqueue("q", work(1))).await;
    let moved = {
        let tx = pond.transaction(|tx| Ok(tx.enqueue("q", work(2))?));
        submitted(tx).await
    };
    let again = submitted(queue(&pond, "q").remove()).await;
    disk.release_syncs();
    first.await.unwrap().unwrap();
    assert!(removed.await.unwrap().unwrap());
    let (stored, moved) = (stored.await.unwrap().unwrap().id, moved.await.unwrap().unwrap().id);
    let again = again.await.unwrap();
    assert!(matches!(again, Ok(false) | Err(Error::QueueNotEmpty { .. })), "{again:?}");
    assert_eq!((ids(&pond, "q"), queue(&pond, "q").is_paused()), (vec![stored, moved], false));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_room_gets_it_in_a_new_queue() {
    let (_, pond) = memory();
    let q = queue(&pond, "q");
    let narrow = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
    q.configure(narrow).await.unwrap();
    q.enqueue(work(1)).await.unwrap();
    let waiting = submitted(q.enqueue(work(2))).await;
    settled(&pond).await;
    assert!(!waiting.is_finished());
    // The drain makes room for the caller, whose job is removed with the rest, or is the first of the new queue.
    q.obliterate().await.unwrap();
    let id = waiting.await.unwrap().unwrap().id;
    assert!(ids(&pond, "q").is_empty() || ids(&pond, "q") == [id]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_job_is_told_that_there_is_none() {
    let (_, pond) = memory();
    for obliterates in [false, true] {
        let id = pond.enqueue("q", work(1)).await.unwrap().id;
        let end = submitted(pond.finished(id)).await;
        settled(&pond).await;
        match obliterates {
            true => queue(&pond, "q").obliterate().await.map(drop).unwrap(),
            false => queue(&pond, "q").drain().await.map(drop).unwrap(),
        }
        let end = end.await.unwrap();
        assert!(matches!(end, Err(Error::NoSuchJob { .. })), "{end:?}");
    }
}

#[tokio::test]
async fn a_large_queue_is_removed_in_many_commits_that_others_share() {
    let (_, pond) = memory();
    let q = queue(&pond, "q");
    fill_with_many(&pond, "q").await;
    let commits = pond.metrics().commits_total;
    let other = pond.clone();
    let beside = tokio::spawn(async move {
        let mut stored = 0;
        while other.queues().iter().any(|queue| queue.name() == "q") {
            other.enqueue("other", work(stored)).await.unwrap();
            stored += 1;
        }
        stored
    });
    let done = q.obliterate().await.unwrap();
    assert_eq!((done.jobs, done.schedules), (5_400, 1_200));
    // Six thousand jobs, and as many keys, a thousand in a commit.
    assert!(pond.metrics().commits_total - commits >= 10, "{}", pond.metrics().commits_total - commits);
    assert!(beside.await.unwrap() >= 2, "other calls are answered meanwhile");
    assert_sound(&pond).await;
}

/// Fills a queue that is removed in several chunks.
async fn fill_with_many(pond: &Millpond, name: &str) {
    let jobs = (0..1_800).map(|n| work(n).idempotency_key(format!("call-{n}")));
    pond.enqueue_many(name, jobs).await.unwrap();
    pond.enqueue_many(name, (0..1_800).map(|n| work(n).delay(HOUR))).await.unwrap();
    pond.enqueue_many(name, (0..1_800).map(|n| member(&format!("g{}", n % 9), n))).await.unwrap();
    for n in 0..1_200 {
        pond.schedule(&format!("s{n:04}"), hourly(name)).await.unwrap();
    }
}

/// The caller stops waiting in the middle, as a process that is killed does.
#[tokio::test]
async fn a_removal_that_was_broken_off_leaves_a_file_in_order_and_can_be_made_again() {
    for polls in [1, 2, 4, 7] {
        let disk = OnDisk::new();
        let pond = disk.open();
        filled(&pond, "q").await;
        pond.enqueue_many("q", (0..400).map(|n| member(&format!("g{}", n % 7), n))).await.unwrap();
        let q = queue(&pond, "q");
        let small = disk.builder().batch_bytes_max(500);
        close(pond).await;
        let pond = small.open(disk.path()).unwrap();
        drop(q);
        let before = pond.metrics().commits_total;
        {
            let q = queue(&pond, "q");
            let mut removal = pin!(q.obliterate());
            while pond.metrics().commits_total < before + polls {
                let mut task = Context::from_waker(Waker::noop());
                assert!(removal.as_mut().poll(&mut task).is_pending(), "it is broken off in the middle");
                tokio::task::yield_now().await;
            }
        }
        settled(&pond).await;
        assert_sound(&pond).await;
        let killed = disk.crashed("killed.redb");
        for pond in [pond, killed] {
            assert_sound(&pond).await;
            assert_eq!(names(&pond), ["q"]);
            queue(&pond, "q").obliterate().await.unwrap();
            assert_eq!(names(&pond), Vec::<String>::new());
            assert_sound(&pond).await;
            close(pond).await;
        }
        assert_eq!(rows(&disk), []);
    }
}

#[tokio::test]
async fn rows_that_cannot_be_read_go_with_their_queue() {
    let disk = OnDisk::new();
    let pond = disk.open();
    filled(&pond, "a").await;
    filled(&pond, "q").await;
    close(pond).await;
    let db = Database::open(disk.path()).unwrap();
    let damaged = [
        flip::<(u32, u8, u64), Row>(&db, "ready", 2, Bit::InTheMiddle),
        flip::<(u32, u8, u64, u64), Row>(&db, "delayed", 3, Bit::InTheMiddle),
        flip::<(u32, u64, u64), Row>(&db, "dead_letters", 1, Bit::InTheMiddle),
        flip::<(u32, &'static str, u8, u64, u64), Row>(&db, "members", 8, Bit::InTheMiddle),
        flip::<(u32, &'static str), Row>(&db, "unique", 5, Bit::InTheMiddle),
        flip::<(u32, u8, &'static str), Row>(&db, "timed_keys", 7, Bit::InTheMiddle),
    ];
    assert_eq!(damaged, [true; 6]);
    drop(db);
    let pond = disk.open();
    for name in ["q", "a"] {
        queue(&pond, name).obliterate().await.unwrap();
    }
    assert_eq!(pond.quarantine().count().unwrap(), 0);
    assert_sound(&pond).await;
    close(pond).await;
    assert_eq!(rows(&disk), []);
}

/// It is not known whether the failed commit was made: the file says so when it is open again.
#[test]
fn a_removal_or_a_rename_whose_commit_failed_is_known_when_the_file_is_open_again() {
    for failure in [millpond_testkit::Fault::FULL, millpond_testkit::Fault::SYNC] {
        let mut rig = crate::healing::Rig::new();
        for name in ["removed", "renamed"] {
            let q = rig.pond.queue(name).unwrap();
            rig.call(q.pause()).unwrap();
        }
        for verb in ["remove", "rename"] {
            rig.disk.fail(failure);
            let failed = match verb {
                "remove" => rig.pond.queue("removed").unwrap().remove(),
                _ => {
                    let renamed = rig.pond.queue("renamed").unwrap().rename("new");
                    rig.call(renamed).unwrap_err();
                    rig.fail_and_heal();
                    continue;
                }
            };
            rig.call(failed).unwrap_err();
            rig.fail_and_heal();
        }
        rig.assert_sound();
        let listed = names(&rig.pond);
        let in_file: Vec<_> = {
            let reopened = rig.disk.after_kill();
            let pond = Millpond::builder().open_backend(reopened).unwrap();
            names(&pond)
        };
        assert_eq!(listed, in_file, "{failure:?}");
        // Whatever became of it, the names are free to be used.
        for name in ["removed", "renamed", "new"] {
            let job = rig.pond.enqueue(name, work(1));
            let id = rig.call(job).unwrap().id;
            assert_eq!(rig.pond.job(id).unwrap().queue, name);
            let paused = rig.pond.queue(name).unwrap().is_paused();
            assert_eq!(paused, in_file.contains(&name.to_owned()), "{name}");
        }
        let ran = rig.pond.worker("renamed").handle(|_: Job<Work>| async { Ok(()) }).start();
        ran.unwrap();
        rig.assert_sound();
    }
}

#[test]
fn a_name_that_only_a_failed_enqueue_has_used_is_free_for_a_rename() {
    let mut rig = crate::healing::Rig::new();
    let job = rig.pond.enqueue("old", work(1));
    rig.call(job).unwrap();
    rig.disk.fail(millpond_testkit::Fault::FULL);
    let job = rig.pond.enqueue("new", work(2));
    rig.call(job).unwrap_err();
    rig.fail_and_heal();
    assert_eq!(names(&rig.pond), ["old"]);
    let renamed = rig.pond.queue("old").unwrap().rename("new");
    rig.call(renamed).unwrap();
    assert_eq!(names(&rig.pond), ["new"]);
    rig.assert_sound();
}

#[tokio::test]
async fn a_drained_test_still_counts_the_dead_after_a_queue_is_gone() {
    let (_, pond) = memory();
    filled(&pond, "q").await;
    queue(&pond, "q").obliterate().await.unwrap();
    pond.worker("new").handle(|_: Job<Work>| async { Ok(Outcome::dead_letter("no use")) }).start().unwrap();
    pond.enqueue("new", work(1)).await.unwrap();
    assert_eq!(drained(&pond).await.dead, 1);
}

// --- remove ---

#[tokio::test]
async fn only_an_empty_queue_is_removed() {
    let (_, pond) = memory();
    let q = queue(&pond, "q");
    assert!(!q.remove().await.unwrap());
    let id = q.enqueue(work(1)).await.unwrap().id;
    pond.schedule("s", hourly("q")).await.unwrap();
    let refused = q.remove().await;
    assert!(matches!(refused, Err(Error::QueueNotEmpty { jobs: 1, schedules: 1, .. })), "{refused:?}");
    pond.cancel(id, "not needed").await.unwrap();
    pond.schedules().remove("s").await.unwrap();
    let refused = q.remove().await;
    assert!(matches!(refused, Err(Error::QueueNotEmpty { jobs: 1, schedules: 0, .. })), "it is kept: {refused:?}");
    pond.delete(id).await.unwrap();
    q.pause_group("g").await.unwrap();
    assert!(q.remove().await.unwrap());
    assert_eq!((names(&pond), q.remove().await.unwrap()), (vec![], false));
    assert_sound(&pond).await;
}

// --- rename ---

#[tokio::test]
async fn everything_follows_a_queue_that_is_renamed() {
    let disk = OnDisk::new();
    let pond = disk.open();
    filled(&pond, "old").await;
    let old = queue(&pond, "old");
    let (counts, jobs, settings) = (old.counts(), ids(&pond, "old"), old.settings());
    let mut events = pond.events();
    let commits = pond.metrics().commits_total;
    let new = old.rename("new").await.unwrap();
    assert_eq!((new.name(), pond.metrics().commits_total), ("new", commits + 1));
    settled(&pond).await;
    let told = heard(&mut events);
    assert!(
        matches!(&told[..], [Event::QueueRenamed { from, to, .. }] if (&**from, &**to) == ("old", "new")),
        "{told:?}"
    );
    assert_eq!(names(&pond), ["new"]);
    assert_eq!((old.counts().unfinished(), old.is_paused()), (0, false));
    for reopened in [false, true] {
        let pond = if reopened { disk.crashed("copy.redb") } else { pond.clone() };
        let new = queue(&pond, "new");
        assert_eq!((new.counts(), ids(&pond, "new"), new.settings()), (counts, jobs.clone(), settings.clone()));
        assert_eq!((names(&pond), new.is_paused()), (vec!["new".to_owned()], true));
        assert!(new.unique_holder("key-7").unwrap().is_some());
        assert_eq!((new.overrides(), new.paused_kinds()), (Overrides::new().concurrency(9), vec!["packed".to_owned()]));
        for schedule in pond.schedules().list("", 10).unwrap() {
            assert_eq!(schedule.queue, "new");
        }
        assert!(jobs.iter().all(|id| pond.job(*id).unwrap().queue == "new"));
        assert_sound(&pond).await;
    }
    new.resume().await.unwrap();
    new.resume_group("g").await.unwrap();
    pond.dead_letters().redrive_all(&JobFilter::new().queue("new"), Pace::at_once()).await.unwrap();
    disk.clock.advance(2 * HOUR);
    let ran = record(&pond, "new", 1);
    drained(&pond).await;
    let mut ran = ran.all();
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran, [1, 2, 5, 6, 7, 9, 10, 11], "the eighth has expired, and the schedules ran");
    assert_eq!(names(&pond), ["new"], "no schedule has made the old queue again");
}

#[tokio::test]
async fn a_rename_is_refused_where_it_would_mix_queues() {
    let (_, pond) = memory();
    let old = queue(&pond, "old");
    let refused = old.rename("new").await;
    assert!(matches!(&refused, Err(Error::NoSuchQueue { queue, .. }) if queue == "old"), "{refused:?}");
    pond.enqueue("old", work(1)).await.unwrap();
    assert!(matches!(old.rename("not a name").await, Err(Error::InvalidName { .. })));
    pond.enqueue("taken", work(1)).await.unwrap();
    let worker = pond.worker("only-a-worker").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    for taken in ["taken", "only-a-worker"] {
        let refused = old.rename(taken).await;
        assert!(matches!(&refused, Err(Error::QueueExists { queue, .. }) if queue == taken), "{refused:?}");
    }
    worker.stop();
    assert_eq!(old.rename("old").await.unwrap().name(), "old");
    assert_eq!(old.rename("only-a-worker").await.unwrap().counts().pending, 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_old_name_begins_a_new_queue() {
    let (_, pond) = memory();
    let first = pond.enqueue("old", work(1)).await.unwrap().id;
    let under_way = pond.enqueue("old", work(2));
    let new = queue(&pond, "old").rename("new").await.unwrap();
    let second = under_way.await.unwrap().id;
    assert_eq!(ids(&pond, "new"), [first, second], "it was under way");
    let third = pond.enqueue("old", work(3)).await.unwrap().id;
    assert_eq!((ids(&pond, "old"), new.counts().pending), (vec![third], 2));
    let (old_ran, new_ran) = (record(&pond, "old", 1), record(&pond, "new", 1));
    drained(&pond).await;
    assert_eq!((old_ran.all(), new_ran.all()), (vec![3], vec![1, 2]));
    assert_eq!(names(&pond), ["new", "old"]);
}

/// Two queues swap their names by way of a third one, in commits that are gathered together.
#[tokio::test]
async fn renames_that_are_gathered_together_follow_each_other() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let a = pond.enqueue("a", work(1)).await.unwrap().id;
    let b = pond.enqueue("b", work(2)).await.unwrap().id;
    let first = hold_writer(&pond, &disk).await;
    let mut calls = Vec::new();
    for (from, to) in [("a", "c"), ("b", "a"), ("c", "b")] {
        calls.push(submitted(queue(&pond, from).rename(to)).await);
    }
    let stored = submitted(pond.enqueue("c", work(3))).await;
    disk.release_syncs();
    first.await.unwrap().unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let c = stored.await.unwrap().unwrap().id;
    assert_eq!([a, b, c].map(|id| pond.job(id).unwrap().queue), ["b", "a", "c"]);
    assert_sound(&pond).await;
}
