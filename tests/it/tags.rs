//! Tags: a job is found by its tags as long as it is kept, in whatever state and queue, and without looking at other jobs.

use std::collections::BTreeSet;

use millpond::{
    Error, Job, JobFilter, JobId, JobPatch, Keep, Millpond, NewJob, Outcome, Pace, QueueSettings, Retention, Retry,
    State,
};
use millpond_testkit::SimDisk;
use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};

use crate::all_jobs::all_jobs;
use crate::quarantine::{Bit, Row, flip};
use crate::support::*;

type TagKey = (&'static str, u32, u64);
const TAGS: TableDefinition<'static, TagKey, ()> = TableDefinition::new("millpond/tags");

fn tagged(tag: &str) -> JobFilter {
    JobFilter::new().tag(tag)
}

/// The jobs that the index has, after a check that a scan of all jobs has the same.
fn found(pond: &Millpond, tag: &str) -> BTreeSet<JobId> {
    let page = pond.jobs(&tagged(tag), None, 1_000).unwrap();
    assert_eq!(page.next, None);
    let by_index: BTreeSet<_> = page.jobs.iter().map(|job| job.id).collect();
    assert_eq!(by_index.len(), page.jobs.len(), "no job is listed twice");
    let all = all_jobs(pond);
    let by_scan = all.iter().filter(|job| job.tags.iter().any(|own| own == tag)).map(|job| job.id).collect();
    assert_eq!(by_index, by_scan);
    by_index
}

fn keep_all() -> QueueSettings {
    let keep = Keep::FOREVER;
    QueueSettings::default().retention(Retention::default().completed(keep).cancelled(keep))
}

#[tokio::test]
async fn bad_tags_are_refused_with_an_error_that_names_the_limit_and_nothing_is_stored() {
    let (_, pond) = memory();
    let long = "x".repeat(65);
    for bad in ["", "a\tb", long.as_str()] {
        let refused = pond.enqueue("q", work(1).tag(bad)).await;
        match refused {
            Err(Error::InvalidTag { tag, len, max: 64, .. }) => {
                assert_eq!(len, bad.len());
                assert!(bad.starts_with(&tag) && tag.len() <= 64);
            }
            other => panic!("{bad:?}: {other:?}"),
        }
    }
    let many = (0..17).map(|n| n.to_string());
    assert!(matches!(pond.enqueue("q", work(1).tags(many)).await, Err(Error::TooManyTags { max: 16, .. })));
    assert!(all_jobs(&pond).is_empty());

    let most = (0..16).map(|n| format!("{n:é>63}"));
    let id = pond.enqueue("q", work(1).tags((0..16).map(|n| n.to_string())).tags(["0", "1"])).await.unwrap();
    assert_eq!(pond.job(id).unwrap().tags.len(), 16, "duplicates do not count");
    assert!(matches!(pond.enqueue("q", work(1).tags(most)).await, Err(Error::InvalidTag { .. })));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_is_found_by_its_tags_in_every_state_and_not_once_it_is_gone() {
    let (_, pond) = memory();
    pond.queue("q").unwrap().configure(keep_all()).await.unwrap();
    let worker = pond
        .worker("q")
        .retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(2))
        .handle(|job: Job<Work>| async move {
            assert_eq!(job.tags(), ["t", "größe=L"]);
            match job.n {
                1 => Err("again".into()),
                2 => Ok(Outcome::dead_letter("no use")),
                3 => Ok(Outcome::cancel("not needed")),
                4 => Ok(Outcome::snooze(HOUR)),
                _ => Ok(Outcome::done_with("done")),
            }
        })
        .start()
        .unwrap();
    let job = |n| work(n).tags(["t", "größe=L", "t"]);
    let ended = pond.enqueue_many("q", (1..6).map(job)).await.unwrap();
    drained(&pond).await;
    worker.stop();
    let waits = [job(6), job(7).delay(HOUR), job(8).group("g"), job(9).group("g").delay(HOUR)];
    let waits = pond.enqueue_many("q", waits).await.unwrap();
    pond.enqueue("q", work(10).tag("other")).await.unwrap();
    pond.enqueue("q", work(11)).await.unwrap();
    let all: BTreeSet<JobId> = ended.iter().chain(&waits).map(|job| job.id).collect();
    assert_eq!(found(&pond, "t"), all);
    assert_eq!(found(&pond, "größe=L"), all);
    assert_eq!(found(&pond, "other").len(), 1);
    assert!(found(&pond, "none").is_empty());

    for (state, jobs) in [(State::Retrying, 1), (State::Dead, 1), (State::Cancelled, 1), (State::Completed, 1)] {
        let page = pond.jobs(&tagged("t").queue("q").state(state), None, 10).unwrap();
        assert_eq!(page.jobs.len(), jobs, "{state:?}");
    }
    assert!(pond.jobs(&tagged("t").queue("another"), None, 10).unwrap().jobs.is_empty());
    assert_eq!(pond.jobs(&tagged("t").tag("other"), None, 10).unwrap().jobs.len(), 0);

    assert_eq!(pond.select(&tagged("t")).count().await.unwrap(), 9);
    assert_eq!(pond.select(&tagged("t")).cancel("enough").await.unwrap().changed, 6);
    assert_eq!(found(&pond, "t"), all, "cancelled jobs are kept");
    assert_eq!(pond.select(&tagged("t")).delete().await.unwrap().changed, 9);
    assert!(found(&pond, "t").is_empty());
    assert_eq!(found(&pond, "other").len(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn what_is_not_kept_leaves_no_tag_behind() {
    let (clock, pond) = memory();
    let keep = Keep::new(HOUR, 10);
    let retention = Retention::default().completed(keep).cancelled(Keep::NOTHING).dead(keep);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(retention)).await.unwrap();
    let cancelled = pond.enqueue("q", work(0).tag("t")).await.unwrap();
    pond.cancel(cancelled, "not wanted").await.unwrap();
    assert!(found(&pond, "t").is_empty(), "cancelled and not kept");

    let worker = pond
        .worker("q")
        .handle(|job: Job<Work>| async move {
            if job.n == 1 { Ok(Outcome::dead_letter("no")) } else { Ok(Outcome::done_with("a result")) }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [1, 2].map(|n| work(n).tag("t"))).await.unwrap();
    drained(&pond).await;
    worker.stop();
    assert_eq!(found(&pond, "t"), ids.iter().map(|job| job.id).collect());
    clock.advance(HOUR * 3);
    drained(&pond).await;
    assert!(found(&pond, "t").is_empty(), "retention has removed them");

    let worker = pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::dead_letter("no")) }).start().unwrap();
    let dead = pond.enqueue("q", work(3).tag("t")).await.unwrap();
    drained(&pond).await;
    worker.stop();
    pond.dead_letters().purge(dead).await.unwrap();
    assert!(found(&pond, "t").is_empty(), "purged");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_moved_changed_or_redriven_job_keeps_its_tags_and_headers() {
    let on_disk = OnDisk::new();
    let pond = on_disk.open();
    let labelled = |n| work(n).tag("t").tag(format!("n{n}")).header("tenant", "ada");
    let worker = pond.worker("a").handle(|_: Job<Work>| async { Ok(Outcome::dead_letter("not yet")) }).start().unwrap();
    let dead = pond.enqueue("a", labelled(1)).await.unwrap();
    drained(&pond).await;
    worker.stop();
    let waits = pond.enqueue("a", labelled(2).delay(HOUR)).await.unwrap();
    let both = BTreeSet::from([dead.id, waits.id]);

    pond.update(waits, JobPatch::new().payload(work(3))).await.unwrap();
    assert_eq!(pond.select(&tagged("t")).move_to("b").await.unwrap().changed, 2);
    assert_eq!(found(&pond, "t"), both);
    assert_eq!(pond.jobs(&tagged("t").queue("b"), None, 10).unwrap().jobs.len(), 2);
    assert!(pond.jobs(&tagged("t").queue("a"), None, 10).unwrap().jobs.is_empty());
    pond.dead_letters().redrive_all(&JobFilter::new(), Pace::at_once()).await.unwrap();
    assert_sound(&pond).await;
    close(pond).await;

    let pond = on_disk.open();
    assert_eq!(found(&pond, "t"), both);
    let seen = Log::new();
    let log = seen.clone();
    let handler = move |job: Job<Work>| {
        log.push((job.id(), job.tags().to_vec(), job.header("tenant").map(str::to_owned)));
        async { Ok(()) }
    };
    pond.worker("b").handle(handler).start().unwrap();
    pond.select(&tagged("t")).run_now().await.unwrap();
    drained(&pond).await;
    let tags = |n: u64| vec!["t".to_owned(), format!("n{n}")];
    let tenant = Some("ada".to_owned());
    let mut seen = seen.all();
    seen.sort();
    assert_eq!(seen, [(dead.id, tags(1), tenant.clone()), (waits.id, tags(2), tenant)]);
    assert!(found(&pond, "t").is_empty());
}

#[tokio::test]
async fn an_update_replaces_the_tags() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", work(1).tags(["a", "b"]).header("h", "v")).await.unwrap().id;
    pond.update(id, JobPatch::new().tags(["b", "c", "c"])).await.unwrap();
    assert_eq!(pond.job(id).unwrap().tags, ["b", "c"]);
    let is = |tag| !found(&pond, tag).is_empty();
    assert_eq!(["a", "b", "c"].map(is), [false, true, true]);
    assert!(matches!(pond.update(id, JobPatch::new().tags([""])).await, Err(Error::InvalidTag { .. })));
    pond.update(id, JobPatch::new().tags([""; 0])).await.unwrap();
    let job = pond.job(id).unwrap();
    assert!(job.tags.is_empty() && job.headers["h"] == "v");
    assert!(found(&pond, "b").is_empty());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn pages_by_tag_go_through_all_queues_without_a_gap_or_a_double() {
    let (_, pond) = memory();
    let mut all = BTreeSet::new();
    for n in 0..90 {
        let job = work(n).tag(if n % 3 == 0 { "t" } else { "u" });
        let id = pond.enqueue(&format!("q{}", n % 7), job).await.unwrap().id;
        if n % 3 == 0 {
            all.insert(id);
        }
    }
    let (mut seen, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = pond.jobs(&tagged("t"), cursor, 7).unwrap();
        // A job that is gone does not stop the listing.
        pond.cancel(page.jobs[0].id, "gone").await.unwrap();
        assert!(page.jobs.iter().all(|job| seen.insert(job.id)));
        match page.next {
            Some(next) => cursor = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(seen, all);
}

/// The names of the queue's tables in the file.
fn tables(disk: &SimDisk) -> Vec<String> {
    let db = Database::builder().create_with_backend(disk.after_kill()).unwrap();
    let txn = db.begin_read().unwrap();
    txn.list_tables().unwrap().map(|table| table.name().to_owned()).collect()
}

#[tokio::test]
async fn a_file_without_tags_has_no_table_of_tags() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    pond.enqueue("q", work(1).header("h", "v").group("g")).await.unwrap();
    assert!(pond.jobs(&tagged("t"), None, 10).unwrap().jobs.is_empty());
    assert_sound(&pond).await;
    let has_table = |disk: &SimDisk| tables(disk).iter().any(|name| name == "millpond/tags");
    assert!(!has_table(&disk));
    pond.enqueue("q", work(1).tag("t")).await.unwrap();
    assert!(has_table(&disk));
}

#[tokio::test]
async fn a_file_without_topics_and_streams_has_none_of_their_tables() {
    const RARE: [&str; 6] = ["streams", "entries", "entry_keys", "consumers", "topics", "bindings"];
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let rare = || {
        let names = tables(&disk);
        RARE.into_iter().filter(|rare| names.contains(&format!("millpond/{rare}"))).collect::<Vec<_>>()
    };
    pond.enqueue("q", work(1).group("g")).await.unwrap();
    assert!(pond.streams("", 10).unwrap().is_empty() && pond.topics().unwrap().is_empty());
    assert!(pond.consumers().unwrap().is_empty());
    assert!(matches!(pond.stream("s").unwrap().read(0, 1), Err(Error::NoSuchStream { .. })));
    assert_sound(&pond).await;
    assert_eq!(rare(), [""; 0]);

    // A crash, whose recovery goes through all tables.
    let pond = Millpond::builder().open_backend(disk.after_kill()).unwrap();
    assert_sound(&pond).await;
    assert_eq!(rare(), [""; 0]);

    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    pond.stream("s").unwrap().append(work(1)).await.unwrap();
    assert_eq!(pond.stream("s").unwrap().read(0, 10).unwrap().len(), 1);
    assert_sound(&pond).await;
    assert!(tables(&disk).contains(&"millpond/entries".to_owned()));
    assert!(!tables(&disk).contains(&"millpond/bindings".to_owned()));
}

/// A file with two tagged jobs of two queues, after a change to its table of tags.
async fn spoiled(spoil: impl Fn(&Database)) -> SimDisk {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    pond.enqueue("a", work(1).tag("t").tag("u")).await.unwrap();
    pond.enqueue("b", work(2).tag("t").delay(HOUR)).await.unwrap();
    close(pond).await;
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    spoil(&db);
    drop(db);
    disk
}

fn change(db: &Database, change: impl FnOnce(&mut redb::Table<'_, TagKey, ()>)) {
    let txn = db.begin_write().unwrap();
    change(&mut txn.open_table(TAGS).unwrap());
    txn.commit().unwrap();
}

#[tokio::test]
async fn verify_finds_each_row_that_is_missing_or_too_much_and_verify_on_open_repairs_it() {
    type Spoil = fn(&Database);
    let spoils: [(&str, Spoil); 5] = [
        ("missing", |db| change(db, |table| drop(table.pop_first().unwrap()))),
        ("no such job", |db| change(db, |table| drop(table.insert(("t", 0, 77), ()).unwrap()))),
        ("another tag", |db| change(db, |table| drop(table.insert(("v", 0, 1), ()).unwrap()))),
        ("another queue", |db| change(db, |table| drop(table.insert(("t", 1, 1), ()).unwrap()))),
        ("all missing", |db| {
            let txn = db.begin_write().unwrap();
            txn.delete_table(TAGS).unwrap();
            txn.commit().unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let disk = spoiled(spoil).await;
        let pond = Millpond::builder().open_backend(disk.after_kill()).unwrap();
        let problems = pond.verify().await.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.contains("the index of tags")), "{what}: {problems:?}");
        drop(pond);
        let pond = Millpond::builder().verify_on_open().open_backend(disk).unwrap();
        assert_sound(&pond).await;
        assert_eq!((found(&pond, "t").len(), found(&pond, "u").len()), (2, 1), "{what}");
    }
}

#[tokio::test]
async fn a_damaged_job_leaves_no_tag_behind_and_has_its_tags_when_it_is_back() {
    let clock = millpond::testing::ManualClock::new();
    let disk = spoiled(|db| assert!(flip::<(u32, u8, u64), Row>(db, "ready", 0, Bit::TheLast))).await;
    let pond = Millpond::builder().clock(clock).open_backend(disk.clone()).unwrap();
    pond.verify().await.unwrap();
    assert!(pond.jobs(&tagged("u"), None, 10).unwrap().jobs.is_empty());
    settled(&pond).await;
    assert_eq!(pond.quarantine().list(0, 10).unwrap().len(), 1);
    assert_eq!((found(&pond, "t").len(), found(&pond, "u").len()), (1, 0));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_tagged_job_is_found_among_many_without_tags() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..5_000).map(work)).await.unwrap();
    let id = pond.enqueue("q", NewJob::raw("k", "x").tag("needle")).await.unwrap();
    let page = pond.jobs(&tagged("needle"), None, 1).unwrap();
    assert_eq!(page.jobs[0].id, id.id);
}
