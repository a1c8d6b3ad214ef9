//! Disks that do what no file format can prevent: syncs that lie, bits that flip, writes that land
//! elsewhere. After a power cut the storage engine checks everything that it is going to use, so the file is
//! either right or refused. A file that was closed by a shutdown is not checked when it is opened, also if a power cut
//! follows before the next commit: there only a check of the whole file finds the damage.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use millpond::testing::ManualClock;
use millpond::{Clock, Error, JobFilter};
use millpond_testkit::{CUT_POLICIES, Fault, Image, LogEntry, SimDisk, Walk};
use redb::Database;

use crate::engine::{Engine, clock_at};
use crate::raw;
use crate::record::{Epoch, Size, record};
use crate::recovery::start_everything;
use crate::{be_quiet_about_panics_on_purpose, number};

const IMAGES_DEFAULT: u64 = 300;

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The file is what it was after some commit.
    Right,
    /// The file is not opened.
    Refused,
    /// The file is opened, and `verify` reports the damage.
    Noticed,
    /// The file is opened, and is what it was after no commit.
    SilentlyWrong,
    /// The file was opened, and a call on it panicked.
    Panicked,
    /// The file is wrong, and the storage engine opened it without a check: the power was cut between an orderly close
    /// and the next commit.
    Unchecked,
}

struct Judge {
    /// The sums of the states that the file is allowed to hold.
    sums: BTreeSet<u64>,
    clock: ManualClock,
}

impl Judge {
    fn fate(&self, image: Image) -> Fate {
        let sum = catch_unwind(AssertUnwindSafe(|| raw::read_image(image.clone(), raw::sum)));
        let right = matches!(&sum, Ok(Ok(sum)) if self.sums.contains(sum));
        if !right && is_opened_without_check(image.clone()) {
            return Fate::Unchecked;
        }
        let clock = clock_at(self.clock.wall());
        let Ok(engine) = Engine::open(&SimDisk::holding(image), &clock) else { return Fate::Refused };
        match catch_unwind(AssertUnwindSafe(|| is_sound(engine, &clock))) {
            _ if right => Fate::Right,
            Err(_) => Fate::Panicked,
            Ok(false) => Fate::Noticed,
            Ok(true) => Fate::SilentlyWrong,
        }
    }
}

/// Whether `verify` finds nothing. Every other call has to be answered.
fn is_sound(mut engine: Engine, clock: &ManualClock) -> bool {
    let verify = engine.pond.verify();
    let sound = matches!(engine.call(verify), Ok(found) if found.is_ok());
    let mut cursor = None;
    while let Ok(page) = engine.pond.jobs(&JobFilter::new(), cursor, 100)
        && page.next.is_some()
    {
        cursor = page.next;
    }
    let ran: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    let _ = start_everything(&mut engine, &ran);
    for _ in 0..5 {
        engine.run_until_quiet();
        clock.advance(Duration::from_secs(3_600));
    }
    engine.close();
    sound
}

/// Whether the storage engine opens the file, and does not check it first as it does after a power cut.
fn is_opened_without_check(image: Image) -> bool {
    let is_checked = Arc::new(AtomicBool::new(false));
    let checked = is_checked.clone();
    let open = || {
        let disk = SimDisk::holding(image);
        let mut builder = Database::builder();
        let db = builder.set_repair_callback(move |_| checked.store(true, Ordering::Relaxed));
        let is_open = db.create_with_backend(disk.clone()).is_ok();
        disk.fail(Fault::DEAD);
        is_open
    };
    catch_unwind(AssertUnwindSafe(open)).unwrap_or(false) && !is_checked.load(Ordering::Relaxed)
}

/// Whether the storage engine's own check of the whole file finds nothing.
fn is_intact(image: Image) -> bool {
    let check = || {
        let disk = SimDisk::holding(image);
        let mut db = Database::builder().create_with_backend(disk.clone()).ok()?;
        let intact = db.check_integrity().ok();
        disk.fail(Fault::DEAD);
        intact
    };
    catch_unwind(AssertUnwindSafe(check)).is_ok_and(|intact| intact == Some(true))
}

fn epochs() -> Vec<Epoch> {
    be_quiet_about_panics_on_purpose();
    record(5, Size { epochs: 2, steps: 40 }).unwrap()
}

/// Makes many images with `make`, and counts what became of them.
fn fates(epochs: &[Epoch], make: impl Fn(&Epoch, &mut Rng) -> Image) -> BTreeMap<Fate, u64> {
    let mut fates = BTreeMap::new();
    let first = number("CRASH_SEED", 0);
    for seed in first..first + number("CRASH_OUTSIDE", IMAGES_DEFAULT) {
        let epoch = &epochs[seed as usize % epochs.len()];
        let image = make(epoch, &mut Rng::with_seed(seed));
        let sums = epoch.states.iter().map(|state| state.sum).collect();
        let fate = Judge { sums, clock: clock_at(epoch.clock.wall()) }.fate(image);
        if matches!(fate, Fate::SilentlyWrong | Fate::Panicked) {
            println!("CRASH_SEED={seed} CRASH_OUTSIDE=1: {fate:?}");
        }
        *fates.entry(fate).or_default() += 1;
    }
    println!("{fates:?}");
    fates
}

fn assert_right_or_refused(fates: &BTreeMap<Fate, u64>) {
    let bad = [Fate::SilentlyWrong, Fate::Panicked];
    assert!(bad.iter().all(|fate| !fates.contains_key(fate)), "{fates:?}");
    assert!(fates.len() > 1, "the damage changed nothing: {fates:?}");
}

/// What a power cut leaves at this entry of the record.
fn cut_at(found: &Image, log: &[LogEntry], end: usize, rng: &mut Rng) -> Image {
    let mut walk = Walk::new(found.clone(), log);
    while walk.at() < end && walk.step().is_some() {}
    walk.cut(CUT_POLICIES[rng.usize(0..CUT_POLICIES.len())], rng)
}

/// Flips a bit of a byte that is not zero.
fn flip(image: &mut Image, rng: &mut Rng) {
    for _ in 0..1_000 {
        let at = rng.u64(0..image.len());
        let mut byte = [0];
        image.read(at, &mut byte).expect("within");
        if byte[0] != 0 {
            return image.write(at, &[byte[0] ^ 1 << rng.u8(0..8)]);
        }
    }
}

#[test]
fn a_bit_that_flips_in_a_power_cut_is_harmless_or_the_file_is_refused() {
    let fates = fates(&epochs(), |epoch, rng| {
        let mut image = cut_at(&epoch.found, &epoch.log, rng.usize(1..epoch.log.len()), rng);
        flip(&mut image, rng);
        image
    });
    assert_right_or_refused(&fates);
}

#[test]
fn a_write_that_landed_elsewhere_before_a_power_cut_is_harmless_or_the_file_is_refused() {
    let fates = fates(&epochs(), |epoch, rng| {
        let is_page = |at: &usize| matches!(epoch.log[*at], LogEntry::Write { offset, .. } if offset > 0);
        let writes: Vec<usize> = (0..epoch.log.len()).filter(is_page).collect();
        let (lost, other) = (writes[rng.usize(0..writes.len())], writes[rng.usize(0..writes.len())]);
        let mut log = epoch.log.clone();
        if let (LogEntry::Write { data, .. }, LogEntry::Write { offset, .. }) = (&epoch.log[lost], &epoch.log[other]) {
            log[lost] = LogEntry::Write { offset: *offset, data: data.clone() };
        }
        let end = (lost + rng.usize(1..60)).min(log.len());
        cut_at(&epoch.found, &log, end, rng)
    });
    assert_right_or_refused(&fates);
}

#[test]
fn syncs_that_lied_before_a_power_cut_leave_an_older_state_or_the_file_is_refused() {
    let fates = fates(&epochs(), |epoch, rng| {
        let end = rng.usize(epoch.log.len() / 10..epoch.log.len());
        let lied = end.saturating_sub(rng.usize(1..200))..end;
        let honest = |(at, entry): &(usize, &LogEntry)| !(**entry == LogEntry::Sync && lied.contains(at));
        let log: Vec<LogEntry> = epoch.log[..end].iter().enumerate().filter(honest).map(|(_, e)| e.clone()).collect();
        cut_at(&epoch.found, &log, log.len(), rng)
    });
    assert_right_or_refused(&fates);
}

/// The file of an epoch after a shutdown.
fn closed(epoch: &Epoch) -> Image {
    let disk = SimDisk::holding(epoch.found.clone());
    Engine::open(&disk, &epoch.clock).unwrap().close();
    disk.image()
}

/// The engine does not open these files: the storage engine asserts what holds for intact files, and is able
/// to abort the process.
#[test]
fn a_bit_that_flips_in_a_file_that_was_closed_is_found_by_a_check_of_the_whole_file() {
    let images: Vec<Image> = epochs().iter().map(closed).collect();
    let (mut harmless, mut found) = (0, 0);
    let first = number("CRASH_SEED", 0);
    for seed in first..first + number("CRASH_OUTSIDE", IMAGES_DEFAULT) {
        let mut image = images[seed as usize % images.len()].clone();
        let right = raw::read_image(image.clone(), raw::sum).unwrap();
        flip(&mut image, &mut Rng::with_seed(seed));
        let sum = catch_unwind(AssertUnwindSafe(|| raw::read_image(image.clone(), raw::sum)));
        match matches!(sum, Ok(Ok(sum)) if sum == right) {
            true => harmless += 1,
            false => {
                assert!(!is_intact(image), "CRASH_SEED={seed} CRASH_OUTSIDE=1: the damage is not found");
                found += 1;
            }
        }
    }
    println!("{harmless} were harmless, {found} were found");
    assert!(harmless > 0 && found > 0);
}

#[test]
fn a_file_on_which_the_storage_engine_gives_up_is_refused() {
    be_quiet_about_panics_on_purpose();
    let epochs = record(5, Size { epochs: 1, steps: 5 }).unwrap();
    let mut bytes = closed(&epochs[0]).to_bytes();
    // The name of a type, in the list of tables, is no longer valid text.
    let name = b"&[u8]";
    let places: Vec<usize> = (0..bytes.len() - name.len()).filter(|&at| bytes[at..].starts_with(name)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] = 0xff);
    let opened = Engine::open(&SimDisk::holding(Image::new(bytes)), &epochs[0].clock);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{:?}", opened.err());
}
