//! What an operator sets in place of the limits that the code says: durable, beside the code's own settings, and reset.

use millpond::{Error, Explanation, Job, NewJob, Overrides, Rate, RateOverride};

use crate::support::*;

#[tokio::test]
async fn an_override_holds_in_place_of_the_workers_concurrency_and_can_be_reset() {
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    let (worker, mut keeper) = gated(&pond, "q", 3);
    queue.set_overrides(Overrides::new().concurrency(1)).await.unwrap();
    pond.enqueue_many("q", (0..6).map(work)).await.unwrap();
    settled(&pond).await;
    assert_eq!((keeper.entered().await, keeper.waiting()), (0, vec![]));
    let own = queue.worker_settings().unwrap();
    assert_eq!((own.concurrency, own.with(&queue.overrides()).concurrency), (3, 1));
    worker.set_concurrency(2).unwrap();
    settled(&pond).await;
    assert_eq!(keeper.waiting(), [0; 0], "the override holds whatever the code says");
    queue.set_overrides(Overrides::new().concurrency(4)).await.unwrap();
    assert_eq!(keeper.next(3).await, [1, 2, 3]);
    queue.set_overrides(Overrides::new()).await.unwrap();
    assert!(queue.overrides().is_empty());
    keeper.let_go(3);
    running(&pond, "q", 2).await;
    assert_eq!(keeper.entered().await, 4, "the code's last setting holds again");
    keeper.let_go(9);
    drained(&pond).await;
}

#[tokio::test]
async fn overrides_and_pauses_survive_a_restart_and_a_crash() {
    let file = OnDisk::new();
    let pond = file.open();
    let queue = pond.queue("q").unwrap();
    let overrides = Overrides::new().concurrency(1).rate(Rate::per_minute(60).burst(9)).no_group_rate();
    queue.set_overrides(overrides.clone()).await.unwrap();
    queue.pause_kind("packed").await.unwrap();
    pond.queue("other").unwrap().pause_kind("work").await.unwrap();
    pond.pause().await.unwrap();
    let crashed = file.crashed("copy.redb");
    close(pond).await;
    for pond in [file.open(), crashed] {
        assert!(pond.is_paused());
        let queue = pond.queue("q").unwrap();
        assert_eq!((queue.overrides(), queue.paused_kinds()), (overrides.clone(), vec!["packed".to_owned()]));
        assert_eq!(pond.queue("other").unwrap().paused_kinds(), ["work"]);
        let (_, mut keeper) = gated(&pond, "q", 5);
        pond.enqueue_many("q", (0..2).map(work)).await.unwrap();
        settled(&pond).await;
        assert_eq!(keeper.waiting(), [0; 0]);
        assert!(pond.resume().await.unwrap());
        settled(&pond).await;
        assert_eq!((keeper.entered().await, keeper.waiting()), (0, vec![]), "one at a time, as was set");
        keeper.let_go(2);
        drained(&pond).await;
        queue.set_overrides(Overrides::new()).await.unwrap();
        assert!(queue.resume_kind("packed").await.unwrap());
        assert_sound(&pond).await;
        close(pond).await;
    }
    let pond = file.open();
    let queue = pond.queue("q").unwrap();
    assert!(queue.overrides().is_empty() && queue.paused_kinds().is_empty() && !pond.is_paused());
    close(pond).await;
}

#[tokio::test]
async fn rates_can_be_overridden_while_jobs_wait_for_them() {
    let (clock, pond) = memory();
    let queue = pond.queue("q").unwrap();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .rate_limit(Rate::per_minute(60))
        .group_rate_limit(Rate::new(1, HOUR))
        .handle(move |job: Job<Work>| {
            seen.push(job.n);
            async { Ok(()) }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", (0..4).map(|n| member("g", n))).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [0], "both buckets had one token");
    queue.set_overrides(Overrides::new().no_rate().group_rate(Rate::per_second(1))).await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.take(), [1], "the group waits a second, no longer an hour");
    queue.set_overrides(Overrides::new().no_rate().no_group_rate()).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [2, 3], "nothing limits them");
    queue.set_overrides(Overrides::new()).await.unwrap();
    pond.enqueue_many("q", (4..6).map(|n| member("g", n))).await.unwrap();
    drained(&pond).await;
    let explained = pond.explain(pond.jobs(&millpond::JobFilter::new(), None, 9).unwrap().jobs[0].id).unwrap();
    assert!(matches!(explained, Explanation::RateLimited { .. }), "{explained:?}");
    assert_eq!(queue.worker_settings().unwrap().rate, Some(Rate::per_minute(60)));
    assert_eq!(queue.overrides().rate, None::<RateOverride>);
}

#[tokio::test]
async fn a_paused_kind_waits_and_other_kinds_run() {
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    assert!(queue.pause_kind("packed").await.unwrap());
    assert!(!queue.pause_kind("packed").await.unwrap());
    let log = Log::new();
    let (work_log, packed_log) = (log.clone(), log.clone());
    pond.worker("q")
        .concurrency(1)
        .handle(move |job: Job<Work>| {
            work_log.push(job.n.to_string());
            async { Ok(()) }
        })
        .handle(move |job: Job<Packed>| {
            packed_log.push(job.text.clone());
            async { Ok(()) }
        })
        .start()
        .unwrap();
    let packed = |text: &str| NewJob::new(Packed { text: text.to_owned() });
    let held = pond.enqueue("q", packed("a")).await.unwrap();
    pond.enqueue("q", packed("b").group("g")).await.unwrap();
    pond.enqueue("q", member("g", 1)).await.unwrap();
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), ["2"], "the group waits behind its first job");
    let why = pond.explain(held).unwrap();
    assert_eq!((&why, why.to_string().as_str()), (&Explanation::KindPaused, "its kind is paused in its queue"));
    assert!(queue.resume_kind("packed").await.unwrap());
    assert!(!queue.resume_kind("packed").await.unwrap());
    drained(&pond).await;
    let ran = log.take();
    let place = |what: &str| ran.iter().position(|ran| ran == what).unwrap();
    assert!(ran.len() == 3 && place("a") < 3 && place("b") < place("1"), "{ran:?}");
    assert!(!queue.resume_kind("never-seen").await.unwrap());
    assert!(matches!(queue.pause_kind("no spaces").await, Err(Error::InvalidName { what: "kind", .. })));
}

#[tokio::test]
async fn a_pause_of_all_queues_leaves_their_own_pauses_as_they_are() {
    let (_, pond) = memory();
    let (a, b) = (record(&pond, "a", 1), record(&pond, "b", 1));
    pond.queue("b").unwrap().pause().await.unwrap();
    assert!(pond.pause().await.unwrap());
    assert!(!pond.pause().await.unwrap());
    let held = pond.enqueue("a", work(1)).await.unwrap();
    pond.enqueue("b", work(2)).await.unwrap();
    let later = record(&pond, "later", 1);
    pond.enqueue("later", work(3)).await.unwrap();
    drained(&pond).await;
    assert_eq!((a.len(), b.len(), later.len()), (0, 0, 0));
    assert_eq!(pond.explain(held).unwrap(), Explanation::AllPaused);
    assert!(!pond.queue("a").unwrap().is_paused());
    assert!(pond.resume().await.unwrap());
    assert!(!pond.resume().await.unwrap());
    drained(&pond).await;
    assert_eq!((a.all(), b.all(), later.all()), (vec![1], vec![], vec![3]));
    assert!(pond.queue("b").unwrap().is_paused());
}

#[tokio::test]
async fn overrides_that_cannot_work_are_refused_and_change_nothing() {
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    queue.set_overrides(Overrides::new().concurrency(2)).await.unwrap();
    let refused = queue.set_overrides(Overrides::new().concurrency(0)).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "concurrency", .. })));
    let refused = queue.set_overrides(Overrides::new().rate(Rate::new(0, SECOND))).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { .. })));
    assert_eq!(queue.overrides().concurrency, Some(2));
    assert_eq!(queue.worker_settings(), None);
    let untouched = pond.queue("untouched").unwrap();
    untouched.set_overrides(Overrides::new()).await.unwrap();
    assert_eq!(pond.queues().len(), 1, "setting nothing makes no queue");
}

/// It is not known whether the failed commit was made: the file says so when it is open again, and dispatch is told.
#[test]
fn a_pause_of_all_queues_whose_commit_failed_holds_if_the_file_has_it() {
    for (fault, is_made) in [(millpond_testkit::Fault::SYNC, true), (millpond_testkit::Fault::FULL, false)] {
        let mut rig = crate::healing::Rig::new();
        rig.pond.worker("q").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
        rig.disk.fail(fault);
        let pause = rig.pond.pause();
        rig.call(pause).unwrap_err();
        rig.fail_and_heal();
        assert_eq!(rig.pond.is_paused(), is_made, "{fault:?}");
        let job = rig.pond.enqueue("q", work(1));
        let id = rig.call(job).unwrap().id;
        rig.settle();
        match is_made {
            true => assert_eq!(rig.pond.explain(id).unwrap(), Explanation::AllPaused),
            false => assert!(matches!(rig.pond.job(id), Err(Error::NoSuchJob { .. })), "it has run"),
        }
        let resume = rig.pond.resume();
        rig.call(resume).unwrap();
        rig.settle();
        assert!(matches!(rig.pond.job(id), Err(Error::NoSuchJob { .. })), "it has run");
        rig.assert_sound();
    }
}
