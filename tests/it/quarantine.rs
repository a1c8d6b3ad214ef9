//! A row that cannot be read affects no other row: it is quarantined, or rebuilt, and the queue continues.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use millpond::testing::{ManualClock, Unguarded};
use millpond::{
    CircuitBreaker, Error, GroupPolicy, Job, JobFilter, JobId, Keep, Millpond, NewJob, Outcome, Pace, Priority,
    QueueSettings, Rate, Retention, Retry,
};
use redb::{Database, Key, ReadableDatabase, ReadableTable, TableDefinition, TypeName, Value};
use serde_json::json;

use crate::support::*;

/// A value's bytes, whatever type the table has.
#[derive(Debug)]
pub struct Raw<V>(PhantomData<V>);

impl<V: Value + 'static> Value for Raw<V> {
    type SelfType<'a> = &'a [u8];
    type AsBytes<'a> = &'a [u8];

    fn fixed_width() -> Option<usize> {
        V::fixed_width()
    }

    fn from_bytes<'a>(data: &'a [u8]) -> &'a [u8]
    where
        Self: 'a,
    {
        data
    }

    fn as_bytes<'a, 'b: 'a>(value: &'a &'b [u8]) -> &'a [u8]
    where
        Self: 'b,
    {
        value
    }

    fn type_name() -> TypeName {
        V::type_name()
    }
}

/// The bit of a row's value to flip.
#[derive(Clone, Copy, Debug)]
pub enum Bit {
    OfTheVersion,
    OfTheChecksum,
    OfTheHeader,
    InTheMiddle,
    TheLast,
    TheHighestOfTheLast,
}

const BITS: [Bit; 6] =
    [Bit::OfTheVersion, Bit::OfTheChecksum, Bit::OfTheHeader, Bit::InTheMiddle, Bit::TheLast, Bit::TheHighestOfTheLast];

impl Bit {
    fn flip(self, value: &mut [u8]) {
        let last = value.len() - 1;
        let (at, bit) = match self {
            Self::OfTheVersion => (0, 0),
            Self::OfTheChecksum => (3.min(last), 5),
            Self::OfTheHeader => (5.min(last), 1),
            Self::InTheMiddle => (last / 2, 2),
            Self::TheLast => (last, 0),
            Self::TheHighestOfTheLast => (last, 7),
        };
        value[at] ^= 1 << bit;
    }
}

/// Flips a bit in the value of row number `n` of a table. Returns false if there is no such row.
pub type Flip = fn(&Database, &str, usize, Bit) -> bool;

pub fn flip<K: Key + 'static, V: Value + Debug + 'static>(db: &Database, table: &str, n: usize, bit: Bit) -> bool {
    let txn = db.begin_write().unwrap();
    let name = format!("millpond/{table}");
    let flipped = {
        let mut table = txn.open_table(TableDefinition::<K, Raw<V>>::new(&name)).unwrap();
        let row = table.iter().unwrap().nth(n).map(|row| {
            let (key, value) = row.unwrap();
            (K::as_bytes(&key.value()).as_ref().to_vec(), value.value().to_vec())
        });
        row.map(|(key, mut value)| {
            bit.flip(&mut value);
            table.insert(K::from_bytes(&key), value.as_slice()).unwrap();
        })
    };
    txn.commit().unwrap();
    flipped.is_some()
}

pub type Row = &'static [u8];

/// Every table of the queue except the quarantine.
pub const TABLES: [(&str, Flip); 14] = [
    ("meta", flip::<&'static str, Row>),
    ("queues", flip::<u32, Row>),
    ("kinds", flip::<u32, &'static str>),
    ("ready", flip::<(u32, u8, u64), Row>),
    ("delayed", flip::<(u32, u8, u64, u64), Row>),
    ("members", flip::<(u32, &'static str, u8, u64, u64), Row>),
    ("heads", flip::<(u32, u8, u64), (u64, u64, &'static str)>),
    ("groups", flip::<(u32, &'static str), Row>),
    ("index", flip::<u64, Row>),
    ("running", flip::<u64, Row>),
    ("dead_letters", flip::<(u32, u64, u64), Row>),
    ("finished", flip::<(u32, u8, u64, u64), Row>),
    ("rates", flip::<(u32, &'static str), Row>),
    ("circuits", flip::<(u32, &'static str), Row>),
];

fn all_kept() -> QueueSettings {
    let keep = Keep::FOREVER;
    QueueSettings::default().retention(Retention::default().completed(keep).cancelled(keep).dead(keep))
}

/// A file with every kind of row, the jobs in it that must still run, and those that must be found.
pub struct Everything {
    pub disk: SimDisk,
    clock: ManualClock,
    to_run: BTreeSet<u64>,
    ended: Vec<JobId>,
}

impl Everything {
    /// Another clock that shows the same time.
    pub fn clock(&self) -> ManualClock {
        let clock = ManualClock::new();
        clock.set_wall(clock_now(&self.clock));
        clock
    }
}

pub async fn everything() -> Everything {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let pond = Millpond::builder().clock(clock.clone()).seed(0).open_backend(disk.clone()).unwrap();
    let q = pond.queue("q").unwrap();
    q.configure(all_kept()).await.unwrap();
    let worker = pond
        .worker("q")
        .retry(Retry::fixed(HOUR).jitter(0.0))
        .circuit_breaker(CircuitBreaker::failures(0.5).of(2))
        .handle(|job: Job<Work>| async move {
            match job.n {
                0 | 1 => Ok(Outcome::dead_letter("wrong")),
                2 => Ok(Outcome::done_with("a result")),
                _ => Err("busy".into()),
            }
        })
        .start()
        .unwrap();
    // The unique key of an ended job is held for a while.
    let first = (0..4).map(|n| if n == 2 { work(n).unique_key("ended") } else { work(n) });
    let mut ended = vec![pond.enqueue_many("q", first).await.unwrap()[2].id];
    pond.testing().idle().await;
    worker.stop();
    let cancelled = q.enqueue(work(4)).await.unwrap();
    pond.cancel(cancelled, "not wanted").await.unwrap();
    ended.push(cancelled.id);
    q.enqueue(work(10).priority(Priority::FIRST)).await.unwrap();
    q.enqueue(work(11).unique_key("ready")).await.unwrap();
    q.enqueue(work(12).delay(HOUR).unique_key("delayed")).await.unwrap();
    q.enqueue(work(13).run_at(std::time::UNIX_EPOCH + Duration::from_millis((clock_now(&clock) + HOUR).as_millis())))
        .await
        .unwrap();
    pond.enqueue_many("q", (20..23).map(|n| member("g", n))).await.unwrap();
    pond.enqueue_many("q", (23..25).map(|n| member("h", n).unique_key(format!("member-{n}")))).await.unwrap();
    pond.enqueue_many("q", [member("late", 25).delay(HOUR), member("late", 26)]).await.unwrap();
    pond.enqueue_many("q", (27..29).map(|n| member("held", n))).await.unwrap();
    q.pause_group("held").await.unwrap();
    let skips = pond.queue("skips").unwrap();
    skips.configure(all_kept().groups(GroupPolicy::Skip)).await.unwrap();
    pond.enqueue_many("skips", [member("s", 30).delay(HOUR), member("s", 31), member("t", 32).delay(HOUR)])
        .await
        .unwrap();
    pond.worker("limited").rate_limit(Rate::per_minute(60)).handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    pond.enqueue("limited", work(39)).await.unwrap();
    pond.testing().idle().await;
    pond.enqueue_many("limited", (40..42).map(|n| work(n).delay(HOUR))).await.unwrap();
    let holds = all_kept().groups(GroupPolicy::Hold).group_concurrency(2);
    pond.queue("holds").unwrap().configure(holds).await.unwrap();
    let dies = pond.worker("holds").handle(|_: Job<Work>| async { Ok(Outcome::dead_letter("wrong")) }).start().unwrap();
    pond.enqueue_many("holds", [member("dead", 60), member("dead", 61)]).await.unwrap();
    pond.testing().idle().await;
    dies.stop();
    pond.enqueue_many("holds", (62..65).map(|n| member("dead", n))).await.unwrap();
    pond.queue("busy").unwrap().configure(QueueSettings::default().group_concurrency(2)).await.unwrap();
    let (_worker, mut keeper) = gated(&pond, "busy", 2);
    // A page that is read beside the commit can show the members before the scheduler hears of the other job.
    pond.testing().idle().await;
    pond.enqueue_many("busy", [work(50), member("b", 51), member("b", 52)]).await.unwrap();
    assert_eq!(keeper.next(2).await, [50, 51]);
    starts_written(&pond, &clock).await;
    let to_run = [0, 1, 3, 10, 11, 12, 13, 25, 26, 27, 28, 30, 31, 32, 40, 41, 50, 51, 52, 60, 61, 62, 63, 64];
    let to_run = to_run.into_iter().chain(20..25).collect();
    Everything { disk: disk.after_kill(), clock, to_run, ended }
}

fn clock_now(clock: &ManualClock) -> millpond::Timestamp {
    millpond::Clock::wall(clock)
}

fn run_all(pond: &Millpond) -> Log<u64> {
    let log = Log::new();
    for queue in ["q", "skips", "limited", "busy", "holds"] {
        let seen = log.clone();
        let handler = move |job: Job<Work>| {
            seen.push(job.n);
            async { Ok(()) }
        };
        pond.worker(queue).rate_limit(Rate::per_second(100).burst(100)).handle(handler).start().unwrap();
    }
    log
}

/// Runs everything that can run, and redrives dead jobs.
async fn run_dry(pond: &Millpond, clock: &ManualClock) -> BTreeSet<u64> {
    let log = run_all(pond);
    for _ in 0..4 {
        pond.testing().idle().await;
        clock.advance(SECOND * 20);
    }
    pond.queue("q").unwrap().resume_group("held").await.unwrap();
    pond.dead_letters().redrive_all(&JobFilter::new(), Pace::at_once()).await.unwrap();
    pond.testing().idle().await;
    // If the dead letter was damaged, its group is paused.
    pond.queue("holds").unwrap().resume_group("dead").await.unwrap();
    for _ in 0..4 {
        pond.testing().idle().await;
        clock.advance(HOUR);
    }
    pond.testing().idle().await;
    log.all().into_iter().collect()
}

fn payload(value: &Bytes) -> Option<u64> {
    let text = String::from_utf8_lossy(value);
    let digits = text.rsplit_once("{\"n\":")?.1.trim_end_matches('}');
    digits.parse().ok()
}

/// What becomes of a group whose dead letter can no longer be read: it waits for an operator.
#[tokio::test]
async fn a_group_is_paused_when_the_dead_letter_that_holds_it_cannot_be_read() {
    let whole = everything().await;
    for (bit, purges) in BITS.into_iter().flat_map(|bit| [(bit, false), (bit, true)]) {
        let disk = whole.disk.after_kill();
        let pond = Millpond::builder().clock(whole.clock()).seed(0).open_backend(disk.clone()).unwrap();
        let held = pond.queue("holds").unwrap().groups(None, 1).unwrap().groups.remove(0).held_by.unwrap();
        close(pond).await;
        let db = Database::builder().create_with_backend(disk.clone()).unwrap();
        let mut n = 0;
        let table = TableDefinition::<(u32, u64, u64), Raw<Row>>::new("millpond/dead_letters");
        for row in ReadableTable::iter(&db.begin_read().unwrap().open_table(table).unwrap()).unwrap() {
            if row.unwrap().0.value().2 == held.get() {
                break;
            }
            n += 1;
        }
        assert!(flip::<(u32, u64, u64), Row>(&db, "dead_letters", n, bit));
        drop(db);
        let pond = Millpond::builder().clock(whole.clock()).seed(0).open_backend(disk).unwrap();
        let group = || pond.queue("holds").unwrap().groups(None, 1).unwrap().groups.remove(0);
        match purges {
            true => assert!(pond.dead_letters().purge(held).await.unwrap(), "{bit:?}"),
            false => assert!(pond.dead_letters().redrive(held).await.is_err(), "{bit:?}"),
        }
        pond.testing().idle().await;
        assert_eq!((group().held_by, group().paused), (None, !purges), "{bit:?}");
        assert_sound(&pond).await;
    }
}

/// What a group's row says that cannot be read, if one of its jobs can still start: nothing overtakes the dead letter.
#[tokio::test]
async fn a_group_that_a_dead_letter_may_hold_is_paused_when_its_row_cannot_be_read() {
    damaged_hold(3, GroupPolicy::Hold).await;
    // Nothing else says that the group was held than the policy, or the members that wait.
    damaged_hold(2, GroupPolicy::Hold).await;
    damaged_hold(3, GroupPolicy::Block).await;
}

/// A group of `jobs`, the first of which is a dead letter, in a queue that gets another policy after that.
async fn damaged_hold(jobs: u64, policy: GroupPolicy) {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let open = |disk: &SimDisk| Millpond::builder().clock(clock.clone()).open_backend(disk.clone()).unwrap();
    let pond = open(&disk);
    let settings = QueueSettings::default().groups(GroupPolicy::Hold).group_concurrency(2);
    pond.queue("q").unwrap().configure(settings.clone()).await.unwrap();
    let handler = |job: Job<Work>| async move {
        Ok(if job.n == 1 { Outcome::dead_letter("wrong") } else { Outcome::snooze(HOUR) })
    };
    let worker = pond.worker("q").handle(handler).start().unwrap();
    pond.enqueue_many("q", (1..=jobs).map(|n| member("g", n))).await.unwrap();
    pond.testing().idle().await;
    worker.stop();
    pond.queue("q").unwrap().configure(settings.groups(policy)).await.unwrap();
    let group = |pond: &Millpond| pond.queue("q").unwrap().groups(None, 1).unwrap().groups.remove(0);
    assert!(group(&pond).held_by.is_some());
    close(pond).await;
    for bit in BITS {
        let disk = disk.after_kill();
        let db = Database::builder().create_with_backend(disk.clone()).unwrap();
        assert!(flip::<(u32, &'static str), Row>(&db, "groups", 0, bit));
        drop(db);
        let pond = open(&disk);
        pond.enqueue("q", member("g", 4)).await.unwrap();
        assert!(group(&pond).paused, "{bit:?}");
        let ran = Log::new();
        let seen = ran.clone();
        let handler = move |job: Job<Work>| {
            seen.push((job.run(), job.n));
            async { Ok(()) }
        };
        pond.worker("q").handle(handler).start().unwrap();
        clock.advance(HOUR);
        drained(&pond).await;
        assert_eq!(ran.len(), 0, "{bit:?}");
        pond.queue("q").unwrap().resume_group("g").await.unwrap();
        drained(&pond).await;
        let left: Vec<u64> = (2..=jobs).chain([4]).collect();
        let mut ran = ran.all();
        // Two jobs of the group run at a time, so their handlers may be called in any order. They are handed out in order.
        ran.sort_unstable();
        let handed_out: Vec<u64> = ran.into_iter().map(|(_, n)| n).collect();
        assert_eq!(handed_out, left, "{bit:?}");
    }
}

#[tokio::test]
async fn all_jobs_of_the_undamaged_test_file_run() {
    let Everything { disk, clock, to_run, ended } = everything().await;
    let pond = Millpond::builder().clock(clock.clone()).seed(0).open_backend(disk).unwrap();
    assert_eq!(run_dry(&pond, &clock).await, to_run);
    assert!(ended.iter().all(|id| pond.job(*id).is_ok()));
    assert_eq!(pond.quarantined().unwrap(), 0);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn one_flipped_bit_in_any_row_costs_at_most_that_row() {
    let whole = everything().await;
    let start = clock_now(&whole.clock);
    let (mut flips, mut empty) = (0, Vec::new());
    for (table, flip) in TABLES {
        for bit in BITS {
            for n in 0.. {
                let disk = whole.disk.after_kill();
                let db = Database::builder().create_with_backend(disk.clone()).unwrap();
                if !flip(&db, table, n, bit) {
                    if n == 0 {
                        empty.push(table);
                    }
                    break;
                }
                drop(db);
                flips += 1;
                let clock = ManualClock::new();
                clock.set_wall(start);
                one_flip(&whole, disk, clock, table, &format!("{bit:?} of row {n} of {table}")).await;
            }
        }
    }
    assert_eq!(empty, [""; 0], "every table has rows");
    assert!(flips > 400, "{flips}");
}

async fn one_flip(whole: &Everything, disk: SimDisk, clock: ManualClock, table: &str, what: &str) {
    let pond = match Millpond::builder().clock(clock.clone()).seed(0).open_backend(disk) {
        Ok(pond) => pond,
        Err(Error::Corrupt { detail, hint, .. }) => {
            assert!(["meta", "queues", "kinds"].contains(&table), "{what}: {detail}");
            assert!(detail.contains(table) && !hint.is_empty(), "{what}: {detail}");
            return;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    if table == "kinds" {
        // A kind's name has no checksum: a damaged name that is still a valid name goes unnoticed.
        return;
    }
    let found_damaged = !pond.verify().await.unwrap().is_ok() || pond.quarantined().unwrap() > 0;
    let ran = run_dry(&pond, &clock).await;
    // A call for a damaged job gets an error; all other calls succeed.
    let lost: BTreeSet<JobId> =
        whole.ended.iter().copied().filter(|id| matches!(pond.job(*id), Err(Error::CorruptRecord { .. }))).collect();
    settled(&pond).await;
    let aside = pond.quarantine().list(0, 100).unwrap();
    let missing: Vec<u64> = whole.to_run.difference(&ran).copied().collect();
    match (table, aside.as_slice()) {
        // A pointer is a row of one byte, which may have any value.
        ("delayed", []) => assert!(missing.is_empty() && !found_damaged, "{what}: {missing:?}"),
        // A run that has the job needs no index to remove the entry.
        ("index", []) => assert!(missing.is_empty() && lost.is_empty() && found_damaged, "{what}: {missing:?}"),
        // A job that ran at the crash starts again from its start mark, and may end before its position is read.
        ("heads", []) if what.contains("row 3") => {
            assert!(missing.is_empty() && lost.is_empty() && found_damaged, "{what}: {missing:?}");
        }
        (_, [row]) => {
            assert_eq!(row.table, table, "{what}");
            assert!(found_damaged && !row.why.is_empty(), "{what}: {row:?}");
            assert_eq!(pond.metrics().quarantined_total, 1, "{what}");
            let is_a_job = ["ready", "delayed", "members", "dead_letters", "finished"].contains(&table);
            assert!(missing.len() + lost.len() <= usize::from(is_a_job), "{what}: {missing:?} and {lost:?} are gone");
            if let ([n], Some(found)) = (missing.as_slice(), payload(&row.value)) {
                assert!(*n == found || what.contains("TheLast") || what.contains("Middle"), "{what}: {n} is {found}");
            }
        }
        (_, rows) => panic!("{what}: {rows:?}"),
    }
    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new(), "{what}");
}

fn raw(text: &'static str) -> NewJob {
    NewJob::raw("raw", Bytes::from_static(text.as_bytes()))
}

/// A queue with three ready jobs, one of which is damaged.
async fn with_a_damaged_job() -> (ManualClock, Millpond) {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let open = || Millpond::builder().clock(clock.clone()).seed(0).open_backend(disk.clone()).unwrap();
    let pond = open();
    pond.enqueue_many("q", [raw("first"), raw("second"), raw("third")]).await.unwrap();
    close(pond).await;
    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    assert!(flip::<(u32, u8, u64), Row>(&db, "ready", 1, Bit::TheLast));
    drop(db);
    (clock.clone(), open())
}

#[tokio::test]
async fn a_queue_with_a_job_in_the_quarantine_is_not_empty() {
    let (_, pond) = with_a_damaged_job().await;
    let queue = pond.queue("q").unwrap();
    assert_eq!(queue.drain().await.unwrap(), 2);
    settled(&pond).await;
    assert_eq!(pond.quarantine().count().unwrap(), 1);
    let refused = queue.remove().await;
    assert!(matches!(refused, Err(Error::QueueNotEmpty { jobs: 1, schedules: 0, .. })), "{refused:?}");
    assert!(pond.quarantine().purge(1).await.unwrap());
    assert!(queue.remove().await.unwrap());
}

#[tokio::test]
async fn quarantined_rows_are_reported_counted_listed_and_purged() {
    let (_, pond) = with_a_damaged_job().await;
    let mut events = pond.events();
    let id = JobId::new(2);
    assert!(matches!(pond.job(id), Err(Error::CorruptRecord { .. })), "a call for it gets an error");
    settled(&pond).await;
    let aside = pond.quarantine().list(0, 10).unwrap();
    let [row] = aside.as_slice() else { panic!("{aside:?}") };
    assert_eq!((row.number, row.table.as_str(), row.queue.as_deref(), row.id), (1, "ready", Some("q"), Some(id)));
    assert!(row.value.ends_with(b"secone") && row.why.contains("checksum"), "{row:?}");
    let export = serde_json::to_value(row).unwrap();
    assert_eq!((export["table"].as_str(), export["id"].as_u64()), (Some("ready"), Some(2)));
    assert_eq!(export["value"].as_array().unwrap().len(), row.value.len());
    let told = heard(&mut events);
    let expected = json!({ "type": "RowQuarantined", "number": 1, "table": "ready", "queue": "q", "id": id });
    assert_eq!(serde_json::to_value(told).unwrap(), json!([expected]));
    assert_eq!(pond.queue("q").unwrap().counts().pending, 2);
    assert_eq!((pond.metrics().quarantined_total, pond.quarantine().count().unwrap()), (1, 1));
    assert!(matches!(pond.quarantine().restore(1).await, Err(Error::CorruptRecord { .. })), "still as damaged");
    assert!(pond.quarantine().purge(1).await.unwrap());
    assert!(!pond.quarantine().purge(1).await.unwrap());
    assert!(pond.quarantine().list(0, 10).unwrap().is_empty());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_listing_skips_damaged_rows_and_has_them_quarantined() {
    let (_, pond) = with_a_damaged_job().await;
    let page = pond.jobs(&JobFilter::new(), None, 100).unwrap();
    assert_eq!(page.jobs.iter().map(|job| job.id.get()).collect::<Vec<_>>(), [1, 3]);
    settled(&pond).await;
    assert_eq!(pond.quarantined().unwrap(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_refused_call_on_a_damaged_job_has_it_quarantined() {
    let (_, pond) = with_a_damaged_job().await;
    let cancelled = pond.cancel(JobId::new(2), "x").await;
    assert!(matches!(cancelled, Err(Error::CorruptRecord { .. })), "{cancelled:?}");
    settled(&pond).await;
    assert_eq!(pond.quarantined().unwrap(), 1);
    let again = pond.cancel(JobId::new(2), "x").await;
    assert!(matches!(again, Err(Error::CorruptRecord { .. })), "it is still known: {again:?}");
    assert!(pond.quarantine().purge(1).await.unwrap());
    assert!(matches!(pond.cancel(JobId::new(2), "x").await, Err(Error::NoSuchJob { .. })));
    assert_sound(&pond).await;
}

const QUARANTINE: TableDefinition<u64, (&str, &[u8], &[u8])> = TableDefinition::new("millpond/quarantine");

#[tokio::test]
async fn a_quarantined_job_that_can_be_read_is_restored() {
    let (_, pond) = with_a_damaged_job().await;
    assert!(pond.job(JobId::new(2)).is_err());
    settled(&pond).await;
    // This is how it would be if the memory, and not the disk, had flipped the bit.
    let tx = pond.begin_write().unwrap();
    {
        let mut table = tx.unguarded().open_table(QUARANTINE).unwrap();
        let (name, key, mut value) = {
            let row = table.get(1).unwrap().unwrap();
            let (name, key, value) = row.value();
            (name.to_owned(), key.to_vec(), value.to_vec())
        };
        Bit::TheLast.flip(&mut value);
        table.insert(1, (name.as_str(), key.as_slice(), value.as_slice())).unwrap();
    }
    tx.commit().unwrap();
    assert_eq!(pond.quarantine().restore(1).await.unwrap(), Some(JobId::new(2)));
    assert_eq!(pond.quarantine().restore(1).await.unwrap(), None);
    assert_eq!(pond.job(JobId::new(2)).unwrap().payload.bytes, "second");
    assert_eq!(pond.queue("q").unwrap().counts().pending, 3);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_damaged_quarantine_can_still_be_read() {
    for bit in BITS {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let open = || Millpond::builder().clock(clock.clone()).seed(0).open_backend(disk.clone()).unwrap();
        let pond = open();
        let tx = pond.begin_write().unwrap();
        tx.unguarded()
            .open_table(QUARANTINE)
            .unwrap()
            .insert(1, ("ready", b"key".as_slice(), b"value".as_slice()))
            .unwrap();
        tx.commit().unwrap();
        close(pond).await;
        let db = Database::builder().create_with_backend(disk.clone()).unwrap();
        assert!(flip::<u64, (&'static str, Row, Row)>(&db, "quarantine", 0, bit));
        drop(db);
        let pond = open();
        assert_eq!(pond.quarantine().list(0, 10).unwrap().len(), 1, "{bit:?}");
        assert!(pond.quarantine().purge(1).await.unwrap());
    }
}
