//! The kernel reports that the disk is full. Callers are told at once, acknowledged jobs stay, jobs that end
//! meanwhile end once, and the queue heals when there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millpond::{Context, Error, Event, Events, Job, Millpond, NewJob};
use redb::{ReadableTable, TableDefinition};
use tokio::sync::Semaphore;

use crate::all_jobs::all_jobs;
use crate::child::{self, setting};
use crate::room::{Kind, Room};

const KIND: &str = "work";
/// The number of a job -> how often it was completed.
const DONE: TableDefinition<u64, u64> = TableDefinition::new("done");

/// The number of jobs whose handlers run when the disk becomes full.
const RUNNING: u64 = 5;
/// The payload fills a page to its end with bytes that are not zero: a page is intact even if there was no room for its last
/// zeros, and its commit can then be too.
const PAYLOAD_BYTES: usize = (8 << 10) - 256;
/// After this many refused calls in a row a disk is full: what is left has room for none of them.
const REFUSED: usize = 20;

fn job(number: u64) -> NewJob {
    let mut payload = vec![7; PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    NewJob::raw(KIND, payload)
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

fn worker(pond: &Millpond, queue: &str, gate: Arc<Semaphore>) {
    let handler = move |job: Job<bytes::Bytes>, ctx: Context| {
        let gate = gate.clone();
        async move {
            let n = number(&job);
            println!("start {n}");
            let _permit = gate.acquire().await?;
            ctx.on_complete(move |tx| {
                let mut table = tx.open_table(DONE)?;
                let before = table.get(n)?.map_or(0, |count| count.value());
                table.insert(n, before + 1)?;
                Ok(())
            });
            Ok(())
        }
    };
    pond.worker(queue).handle_raw(KIND, handler).start().unwrap();
}

fn done(pond: &Millpond) -> BTreeMap<u64, u64> {
    let read = pond.begin_read().unwrap();
    let Ok(table) = read.open_table(DONE) else { return BTreeMap::new() };
    table.iter().unwrap().map(|row| row.unwrap()).map(|(n, count)| (n.value(), count.value())).collect()
}

/// What became of each call.
#[derive(Default)]
struct Answers {
    there: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
    full: usize,
}

impl Answers {
    /// Enqueues until every call is refused.
    async fn fill(&mut self, pond: &Millpond, queue: &str, events: &mut Events) {
        let mut in_a_row = 0;
        for n in 1_000.. {
            in_a_row += 1;
            match pond.enqueue(queue, job(n)).await {
                Ok(_) => {
                    // A silent child counts as one that hangs, and a disk in use can take long.
                    println!("enqueued {n}");
                    self.there.insert(n);
                    in_a_row = 0;
                }
                Err(error @ (Error::StorageFull | Error::Degraded { .. })) => {
                    self.refused.insert(n);
                    self.full += usize::from(matches!(error, Error::StorageFull));
                    if matches!(error, Error::StorageFull) {
                        hear(events, |event| matches!(event, Event::Degraded { .. })).await;
                    }
                }
                Err(Error::OutcomeUnknown { .. }) => drop(self.unknown.insert(n)),
                Err(error) => panic!("{error:?}"),
            }
            if in_a_row == REFUSED {
                return;
            }
        }
    }

    fn check(&self, done: &BTreeMap<u64, u64>) {
        for n in &self.there {
            assert_eq!(done.get(n), Some(&1), "job {n} was acknowledged");
        }
        for (n, times) in done {
            let may_be = self.there.contains(n) || self.unknown.contains(n);
            assert!(may_be && *times == 1, "job {n} ran {times} times; refused: {}", self.refused.contains(n));
        }
    }
}

async fn hear(events: &mut Events, wanted: impl Fn(&Event) -> bool) {
    loop {
        match events.next().await.expect("it is open") {
            Ok(event) if wanted(&event) => return,
            _ => {}
        }
    }
}

/// The engine's own attempt to write has succeeded; before it, one more may have failed than were wanted.
async fn healed(pond: &Millpond, events: &mut Events, answers: &mut Answers, queue: &str) {
    loop {
        match pond.enqueue(queue, job(1)).await {
            Ok(_) => {
                answers.there.insert(1);
                return;
            }
            Err(Error::Degraded { .. }) => hear(events, |event| *event == Event::Healed).await,
            Err(error) => panic!("there is room: {error:?}"),
        }
    }
}

async fn drained(pond: &Millpond) {
    while pond.queues().iter().any(|queue| queue.counts().unfinished() > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// --- the children -----------------------------------------------------------------------------

/// The disk becomes full while handlers run, and gets room again.
pub fn child_that_heals() {
    let room = Room::enter();
    block_on(async {
        let pond = Millpond::open(room.file()).unwrap();
        let mut events = pond.events();
        let mut answers = Answers::default();
        let gate = Arc::new(Semaphore::new(0));
        worker(&pond, "running", gate.clone());
        for n in 0..RUNNING {
            pond.enqueue("running", job(n + 100)).await.unwrap();
            answers.there.insert(n + 100);
        }
        while pond.queue("running").unwrap().counts().running < RUNNING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answers.fill(&pond, "waiting", &mut events).await;
        assert!(answers.full > 0, "no call was told that the disk is full");
        // They end while no call can enqueue.
        gate.add_permits(RUNNING as usize);
        room.make_room();
        healed(&pond, &mut events, &mut answers, "waiting").await;
        worker(&pond, "waiting", gate);
        work_off(&pond, &room, &answers).await;
    });
}

/// The disk becomes full, and stays full except for a few pages: the accepted jobs are done all the same, in the space that
/// ended jobs free.
pub fn child_that_stays_full() {
    let room = Room::enter();
    block_on(async {
        let pond = Millpond::open(room.file()).unwrap();
        let mut events = pond.events();
        let mut answers = Answers::default();
        answers.fill(&pond, "waiting", &mut events).await;
        room.make_little_room();
        worker(&pond, "waiting", Arc::new(Semaphore::new(1)));
        work_off(&pond, &room, &answers).await;
    });
}

/// Checks that every job is done, each answer was true, and the file is sound.
async fn work_off(pond: &Millpond, room: &Room, answers: &Answers) {
    drained(pond).await;
    pond.testing().idle().await;
    answers.check(&done(pond));
    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
    pond.shutdown(Duration::from_secs(1)).await.unwrap();
    say(room, answers);
}

/// There is no room for a file at all; then a file that is read-only.
pub fn child_that_creates() {
    let room = Room::enter();
    room.fill_up();
    let refused = Millpond::open(room.file());
    assert!(matches!(refused, Err(Error::StorageFull)), "{refused:?}");
    assert_eq!(room.files(), Vec::<PathBuf>::new(), "nothing is left behind");
    room.make_room();
    let pond = Millpond::open(room.file()).unwrap();
    pond.enqueue("q", job(1)).wait().unwrap();
    drop(pond);
    let bytes = std::fs::read(room.file()).unwrap();
    if room.make_read_only() {
        for (path, what) in [(room.file(), "open"), (room.file().with_file_name("new.redb"), "create")] {
            match Millpond::open(&path) {
                Err(Error::Io { operation, path: named, source, .. }) => {
                    assert_eq!((operation, named, source.kind()), (what, path, ErrorKind::ReadOnlyFilesystem));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(std::fs::read(room.file()).unwrap() == bytes, "it was not touched");
    }
    say(&room, &Answers { full: 1, ..Answers::default() });
}

/// Its own children fill the disk, are killed, and open the full file again.
pub fn child_whose_children_are_killed() {
    let room = Room::enter();
    let settings = [("FILE", room.file().display().to_string())];
    let mut there = BTreeSet::new();
    for kill in 0..6 {
        let mut filler = child::start("fill", &settings);
        let mut refused = 0;
        while refused <= kill * 3 {
            let line = filler.next().expect("it fills until it is killed");
            match line.rsplit_once(' ') {
                Some((what, n)) if what.ends_with("there") => drop(there.insert(n.parse::<u64>().unwrap())),
                _ => refused += usize::from(line.ends_with("refused")),
            }
        }
        filler.kill();
        for line in filler.end().0 {
            if let Some(n) = line.strip_prefix("there ") {
                there.insert(n.parse().unwrap());
            }
        }
    }
    room.make_room();
    let left = left_in(&room.file());
    assert!(there.is_subset(&left), "{} of {} are left", left.len(), there.len());
    say(&room, &Answers { there, full: 1, ..Answers::default() });
}

/// Enqueues until it is killed.
pub fn child_that_fills() {
    let path: String = setting("FILE");
    block_on(async {
        // A full disk can refuse the opening too, with the same error.
        let pond = loop {
            match Millpond::open(&path) {
                Ok(pond) => break pond,
                Err(Error::StorageFull) => println!("refused"),
                Err(error) => panic!("{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let first = u64::from(std::process::id()) << 32;
        for n in first.. {
            match pond.enqueue("q", job(n)).await {
                Ok(_) => println!("there {n}"),
                Err(Error::StorageFull | Error::Degraded { .. } | Error::OutcomeUnknown { .. }) => println!("refused"),
                Err(error) => panic!("{error:?}"),
            }
        }
    });
}

fn left_in(file: &Path) -> BTreeSet<u64> {
    block_on(async {
        let pond = Millpond::open(file).unwrap();
        assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
        all_jobs(&pond).iter().map(|job| number(&job.payload.bytes)).collect()
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn say(room: &Room, answers: &Answers) {
    let by = match room.kind() {
        Kind::FileSystem => "a full file system",
        Kind::FileSize => "a limit on the file's size",
    };
    let Answers { there, refused, unknown, full } = answers;
    let (there, refused, unknown) = (there.len(), refused.len(), unknown.len());
    println!("{there} there, {refused} refused by {by} ({full} as StorageFull), {unknown} unknown");
}

// --- the parent -------------------------------------------------------------------------------

#[test]
fn it_heals_when_there_is_room_again() {
    Kind::all().into_iter().for_each(|kind| kind.run("full-heals"));
}

#[test]
fn a_file_without_room_or_on_a_read_only_disk_is_refused_with_a_typed_error() {
    Kind::all().into_iter().for_each(|kind| kind.run("full-creates"));
}

#[test]
fn accepted_jobs_are_done_with_little_room() {
    Kind::all().into_iter().for_each(|kind| kind.run("full-stays"));
}

#[test]
fn a_process_killed_on_a_full_disk_loses_nothing() {
    Kind::all().into_iter().for_each(|kind| kind.run("full-killed"));
}
