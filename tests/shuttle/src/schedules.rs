//! The firing of a schedule beside its edit, its removal and a restart: each of its times is one job, and what the callers
//! were answered is true afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Error, Every, Millpond, Schedule, Scheduled};
use millpond_testkit::SimDisk;
use shuttle::sync::Mutex;
use shuttle::thread::{self, JoinHandle};

use crate::support::{beside, explore, is_sound, job, noting, open, until_drained, waiting};

const PERIOD: Duration = Duration::from_secs(60);

fn schedule(pond: &Millpond, n: u8) -> Result<Scheduled, Error> {
    pond.schedule("every-minute", Schedule::new(Every::new(PERIOD), "q", job(n))).wait()
}

fn remove(pond: &Millpond) -> bool {
    pond.schedules().remove("every-minute").wait().unwrap()
}

/// How many runs the schedule has made; `None` if there is none.
fn runs(pond: &Millpond) -> Option<u64> {
    match pond.schedules().get("every-minute") {
        Ok(schedule) => Some(schedule.runs),
        Err(Error::NoSuchSchedule { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Moves the clock to the next time of the schedule.
fn time_passes(clock: &ManualClock) -> JoinHandle<()> {
    let clock = clock.clone();
    thread::spawn(move || clock.advance(PERIOD))
}

#[test]
fn an_edit_beside_a_firing_leaves_one_run_of_the_old_or_the_new_job() {
    static OLD_AND_NEW: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    explore(|| {
        let clock = ManualClock::new();
        let pond = open(&SimDisk::new(), &clock);
        let (_worker, ran) = noting(&pond, "q", 2);
        assert_eq!(schedule(&pond, 1).unwrap(), Scheduled::Created);
        let editors = [2, 2].map(|n| beside(&pond, move |pond| schedule(pond, n).unwrap()));
        let time = time_passes(&clock);
        let mut answers = editors.map(|editor| editor.join().unwrap());
        answers.sort_by_key(|answer| *answer == Scheduled::Unchanged);
        assert_eq!(answers, [Scheduled::Changed, Scheduled::Unchanged]);
        time.join().unwrap();
        until_drained(&pond);
        let first = ran.so_far();
        assert!(first == [1] || first == [2], "one run of the first time: {first:?}");
        OLD_AND_NEW[usize::from(first == [2])].fetch_add(1, Ordering::Relaxed);

        clock.advance(PERIOD);
        until_drained(&pond);
        assert_eq!(ran.so_far()[1..], [2], "one run of the second time, of the new job");
        assert_eq!(runs(&pond), Some(2));
        is_sound(&pond);
    });
    assert!(OLD_AND_NEW.iter().all(|met| met.load(Ordering::Relaxed) > 0), "always the same came first");
}

#[test]
fn a_removal_beside_a_firing_leaves_one_run_or_none_and_no_later_one() {
    static RUNS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    explore(|| {
        let clock = ManualClock::new();
        let pond = open(&SimDisk::new(), &clock);
        let (_worker, ran) = noting(&pond, "q", 2);
        schedule(&pond, 1).unwrap();
        let removers = [(); 2].map(|()| beside(&pond, remove));
        let time = time_passes(&clock);
        let removed = removers.map(|remover| remover.join().unwrap());
        assert_eq!(removed.iter().filter(|removed| **removed).count(), 1, "one of them has removed it");
        assert_eq!(runs(&pond), None);
        // Before or after this, the time passes: what was not enqueued by the removal never is. A job that no longer waits
        // has been noted.
        let enqueued = waiting(&pond).len() + ran.so_far().len();
        time.join().unwrap();
        clock.advance(PERIOD);
        until_drained(&pond);
        let ran = ran.so_far();
        assert!(ran.is_empty() || ran == [1], "{ran:?}");
        assert!(ran.len() <= enqueued, "a run was enqueued after the removal");
        RUNS[ran.len()].fetch_add(1, Ordering::Relaxed);
        is_sound(&pond);
    });
    assert!(RUNS.iter().all(|met| met.load(Ordering::Relaxed) > 0), "always the same came first");
}

#[test]
fn an_edit_beside_a_removal_and_a_firing_changes_the_schedule_or_begins_a_new_one() {
    static CHANGED_AND_CREATED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    explore(|| {
        let clock = ManualClock::new();
        let pond = open(&SimDisk::new(), &clock);
        let (_worker, ran) = noting(&pond, "q", 2);
        schedule(&pond, 1).unwrap();
        let editor = beside(&pond, |pond| schedule(pond, 2).unwrap());
        let remover = beside(&pond, remove);
        let time = time_passes(&clock);
        let edited = editor.join().unwrap();
        assert!(remover.join().unwrap(), "there was one from the start");
        time.join().unwrap();
        until_drained(&pond);
        clock.advance(PERIOD);
        until_drained(&pond);
        let ran = ran.so_far();
        let of = |n| ran.iter().filter(|&&ran| ran == n).count();
        match edited {
            // Then it was removed: one time has passed, and perhaps before that.
            Scheduled::Changed => {
                assert_eq!(runs(&pond), None);
                assert!(ran.len() <= 1, "{ran:?}");
            }
            // It was removed before. The new one has run at its own times, of which one or two have passed.
            Scheduled::Created => {
                assert_eq!(runs(&pond), Some(of(2) as u64));
                assert!(of(1) <= 1 && (1..=2).contains(&of(2)), "{ran:?}");
            }
            answer => panic!("{answer:?}"),
        }
        CHANGED_AND_CREATED[usize::from(edited == Scheduled::Created)].fetch_add(1, Ordering::Relaxed);
        is_sound(&pond);
    });
    assert!(CHANGED_AND_CREATED.iter().all(|met| met.load(Ordering::Relaxed) > 0), "always the same came first");
}

/// The process is killed while a schedule fires and is changed; the next one has the same clock.
#[test]
fn a_restart_beside_a_firing_and_an_edit_makes_each_run_once() {
    static FIRED_BEFORE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        schedule(&pond, 1).unwrap();
        let answered = Arc::new(Mutex::new(false));
        let editor = {
            let answered = answered.clone();
            beside(&pond, move |pond| {
                schedule(pond, 2).unwrap();
                *answered.lock().unwrap() = true;
            })
        };
        let killer = {
            let (disk, answered) = (disk.clone(), answered.clone());
            thread::spawn(move || {
                let answered = *answered.lock().unwrap();
                (answered, disk.after_kill())
            })
        };
        time_passes(&clock).join().unwrap();
        let (is_changed, killed) = killer.join().unwrap();
        editor.join().unwrap();
        drop(pond);

        let pond = open(&killed, &clock);
        FIRED_BEFORE[waiting(&pond).len()].fetch_add(1, Ordering::Relaxed);
        let (_worker, ran) = noting(&pond, "q", 2);
        until_drained(&pond);
        let first = ran.so_far();
        assert!(first == [1] || first == [2], "one run of the first time: {first:?}");
        let changed_again = schedule(&pond, 2).unwrap();
        assert!(!is_changed || changed_again == Scheduled::Unchanged, "the change was acknowledged");
        clock.advance(PERIOD);
        until_drained(&pond);
        assert_eq!(ran.so_far()[1..], [2], "one run of the second time");
        assert_eq!(runs(&pond), Some(2));
        is_sound(&pond);
    });
    assert!(FIRED_BEFORE.iter().all(|met| met.load(Ordering::Relaxed) > 0), "always the same came first");
}
