//! Many jobs at once: counted, cancelled, changed, moved, removed, and found by what they contain.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use millpond::{
    BulkProgress, Capacity, Cursor, Error, Event, Job, JobFilter, JobId, JobPatch, Millpond, NewJob, Outcome, Priority,
    QueueSettings, Retry, State,
};
use millpond_testkit::SimDisk;
use serde_json::json;

use crate::support::*;

fn in_queue(queue: &str) -> JobFilter {
    JobFilter::new().queue(queue)
}

fn done(matched: u64, changed: u64) -> (u64, u64) {
    (matched, changed)
}

fn numbers(progress: &BulkProgress) -> (u64, u64) {
    assert_eq!(progress.next, None);
    (progress.matched, progress.changed)
}

fn ids(pond: &Millpond, filter: &JobFilter) -> Vec<JobId> {
    let mut ids: Vec<_> = pond.jobs(filter, None, 1_000).unwrap().jobs.iter().map(|job| job.id).collect();
    ids.sort();
    ids
}

/// Jobs in every state but running, each with its state.
async fn in_every_state(pond: &Millpond) -> Vec<(JobId, State)> {
    let worker = pond
        .worker("q")
        .retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(2))
        .handle(|job: Job<Work>| async move {
            match job.n {
                1 => Err("again".into()),
                2 => Ok(Outcome::dead_letter("no use")),
                3 => Ok(Outcome::cancel("not needed")),
                _ => Ok(Outcome::done_with("done")),
            }
        })
        .start()
        .unwrap();
    let mut jobs = Vec::new();
    for (n, state) in [(1, State::Retrying), (2, State::Dead), (3, State::Cancelled), (4, State::Completed)] {
        jobs.push((pond.enqueue("q", work(n)).await.unwrap().id, state));
    }
    drained(pond).await;
    worker.stop();
    jobs.push((pond.enqueue("q", work(5)).await.unwrap().id, State::Pending));
    jobs.push((pond.enqueue("q", work(6).delay(HOUR)).await.unwrap().id, State::Scheduled));
    jobs.push((pond.enqueue("q", member("g", 7)).await.unwrap().id, State::Pending));
    jobs.push((pond.enqueue("q", member("g", 8).delay(HOUR)).await.unwrap().id, State::Scheduled));
    for (id, state) in &jobs {
        assert_eq!(self::state(pond, *id), *state);
    }
    jobs
}

#[tokio::test]
async fn each_verb_changes_the_jobs_in_the_states_in_which_it_applies() {
    let waits = |state: State| !state.is_final();
    let (_, pond) = memory();
    let jobs = in_every_state(&pond).await;
    assert_eq!(pond.select(&in_queue("q")).count().await.unwrap(), 8);

    let ran = pond.select(&in_queue("q")).run_now().await.unwrap();
    assert_eq!(numbers(&ran), done(4, 4), "two members of the group, one that is delayed and one that is retried");
    for (id, before) in &jobs {
        let expected = if waits(*before) { State::Pending } else { *before };
        assert_eq!(state(&pond, *id), expected);
    }
    let cancelled = pond.select(&in_queue("q")).cancel("enough").await.unwrap();
    assert_eq!(numbers(&cancelled), done(5, 5));
    for (id, before) in &jobs {
        let expected = if waits(*before) { State::Cancelled } else { *before };
        assert_eq!(state(&pond, *id), expected);
    }
    let deleted = pond.select(&in_queue("q")).delete().await.unwrap();
    assert_eq!(numbers(&deleted), done(8, 8));
    assert!(ids(&pond, &JobFilter::new()).is_empty());
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.unfinished(), counts.bytes, counts.dead, counts.cancelled, counts.completed), (0, 0, 0, 0, 0));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_move_takes_what_waits_and_dead_letters_with_their_ids_and_times() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let jobs = in_every_state(&pond).await;
    let mut events = pond.events();
    let moved = pond.select(&in_queue("q")).move_to("other").await.unwrap();
    assert_eq!(numbers(&moved), done(6, 6));
    settled(&pond).await;
    let told = heard(&mut events).into_iter().filter(|event| matches!(event, Event::Moved { .. })).count();
    assert_eq!(told, 6);
    for (id, before) in &jobs {
        let expected = if matches!(before, State::Completed | State::Cancelled) { "q" } else { "other" };
        let job = pond.job(*id).unwrap();
        assert_eq!((job.queue.as_str(), job.state), (expected, *before));
    }
    let (q, other) = (pond.queue("q").unwrap().counts(), pond.queue("other").unwrap().counts());
    assert_eq!((q.unfinished(), q.bytes, q.dead, q.cancelled, q.completed), (0, 0, 0, 1, 1));
    assert_eq!((other.unfinished(), other.dead, other.enqueued_total), (5, 1, 0));
    assert_sound(&pond).await;
    close(pond).await;

    let pond = disk.open();
    let ran = record(&pond, "other", 1);
    pond.select(&in_queue("other").state(State::Scheduled)).run_now().await.unwrap();
    pond.select(&in_queue("other").state(State::Retrying)).run_now().await.unwrap();
    drained(&pond).await;
    let mut all = ran.all();
    all.sort_unstable();
    assert_eq!(all, [1, 5, 6, 7, 8]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_moved_job_is_found_started_and_changed_in_its_new_queue_at_once() {
    let (_, pond) = memory();
    let ran = record(&pond, "new", 1);
    let id = pond.enqueue("old", work(1)).await.unwrap();
    pond.queue("new").unwrap().pause().await.unwrap();
    assert!(pond.move_to(id, "new").await.unwrap());
    assert!(!pond.move_to(id, "new").await.unwrap(), "it is there already");
    pond.update(id, JobPatch::new().priority(Priority::FIRST)).await.unwrap();
    pond.queue("new").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
    assert!(matches!(pond.move_to(id, "new").await, Err(Error::NoSuchJob { .. })));
    assert!(matches!(pond.move_to(id, "not a name").await, Err(Error::InvalidName { .. })));
}

/// The search for the job's queue was made before either call, so the second call looks for it in its old queue.
#[tokio::test]
async fn a_job_that_is_moved_is_found_by_a_call_in_the_same_commit() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let id = pond.enqueue("old", work(1)).await.unwrap();
    let commits = pond.metrics().commits_total;
    let calls = vec![pond.move_to(id, "new"), pond.move_to(id, "newer")];
    let answers = in_one_batch(&pond, &disk, calls).await;
    assert!(answers.into_iter().all(Result::unwrap));
    assert_eq!(pond.metrics().commits_total, commits + 2, "both shared one commit");
    let job = pond.job(id).unwrap();
    assert_eq!((job.queue.as_str(), job.state), ("newer", State::Pending));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_unique_key_moves_with_its_job_and_is_not_held_twice() {
    let (_, pond) = memory();
    let first = pond.enqueue("a", work(1).unique_key("k")).await.unwrap();
    let second = pond.enqueue("b", work(2).unique_key("k")).await.unwrap();
    assert!(!pond.move_to(first, "b").await.unwrap(), "another job holds the key there");
    assert_eq!(pond.job(first).unwrap().queue, "a");

    assert!(pond.move_to(first, "c").await.unwrap());
    assert_eq!(pond.enqueue("c", work(3).unique_key("k")).await.unwrap().id, first);
    let third = pond.enqueue("a", work(3).unique_key("k")).await.unwrap();
    assert!(third > second, "the key is free in the old queue");
    assert_sound(&pond).await;

    pond.delete(first).await.unwrap();
    assert!(pond.enqueue("c", work(4).unique_key("k")).await.unwrap() > third, "a job that was removed holds no key");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_move_into_a_full_queue_says_so_and_keeps_what_was_moved_before() {
    let (_, pond) = memory();
    pond.queue("small").unwrap().configure(QueueSettings::default().capacity(Capacity::jobs(2))).await.unwrap();
    pond.enqueue_many("q", (1..=3).map(work)).await.unwrap();
    let full = pond.select(&in_queue("q")).move_to("small").await;
    assert!(matches!(full, Err(Error::QueueFull { jobs: 2, .. })), "{full:?}");
    let left = pond.queue("q").unwrap().counts().pending + pond.queue("small").unwrap().counts().pending;
    assert_eq!(left, 3);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_expires_does_so_in_the_queue_to_which_it_was_moved() {
    let (clock, pond) = memory();
    let id = pond.enqueue("a", work(1).expires_in(SECOND)).await.unwrap();
    assert!(pond.move_to(id, "b").await.unwrap());
    clock.advance(SECOND);
    settled(&pond).await;
    assert_eq!(state(&pond, id), State::Cancelled);
    assert_eq!(pond.queue("b").unwrap().counts().cancelled, 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_running_job_is_passed_over_by_every_verb_and_refused_by_name_on_its_own() {
    let (_, pond) = memory();
    let (_worker, keeper) = gated(&pond, "q", 1);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    running(&pond, "q", 1).await;
    let all = in_queue("q");
    let moved = pond.select(&all).move_to("other").await.unwrap();
    let deleted = pond.select(&all).delete().await.unwrap();
    assert_eq!([numbers(&moved), numbers(&deleted)], [done(1, 0); 2]);
    for refused in [pond.move_to(id, "other").await.map(drop), pond.delete(id).await] {
        assert!(matches!(refused, Err(Error::NotAllowed { state: State::Running, .. })), "{refused:?}");
    }
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn a_payload_is_replaced_only_where_the_filter_names_the_kind() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", NewJob::json("a", &json!(1))).await.unwrap();
    let other = pond.enqueue("q", NewJob::json("b", &json!(1))).await.unwrap();
    let patch = || JobPatch::new().payload(NewJob::json("a", &json!(2)));
    let refused = pond.select(&in_queue("q")).update(patch()).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "payload", .. })), "{refused:?}");
    let refused = pond.select(&in_queue("q").kind("b")).update(patch()).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "payload", .. })), "{refused:?}");
    let updated = pond.select(&in_queue("q").kind("a")).update(patch()).await.unwrap();
    assert_eq!(numbers(&updated), done(1, 1));
    assert_eq!(pond.job(id).unwrap().payload.decode::<u64>().unwrap(), 2);
    assert_eq!(pond.job(other).unwrap().payload.decode::<u64>().unwrap(), 1);
}

/// The cursor passes from the ready jobs to the delayed ones, where the jobs with a new time are by then.
#[tokio::test]
async fn a_job_that_gets_a_new_time_is_changed_once() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..2_500).map(work)).await.unwrap();
    pond.enqueue_many("q", (0..10).map(|n| work(n).delay(SECOND))).await.unwrap();
    pond.enqueue_many("q", (0..10).map(|n| member("g", n))).await.unwrap();
    let later = JobPatch::new().run_at(pond.now() + HOUR);
    let updated = pond.select(&in_queue("q")).update(later).await.unwrap();
    assert_eq!(numbers(&updated), done(2_520, 2_520));
    assert_eq!(pond.queue("q").unwrap().counts().scheduled, 2_520);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_verb_that_was_broken_off_continues_at_its_cursor() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue_many("q", (0..2_500).map(work)).await.unwrap();
    let kept: Arc<Mutex<Vec<BulkProgress>>> = Arc::default();
    let keep = kept.clone();
    let cancelling = pond.select(&in_queue("q")).on_progress(move |progress| {
        keep.lock().unwrap().push(progress.clone());
        assert!(progress.matched < 2_000, "broken off");
    });
    let broken = tokio::spawn(async move { cancelling.cancel("enough").await }).await;
    assert!(broken.unwrap_err().is_panic());
    let pond = {
        close(pond).await;
        disk.open()
    };
    assert_eq!(pond.queue("q").unwrap().counts().cancelled, 2_000);
    let text = kept.lock().unwrap().last().unwrap().next.clone().unwrap().to_string();
    let cursor: Cursor = text.parse().unwrap();
    let rest = pond.select(&in_queue("q")).resume_at(cursor).cancel("enough").await.unwrap();
    assert_eq!(numbers(&rest), done(500, 500));
    let steps = kept.lock().unwrap().iter().map(|step| (step.matched, step.changed)).collect::<Vec<_>>();
    assert_eq!(steps, [(1_000, 1_000), (2_000, 2_000)]);
}

/// Each time a chunk is done, more jobs enter behind the cursor.
#[tokio::test]
async fn a_verb_covers_the_jobs_that_exist_when_it_begins() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..1_500).map(work)).await.unwrap();
    let (handle, chunks) = (pond.clone(), Arc::new(AtomicU64::new(0)));
    let counted = chunks.clone();
    let selection = pond.select(&in_queue("q")).on_progress(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let producer = handle.clone();
        let more = std::thread::spawn(move || producer.enqueue_many("q", (0..1_000).map(work)).wait());
        more.join().unwrap().unwrap();
    });
    assert_eq!(numbers(&selection.delete().await.unwrap()), done(1_500, 1_500));
    assert_eq!(pond.queue("q").unwrap().counts().pending, 1_000 * chunks.load(Ordering::SeqCst));
}

/// When the first chunk is done, a job that was to run later becomes ready, behind the cursor.
#[tokio::test]
async fn a_job_that_becomes_ready_behind_the_cursor_is_covered() {
    for deletes in [false, true] {
        let (_, pond) = memory();
        let later = pond.enqueue("q", work(0).delay(HOUR)).await.unwrap().id;
        pond.enqueue_many("q", (0..1_500).map(work)).await.unwrap();
        let handle = pond.clone();
        let selection = pond.select(&in_queue("q")).on_progress(move |progress| {
            if progress.changed == 1_000 {
                let (pond, now) = (handle.clone(), JobPatch::new().run_at(handle.now()));
                std::thread::spawn(move || pond.update(later, now).wait()).join().unwrap().unwrap();
            }
        });
        let changed = if deletes { selection.delete().await } else { selection.cancel("enough").await };
        assert_eq!(numbers(&changed.unwrap()), done(1_501, 1_501));
        assert_eq!(pond.queue("q").unwrap().counts().unfinished(), 0);
        assert_sound(&pond).await;
    }
}

/// A cancel of several chunks looks again at what has become ready meanwhile, and finds those that run once more.
#[tokio::test]
async fn a_running_job_is_counted_once_by_a_cancel_of_several_chunks() {
    let (_, pond) = memory();
    let (_worker, keeper) = gated(&pond, "q", 2);
    pond.enqueue_many("q", (0..1_500).map(work)).await.unwrap();
    running(&pond, "q", 2).await;
    let cancelled = pond.select(&in_queue("q")).cancel("enough").await.unwrap();
    assert_eq!(numbers(&cancelled), done(1_500, 1_500));
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn jobs_are_found_by_text_by_a_place_in_their_json_and_by_unique_key() {
    let (_, pond) = memory();
    let ada = json!({ "to": { "name": "Ada", "langs": ["en", "fr"] }, "n": 7, "note": "say \"hi\"" });
    let bob = json!({ "to": { "name": "Bob", "langs": [] }, "n": 7.0 });
    let ada = pond.enqueue("q", NewJob::json("mail", &ada).unique_key("ada@example.org")).await.unwrap().id;
    let bob = pond.enqueue("q", NewJob::json("mail", &bob)).await.unwrap().id;
    let raw = pond.enqueue("q", NewJob::raw("bytes", &b"\xff\"n\":7"[..])).await.unwrap().id;
    let all = JobFilter::new;
    for (filter, expected) in [
        (all().payload_contains("Ada"), vec![ada]),
        (all().payload_contains("\"n\":7"), vec![ada, bob, raw]),
        (all().payload_contains(r#"say \"hi\""#), vec![ada]),
        (all().payload_contains(""), vec![ada, bob, raw]),
        (all().payload_contains("ada"), vec![]),
        (all().json_equals("/to/name", "Bob"), vec![bob]),
        (all().json_equals("/to/langs/1", "fr"), vec![ada]),
        (all().json_equals("/to/langs", json!([])), vec![bob]),
        (all().json_equals("/n", 7), vec![ada]),
        (all().json_equals("/n", 7).json_equals("/to/name", "Bob"), vec![]),
        (all().json_equals("/nothing", json!(null)), vec![]),
        (all().json_equals("no pointer", 7), vec![]),
        (all().unique_key("ada@example.org"), vec![ada]),
        (all().unique_key("ada"), vec![]),
    ] {
        assert_eq!(ids(&pond, &filter), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn blocked_jobs_are_cancelled_and_deleted_with_all_that_match() {
    let (_clock, pond) = memory();
    pond.queue("q").unwrap().pause().await.unwrap();
    for verb in ["cancel", "delete"] {
        let made = pond.flow(verb, |flow| {
            let first = flow.job("q", work(1));
            (2..5).for_each(|n| drop(flow.job("q", work(n)).after(&first)));
        });
        let ids = made.await.unwrap().jobs;
        let blocked = pond.select(&JobFilter::new().state(State::Blocked));
        let done = if verb == "cancel" { blocked.cancel("").await } else { blocked.delete().await }.unwrap();
        assert_eq!(numbers(&done), (3, 3), "{verb}");
        assert_eq!(state(&pond, ids[0]), State::Pending);
        assert_eq!(pond.flows().get(verb).unwrap().counts.cancelled, 3, "{verb}");
        assert_sound(&pond).await;
    }
}
