//! Queues that several machines share, over the engine in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millpond::{Capacity, Context, Job, JobFilter, Millpond, NewJob, Pace, Payload, QueueSettings, Retry, State};
use millpond_links::{Envelope, Error, Fault, Forward, Link, LinkState, MemoryLog, Take};
use millpond_links_testkit::{Handled, SOON, open, thumbnails};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

const LEASE: Duration = Duration::from_secs(1);

async fn until<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(value) = so() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, poll).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn state(link: &Link, what: &str, so: impl Fn(&LinkState) -> bool) -> LinkState {
    until(what, || Some(link.state()).filter(&so)).await
}

/// Enqueues jobs on a machine that sends them to the shared queue, and waits until they are there.
async fn send(dir: &Path, engine: &MemoryLog, numbers: std::ops::Range<u32>) {
    let pond = open(dir, "sender.redb");
    let jobs = numbers.clone().map(|n| NewJob::raw("thumbnail", n.to_string()));
    pond.enqueue_many("outgoing", jobs).await.unwrap();
    let link = Forward::to_shared(&pond, "outgoing", engine, thumbnails()).start().await.unwrap();
    until("all are sent", || (pond.queue("outgoing").unwrap().counts().unfinished() == 0).then_some(())).await;
    link.stop().await;
    pond.shutdown(SOON).await.unwrap();
}

/// A machine whose link can end without a word, as when its process is killed.
struct Machine(Runtime);

async fn machine(take: Take<MemoryLog>) -> (Machine, Link) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let link = runtime.spawn(async move { take.start().await.unwrap() }).await.unwrap();
    (Machine(runtime), link)
}

impl Machine {
    async fn dies(self, pond: Millpond) {
        self.0.shutdown_background();
        pond.shutdown(Duration::ZERO).await.unwrap();
    }
}

fn once(jobs: std::ops::Range<u32>) -> Vec<(u32, u32)> {
    jobs.map(|number| (number, 1)).collect()
}

/// A worker that counts what it completes, each with a permit of this semaphore.
fn work(pond: &Millpond, handled: &Handled, gate: &Arc<Semaphore>) {
    let (handled, gate) = (handled.clone(), gate.clone());
    let worker = pond.worker("incoming").concurrency(4).handle_any(move |job: Job<Payload>, ctx: Context| {
        let (handled, gate) = (handled.clone(), gate.clone());
        async move {
            gate.acquire().await?.forget();
            let number = std::str::from_utf8(&job.bytes)?.parse()?;
            ctx.on_complete(move |_| {
                handled.add(number);
                Ok(())
            });
            Ok(())
        }
    });
    worker.start().unwrap();
}

fn open_gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(100_000))
}

fn closed_gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

async fn take(pond: &Millpond, engine: &MemoryLog) -> Link {
    Take::new(pond, "incoming", engine, thumbnails()).lease(LEASE).start().await.unwrap()
}

async fn empty(engine: &MemoryLog) {
    until("the engine has forgotten all", || (engine.len_of(&thumbnails()) == 0).then_some(())).await;
}

#[tokio::test]
async fn machines_share_the_jobs_and_each_runs_once() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..300).await;
    let machines = [open(dir.path(), "one.redb"), open(dir.path(), "two.redb"), open(dir.path(), "three.redb")];
    // Each holds a part of the jobs before any is handled.
    let gate = closed_gate();
    let mut links = Vec::new();
    for pond in &machines {
        work(pond, &handled, &gate);
        links.push(take(pond, &engine).await);
    }
    for link in &links {
        state(link, "each holds its part", |state| state.held == 100).await;
    }
    gate.add_permits(10_000);
    handled.all(300).await;
    empty(&engine).await;
    assert_eq!(handled.times(), once(0..300));
    for link in links {
        let state = state(&link, "nothing is held", |state| state.held == 0).await;
        assert_eq!((state.jobs, state.lost_leases, state.unreadable), (100, 0, 0));
        link.stop().await;
    }
}

#[tokio::test]
async fn the_jobs_of_a_machine_that_is_gone_run_elsewhere_when_its_leases_have_ended() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..20).await;
    let gone = open(dir.path(), "gone.redb");
    work(&gone, &handled, &closed_gate());
    let (machine, link) = machine(Take::new(&gone, "incoming", &engine, thumbnails()).lease(LEASE)).await;
    state(&link, "it holds all", |state| state.held == 20).await;
    machine.dies(gone).await;

    let other = open(dir.path(), "other.redb");
    work(&other, &handled, &open_gate());
    let _link = take(&other, &engine).await;
    handled.all(20).await;
    empty(&engine).await;
    assert_eq!(handled.times(), once(0..20));
}

#[tokio::test]
async fn a_job_that_dies_is_a_dead_letter_of_its_machine_and_can_be_redriven_there() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..1).await;
    let pond = open(dir.path(), "one.redb");
    let (seen, fails) = (handled.clone(), Arc::new(AtomicBool::new(true)));
    let is_broken = fails.clone();
    let worker = pond.worker("incoming").retry(Retry::none()).handle_any(move |job: Job<Payload>| {
        if is_broken.load(Ordering::SeqCst) {
            return std::future::ready(Err("it is broken".into()));
        }
        seen.add(std::str::from_utf8(&job.bytes).unwrap().parse().unwrap());
        std::future::ready(Ok(()))
    });
    worker.start().unwrap();
    let link = take(&pond, &engine).await;
    empty(&engine).await;
    let counts = || pond.queue("incoming").unwrap().counts();
    assert_eq!((counts().dead, link.state().held), (1, 0), "its end is told, so no other machine runs it");
    fails.store(false, Ordering::SeqCst);
    let dead = pond.dead_letters().redrive_all(&JobFilter::new(), Pace::at_once()).await.unwrap();
    assert_eq!(dead, 1);
    handled.all(1).await;
    assert_eq!(handled.times(), once(0..1));
}

#[tokio::test]
async fn a_machine_that_starts_again_within_the_lease_goes_on_with_its_jobs() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..20).await;
    let pond = open(dir.path(), "one.redb");
    let long = Duration::from_secs(600);
    let (machine, link) = machine(Take::new(&pond, "incoming", &engine, thumbnails()).lease(long)).await;
    state(&link, "it holds all", |state| state.held == 20).await;
    machine.dies(pond).await;

    let pond = open(dir.path(), "one.redb");
    work(&pond, &handled, &open_gate());
    let link = Take::new(&pond, "incoming", &engine, thumbnails()).lease(long).start().await.unwrap();
    handled.all(20).await;
    empty(&engine).await;
    let state = state(&link, "nothing is held", |state| state.held == 0).await;
    assert_eq!((state.jobs, state.lost_leases), (0, 0));
    assert_eq!(handled.times(), once(0..20));
    assert_eq!(pond.queue("incoming").unwrap().counts().enqueued_total, 20);
}

#[tokio::test]
async fn the_end_of_a_job_is_told_after_a_restart_and_it_does_not_run_again() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..20).await;
    let pond = open(dir.path(), "one.redb");
    let gate = closed_gate();
    work(&pond, &handled, &gate);
    let (machine, link) = machine(Take::new(&pond, "incoming", &engine, thumbnails()).lease(LEASE)).await;
    state(&link, "it holds all", |state| state.held == 20).await;
    // The engine does not answer while the jobs end.
    engine.set_down(true);
    gate.add_permits(100);
    handled.all(20).await;
    machine.dies(pond).await;
    assert_eq!(engine.len_of(&thumbnails()), 20);

    engine.set_down(false);
    let pond = open(dir.path(), "one.redb");
    work(&pond, &handled, &gate);
    let link = take(&pond, &engine).await;
    empty(&engine).await;
    link.stop().await;
    assert_eq!(handled.times(), once(0..20));
}

#[tokio::test]
async fn a_job_whose_lease_was_lost_is_cancelled_here() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    send(dir.path(), &engine, 0..6).await;
    let (slow, fast) = (open(dir.path(), "slow.redb"), open(dir.path(), "fast.redb"));
    let of_slow = Handled::default();
    work(&slow, &of_slow, &closed_gate());
    let long = Duration::from_secs(3);
    let link = Take::new(&slow, "incoming", &engine, thumbnails()).lease(long).held_max(6).start().await.unwrap();
    state(&link, "it holds all", |state| state.held == 6).await;
    engine.end_leases();
    let of_fast = Handled::default();
    work(&fast, &of_fast, &open_gate());
    let other = Take::new(&fast, "incoming", &engine, thumbnails()).lease(long).start().await.unwrap();
    of_fast.all(6).await;
    state(&link, "it has let go", |state| state.held == 0).await;
    // Four of them ran: they are asked to stop. The others have not started.
    until("the others are cancelled", || (slow.queue("incoming").unwrap().counts().cancelled_total >= 2).then_some(()))
        .await;
    assert_eq!(link.state().lost_leases, 6);
    let waiting = slow.jobs(&millpond::JobFilter::new().state(State::Cancelled), None, 10).unwrap();
    assert!(waiting.jobs.iter().all(|job| job.reason.as_ref().is_some_and(|reason| reason.contains("lease"))));
    assert_eq!((of_slow.times(), of_fast.times()), (vec![], once(0..6)));
    assert_eq!(other.state().held, 0);
}

#[tokio::test]
async fn a_job_that_takes_longer_than_its_lease_stays_where_it_is() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..10).await;
    let (slow, idle) = (open(dir.path(), "slow.redb"), open(dir.path(), "idle.redb"));
    let gate = closed_gate();
    work(&slow, &handled, &gate);
    // It has no room to take its own jobs again.
    let link = Take::new(&slow, "incoming", &engine, thumbnails()).lease(LEASE).held_max(10).start().await.unwrap();
    state(&link, "it holds all", |state| state.held == 10).await;
    let other = take(&idle, &engine).await;
    tokio::time::sleep(3 * LEASE).await;
    assert_eq!((link.state().held, link.state().lost_leases, other.state().jobs), (10, 0, 0));
    gate.add_permits(100);
    handled.all(10).await;
    empty(&engine).await;
    assert_eq!((handled.times(), other.state().jobs), (once(0..10), 0));
}

#[tokio::test]
async fn jobs_that_have_not_started_are_let_go_when_the_engine_does_not_answer_for_a_lease() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..10).await;
    let cut_off = open(dir.path(), "cut-off.redb");
    let gate = closed_gate();
    work(&cut_off, &handled, &gate);
    let link = take(&cut_off, &engine).await;
    state(&link, "it holds all", |state| state.held == 10).await;
    until("four run", || (cut_off.queue("incoming").unwrap().counts().running == 4).then_some(())).await;
    engine.set_down(true);
    let told = state(&link, "it lets go of the others", |state| state.held == 4).await;
    assert!(!told.connected && told.last_error.is_some(), "{told:?}");
    assert_eq!(cut_off.queue("incoming").unwrap().counts().unfinished(), 4);
    // Those that run go on, and their ends are told later.
    gate.add_permits(4);
    handled.all(4).await;
    engine.set_down(false);
    gate.add_permits(100);
    handled.all(10).await;
    empty(&engine).await;
}

#[tokio::test]
async fn a_link_that_is_stopped_gives_back_what_has_not_started() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..10).await;
    let (first, second) = (open(dir.path(), "first.redb"), open(dir.path(), "second.redb"));
    let long = Duration::from_secs(3_600);
    let link = Take::new(&first, "incoming", &engine, thumbnails()).lease(long).start().await.unwrap();
    state(&link, "it holds all", |state| state.held == 10).await;
    link.stop().await;
    assert_eq!(first.queue("incoming").unwrap().counts().unfinished(), 0);
    work(&second, &handled, &open_gate());
    let _link = Take::new(&second, "incoming", &engine, thumbnails()).lease(long).start().await.unwrap();
    handled.all(10).await;
    assert_eq!(handled.times(), once(0..10));
}

#[tokio::test]
async fn a_job_whose_end_the_engine_has_lost_does_not_run_again_here() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..5).await;
    let before = engine.snapshot();
    let pond = open(dir.path(), "one.redb");
    work(&pond, &handled, &open_gate());
    let link = take(&pond, &engine).await;
    handled.all(5).await;
    empty(&engine).await;
    engine.go_back(&before);
    state(&link, "they come again", |state| state.known == 5).await;
    empty(&engine).await;
    assert_eq!(handled.times(), once(0..5));
    assert_eq!(pond.queue("incoming").unwrap().counts().enqueued_total, 5);
}

#[tokio::test]
async fn a_job_that_is_taken_again_by_the_machine_that_runs_it_runs_once_and_is_held_by_the_new_lease() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..3).await;
    let pond = open(dir.path(), "one.redb");
    let gate = closed_gate();
    work(&pond, &handled, &gate);
    let link = Take::new(&pond, "incoming", &engine, thumbnails()).lease(3 * LEASE).start().await.unwrap();
    state(&link, "it holds all", |state| state.held == 3).await;
    engine.end_leases();
    state(&link, "they come again", |state| state.known == 3).await;
    // Were the old leases extended in place of the new ones, they would be lost.
    tokio::time::sleep(5 * LEASE).await;
    let told = link.state();
    assert_eq!((told.held, told.lost_leases, told.known), (3, 0, 3));
    gate.add_permits(10);
    handled.all(3).await;
    empty(&engine).await;
    assert_eq!(handled.times(), once(0..3));
    assert_eq!(pond.queue("incoming").unwrap().counts().enqueued_total, 3);
}

#[tokio::test]
async fn a_machine_holds_at_most_as_many_jobs_as_it_says() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..50).await;
    let pond = open(dir.path(), "one.redb");
    let gate = closed_gate();
    work(&pond, &handled, &gate);
    let take = Take::new(&pond, "incoming", &engine, thumbnails()).held_max(7);
    let link = take.start().await.unwrap();
    for done in 0..43 {
        state(&link, "it holds seven", |state| state.held == 7).await;
        assert_eq!(pond.queue("incoming").unwrap().counts().unfinished(), 7, "after {done}");
        gate.add_permits(1);
        handled.all(done + 1).await;
        state(&link, "it takes another one", |state| state.jobs == u64::from(done) + 8).await;
    }
}

#[tokio::test]
async fn no_more_jobs_are_taken_than_fit_into_the_queue() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..20).await;
    let pond = open(dir.path(), "one.redb");
    let settings = QueueSettings::default().capacity(Capacity::jobs(5));
    pond.queue("incoming").unwrap().configure(settings).await.unwrap();
    let gate = closed_gate();
    work(&pond, &handled, &gate);
    // Were a job taken that does not fit, it would be put aside.
    let take = Take::new(&pond, "incoming", &engine, thumbnails()).deliveries_max(1);
    let link = take.start().await.unwrap();
    state(&link, "the queue is full", |state| state.held == 5).await;
    gate.add_permits(100);
    handled.all(20).await;
    empty(&engine).await;
    assert_eq!((handled.times(), link.state().unreadable, link.state().last_error), (once(0..20), 0, None));
}

#[tokio::test]
async fn a_job_that_no_machine_ends_is_put_aside() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    send(dir.path(), &engine, 0..1).await;
    for times in 1..=3 {
        let pond = open(dir.path(), &format!("{times}.redb"));
        let (machine, link) = machine(Take::new(&pond, "incoming", &engine, thumbnails()).deliveries_max(2)).await;
        state(&link, "it has come", |state| state.jobs + state.unreadable == 1).await;
        if times == 3 {
            empty(&engine).await;
            let aside = millpond::JobFilter::new().queue("incoming.undelivered");
            let aside = pond.jobs(&aside, None, 10).unwrap().jobs;
            assert_eq!((&*aside[0].kind, &aside[0].payload.bytes[..]), ("thumbnail", &b"0"[..]));
            assert!(aside[0].headers["reason"].contains("3 times"), "{:?}", aside[0].headers);
            assert_eq!(pond.queue("incoming").unwrap().counts().enqueued_total, 0);
        }
        machine.dies(pond).await;
        engine.end_leases();
    }
}

fn hostile(headers: &[(&str, &str)]) -> Envelope {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Envelope { partition: 0, headers, payload: Bytes::from_static(b"?") }
}

#[tokio::test]
async fn what_can_never_be_a_job_is_put_aside_and_newer_headers_stop_the_link() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let from = ("ce-source", "elsewhere");
    engine.inject(thumbnails(), hostile(&[]));
    engine.inject(thumbnails(), hostile(&[("mp-v", "1"), from, ("ce-type", "a b"), ("mp-batch", "1/0")]));
    engine.inject(thumbnails(), hostile(&[("mp-v", "1"), from, ("ce-type", "thumbnail"), ("mp-batch", "2/0")]));
    let pond = open(dir.path(), "one.redb");
    let link = take(&pond, &engine).await;
    let told = state(&link, "the good one is held", |state| state.held == 1).await;
    assert_eq!((told.jobs, told.unreadable), (1, 2));
    assert_eq!(engine.len_of(&thumbnails()), 1);
    assert_eq!(pond.queue("incoming.unreadable").unwrap().counts().unfinished(), 2);
    engine.inject(thumbnails(), hostile(&[("mp-v", "2")]));
    let is_told = |state: &LinkState| state.last_error.as_ref().is_some_and(|error| error.contains("version 2"));
    state(&link, "the link has stopped", is_told).await;
    // It is still there, for a machine that knows the version.
    assert_eq!(engine.len_of(&thumbnails()), 2);
}

#[tokio::test]
async fn a_job_with_a_group_is_refused_and_the_others_go() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let pond = open(dir.path(), "sender.redb");
    let grouped = pond.enqueue("outgoing", NewJob::raw("thumbnail", "0").group("a")).await.unwrap().id;
    pond.enqueue("outgoing", NewJob::raw("thumbnail", "1")).await.unwrap();
    let link = Forward::to_shared(&pond, "outgoing", &engine, thumbnails()).start().await.unwrap();
    state(&link, "the other one is sent", |state| state.jobs == 1).await;
    until("it is a dead letter", || (pond.queue("outgoing").unwrap().counts().dead == 1).then_some(())).await;
    let reason = pond.job(grouped).unwrap().reason.unwrap();
    assert!(reason.contains("group") && reason.contains("mailbox"), "{reason}");
    assert_eq!(engine.len_of(&thumbnails()), 1);
}

#[tokio::test]
async fn settings_that_are_not_valid_are_refused() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let pond = open(dir.path(), "one.redb");
    let take = || Take::new(&pond, "incoming", &engine, thumbnails());
    let ms = Duration::from_millis;
    let bad = [
        (take().lease(ms(999)), "lease"),
        (take().lease(ms(86_400_001)), "lease"),
        (take().held_max(0), "held_max"),
        (take().held_max(10_001), "held_max"),
        (take().deliveries_max(0), "deliveries_max"),
    ];
    for (take, expected) in bad {
        let refused = take.start().await.unwrap_err();
        assert!(matches!(refused, Error::InvalidSetting { setting, .. } if setting == expected), "{refused}");
    }
    let name = "q".repeat(120);
    assert!(matches!(Take::new(&pond, name, &engine, thumbnails()).start().await, Err(Error::Queue(_))));
}

/// Machines that die and come back while calls of the engine fail: nothing is missing, and what ran twice is explained by a lost lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_whatever_fails() {
    for seed in 0..4 {
        let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
        send(dir.path(), &engine, 0..400).await;
        engine.fail_one_in(6, seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut machines = Vec::new();
        for name in ["one.redb", "two.redb", "three.redb"] {
            machines.push(start_machine(dir.path(), name, &engine, &handled).await);
        }
        let mut lost = 0;
        for _ in 0..6 {
            let enough = handled.times().len() + 40;
            until("some are handled", || (handled.times().len() >= enough.min(400)).then_some(())).await;
            let (name, pond, machine, link) = machines.swap_remove(rng.usize(0..3));
            // Half of them die, and half are stopped in order.
            lost += link.state().lost_leases;
            if rng.bool() {
                link.stop().await;
            }
            machine.dies(pond).await;
            machines.push(start_machine(dir.path(), name, &engine, &handled).await);
        }
        handled.all(400).await;
        engine.fail_one_in(0, 0);
        empty(&engine).await;
        engine.set_down(false);
        for (_, pond, machine, link) in machines {
            lost += link.state().lost_leases;
            link.stop().await;
            machine.dies(pond).await;
        }
        let twice = handled.times().iter().filter(|(_, times)| *times > 1).count();
        assert!(twice == 0 || lost > 0, "seed {seed}: {twice} ran twice, and no lease was lost");
    }
}

async fn start_machine<'n>(
    dir: &Path,
    name: &'n str,
    engine: &MemoryLog,
    handled: &Handled,
) -> (&'n str, Millpond, Machine, Link) {
    let pond = until("the file is free", || Millpond::open(dir.join(name)).ok()).await;
    work(&pond, handled, &open_gate());
    let (machine, link) = machine(Take::new(&pond, "incoming", engine, thumbnails()).lease(LEASE).held_max(30)).await;
    (name, pond, machine, link)
}

/// An answer that is lost, for each of the four calls.
#[tokio::test]
async fn a_lost_answer_loses_and_doubles_nothing() {
    let (dir, engine, handled) = (tempfile::tempdir().unwrap(), MemoryLog::new(), Handled::default());
    send(dir.path(), &engine, 0..3).await;
    // Taken, and nobody knows: they come again when the leases have ended.
    engine.fail_next([Fault::AnswerLost]);
    let pond = open(dir.path(), "one.redb");
    let gate = closed_gate();
    work(&pond, &handled, &gate);
    let link = take(&pond, &engine).await;
    state(&link, "they are held", |state| state.held == 3 && state.connected).await;
    // Ended, and nobody knows.
    engine.fail_next([Fault::AnswerLost, Fault::AnswerLost, Fault::AnswerLost]);
    gate.add_permits(10);
    handled.all(3).await;
    empty(&engine).await;
    state(&link, "nothing is held", |state| state.held == 0).await;
    assert_eq!(handled.times(), once(0..3));
}
