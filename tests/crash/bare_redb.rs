//! Crashes the storage engine alone on the simulated disk: if this fails, the disk or redb is wrong.

use std::collections::BTreeMap;

use fastrand::Rng;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use millpond_testkit::{CUT_POLICIES, CutPolicy, Failure, Fault, Image, LogEntry, Op, SimDisk, Walk};

const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

type Rows = BTreeMap<u64, Vec<u8>>;

fn open(disk: &SimDisk) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(1 << 20).create_with_backend(disk.clone())
}

fn rows(db: &Database) -> Rows {
    let read = db.begin_read().unwrap();
    match read.open_table(ROWS) {
        Ok(table) => {
            table.iter().unwrap().map(|row| row.unwrap()).map(|(k, v)| (k.value(), v.value().into())).collect()
        }
        Err(_) => Rows::new(),
    }
}

/// The log of `transactions` commits, and the rows after each of them.
fn record(seed: u64, transactions: u64) -> (Vec<LogEntry>, Vec<Rows>) {
    let mut rng = Rng::with_seed(seed);
    let disk = SimDisk::new().recorded();
    let db = open(&disk).unwrap();
    let mut states = vec![rows(&db)];
    for number in 1..=transactions {
        disk.mark(LogEntry::Start(number));
        let txn = db.begin_write().unwrap();
        {
            let mut table = txn.open_table(ROWS).unwrap();
            for _ in 0..rng.usize(1..8) {
                let key = rng.u64(0..40);
                if rng.u8(0..3) == 0 {
                    table.remove(key).unwrap();
                } else {
                    table.insert(key, vec![number as u8; rng.usize(0..2_000)].as_slice()).unwrap();
                }
            }
        }
        txn.commit().unwrap();
        disk.mark(LogEntry::Ack(number));
        states.push(rows(&db));
    }
    drop(db);
    (disk.take_log(), states)
}

/// The number of images that were right, or the first that was wrong. Starts at the first acknowledgement: redb
/// promises nothing about a database that is being created.
fn crash_everywhere(log: &[LogEntry], states: &[Rows]) -> Result<usize, String> {
    let mut images = 0;
    let mut walk = Walk::new(Image::default(), log);
    while walk.step().is_some() {
        if walk.acked == 0 {
            continue;
        }
        for policy in CUT_POLICIES {
            let image = walk.cut(policy, &mut Rng::with_seed(walk.at() as u64));
            let wrong = |what: String| format!("entry {}, {policy:?}: {what}", walk.at());
            let db = open(&SimDisk::holding(image)).map_err(|error| wrong(error.to_string()))?;
            let found = rows(&db);
            let allowed = &states[walk.acked as usize..=walk.started as usize];
            if !allowed.contains(&found) {
                return Err(wrong(format!("not between {} and {}", walk.acked, walk.started)));
            }
            images += 1;
        }
    }
    Ok(images)
}

#[test]
fn redb_alone_survives_every_crash_of_the_simulated_disk() {
    let (log, states) = record(1, 12);
    assert!(crash_everywhere(&log, &states).unwrap() > 500);
}

/// The position of answer `number`, and of the sync that it waited for.
fn answer_and_sync(log: &[LogEntry], number: u64) -> (usize, usize) {
    let answer = log.iter().position(|entry| *entry == LogEntry::Ack(number)).unwrap();
    (answer, log[..answer].iter().rposition(|entry| *entry == LogEntry::Sync).unwrap())
}

#[test]
fn a_missing_sync_is_noticed() {
    let (log, states) = record(2, 6);
    for number in 2..=6 {
        let mut log = log.clone();
        log.remove(answer_and_sync(&log, number).1);
        assert!(crash_everywhere(&log, &states).is_err(), "the missing sync of {number} is not noticed");
    }
}

#[test]
fn an_answer_before_its_sync_is_noticed() {
    let (log, states) = record(3, 6);
    for number in 2..=6 {
        let mut log = log.clone();
        let (answer, sync) = answer_and_sync(&log, number);
        log.remove(answer);
        log.insert(sync, LogEntry::Ack(number));
        assert!(crash_everywhere(&log, &states).is_err(), "the early answer {number} is not noticed");
    }
}

#[test]
fn a_file_that_is_cut_and_grown_again_holds_zeros() {
    let mut image = Image::new(vec![7; 10_000]);
    image.write(9_000, &[8; 100]);
    image.set_len(4_100);
    image.set_len(12_000);
    let bytes = image.to_bytes();
    assert!(bytes[..4_100].iter().all(|&byte| byte == 7) && bytes[4_100..].iter().all(|&byte| byte == 0));
    image.write(4_090, &[9; 20]);
    image.flatten();
    let mut part = [0; 30];
    image.read(4_085, &mut part).unwrap();
    assert_eq!(part, [[7; 5].as_slice(), &[9; 20], &[0; 5]].concat()[..]);
}

#[test]
fn every_policy_keeps_the_writes_that_its_name_says() {
    let write = |offset: u64, len| LogEntry::Write { offset, data: vec![1; len].into() };
    let pending = [write(0, 320), write(4_096, 4_096), LogEntry::SetLen(1 << 20), write(8_192, 4_096)];
    let pending: Vec<_> = pending.iter().collect();
    let offsets = |policy: CutPolicy, seed| {
        let pieces = policy.pieces(&pending, &mut Rng::with_seed(seed));
        pieces.into_iter().filter_map(|piece| match piece {
            LogEntry::Write { offset, data } => Some((offset, data.len())),
            _ => None,
        })
    };
    for seed in 0..50 {
        assert_eq!(offsets(CutPolicy::None, seed).count(), 0);
        assert_eq!(offsets(CutPolicy::All, seed).count(), 3);
        assert_eq!(offsets(CutPolicy::AllButHeader, seed).map(|piece| piece.0).collect::<Vec<_>>(), [4_096, 8_192]);
        assert_eq!(offsets(CutPolicy::HeaderOnly, seed).collect::<Vec<_>>(), [(0, 320)]);
        assert!(offsets(CutPolicy::AllButOne, seed).count() >= 2);
        assert!(offsets(CutPolicy::Prefix, seed).zip([0, 4_096, 8_192]).all(|(piece, offset)| piece.0 == offset));
        assert!(offsets(CutPolicy::Sectors, seed).all(|(offset, len)| offset % 512 == 0 && len <= 512));
        assert_eq!(offsets(CutPolicy::HeaderTorn, seed).filter(|piece| piece.1 == 4_096).count(), 2);
    }
    let orders: std::collections::BTreeSet<Vec<_>> =
        (0..50).map(|seed| offsets(CutPolicy::Shuffled, seed).collect()).collect();
    assert!(orders.iter().any(|order| !order.is_sorted()), "the shuffled order is always the original one");
}

#[test]
fn a_fault_hits_the_operations_that_it_names_as_often_as_it_says() {
    let disk = SimDisk::new().recorded();
    let write = |disk: &SimDisk| redb::StorageBackend::write(disk, 0, &[1]);
    redb::StorageBackend::set_len(&disk, 4_096).unwrap();
    disk.fail(Fault { after: 1, times: 1, ..Fault::lasting(&[Op::Write], Failure::NoSpace) });
    write(&disk).unwrap();
    redb::StorageBackend::sync_data(&disk).unwrap();
    assert_eq!(write(&disk).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    write(&disk).unwrap();
    disk.fail(Fault::FULL);
    assert!(write(&disk).is_err() && redb::StorageBackend::set_len(&disk, 1).is_err());
    redb::StorageBackend::sync_data(&disk).unwrap();
    disk.repair();
    write(&disk).unwrap();
    assert_eq!((disk.failed(), disk.asked(Some(Op::Write)), disk.asked(None)), (3, 5, 9));
}
