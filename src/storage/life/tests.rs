//! Jobs go through the door in any order, and after each commit a verification finds that everything agrees.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::job::life::{self, after};
use crate::job::{AttemptNumber, Change, Ending, Expiry, FailureKind, GroupPolicy, JobId, Keep, Patch, ReadyJob};
use crate::job::{
    Priority, QueueId, QueueSettings, Record, Retention, Retry, State, Transition, Unique, Withdraw, Withdrawn,
};
use crate::storage::life::ended::SweepRoom;
use crate::storage::life::{Move, NewHome, OldHome};
use crate::storage::open::store::Store;
use crate::storage::repair::verify::verify;
use crate::storage::rows::batch::{Batch, Counters};
use crate::storage::rows::place::Place;
use crate::storage::rows::prepared::{KeyTimes, Prepared};
use crate::storage::rows::start_mark::StartMark;
use crate::time::{Due, Now, Timestamp};

const QUEUES: u32 = 3;

/// Nothing is handed out while a batch is made.
struct NothingRuns;

impl Withdraw for NothingRuns {
    fn withdraw(&self, _: JobId) -> Withdrawn {
        Withdrawn::Waits
    }

    fn reinstate_all(&self) {}
}

struct World {
    store: Store,
    counters: Counters,
    marks: BTreeSet<JobId>,
    now: Now,
    rng: fastrand::Rng,
    /// What dispatch would hold.
    ready: Vec<(QueueId, Arc<ReadyJob>)>,
    ids: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Store::in_memory();
        let counters = store.load().unwrap();
        let rng = fastrand::Rng::with_seed(seed);
        let mut world = Self { store, counters, marks: BTreeSet::new(), now: at(1), rng, ready: Vec::new(), ids: 0 };
        world.commit(|batch, _, _| {
            let kind = batch.kind_named("kind").unwrap();
            batch.stored_kind(kind);
            for n in 0..QUEUES {
                let queue = batch.queue_named(&format!("q{n}")).unwrap();
                let groups = [GroupPolicy::Block, GroupPolicy::Skip, GroupPolicy::Hold][n as usize % 3];
                let retention = Retention::default();
                let retention =
                    if n == 2 { retention.completed(Keep::new(Duration::from_secs(60), 3)) } else { retention };
                batch.queue_mut(queue).settings = QueueSettings::default().groups(groups).retention(retention);
            }
        });
        world
    }

    /// Makes one commit, tells "dispatch" of it, and verifies the file.
    fn commit(&mut self, work: impl FnOnce(&mut Batch<'_>, &mut fastrand::Rng, &[(QueueId, Arc<ReadyJob>)])) {
        let txn = self.store.begin_write().unwrap();
        let mut batch = Batch::new(&txn, &self.store.catalog, self.counters, &self.marks, self.now, false);
        work(&mut batch, &mut self.rng, &self.ready);
        assert!(batch.unreadable.is_empty());
        let sealed = batch.close().unwrap();
        self.store.commit(txn).unwrap();
        self.counters = sealed.counters;
        self.store.catalog.committed(sealed.rows, &sealed.kinds, &[]);
        self.marks.extend(sealed.marked);
        self.marks.retain(|id| !sealed.unmarked.contains(id));
        for change in sealed.changes {
            match change {
                Change::Ready { queue, job } => self.ready.push((queue, job)),
                Change::Gone { id, .. } | Change::Settled { id } => self.ready.retain(|(_, entry)| entry.id != id),
                _ => {}
            }
        }
        self.ids = self.counters.next_id;
        let found = verify(&self.store.reader().unwrap()).unwrap();
        assert_eq!(found.problems, Vec::<String>::new());
    }

    fn insert(&mut self) {
        let now = self.now;
        self.commit(|batch, rng, _| {
            let mut record = Record { priority: Priority::new(rng.u8(..3)).unwrap(), kind: 0, ..Record::plain() };
            if rng.bool() {
                record.extra_mut().group = Some(format!("g{}", rng.u8(..3)).into());
            }
            if rng.u8(..3) == 0 {
                record.extra_mut().expiry = Some(Expiry::after(now, Duration::from_secs(rng.u64(1..100))));
            }
            life::enter(&mut record, (rng.u8(..3) == 0).then(|| Due::after(now, Duration::from_secs(rng.u64(1..60)))));
            let key = rng.bool().then(|| format!("k{}", rng.u8(..20)));
            if key.is_some() {
                record.extra_mut().unique_key = key.clone();
                record.extra_mut().unique = match rng.u8(..6) {
                    0 => Unique::until_started(),
                    1 => Unique::until_started().replace(),
                    2 => Unique::until_ended().replace(),
                    3 => Unique::throttle(Duration::from_secs(rng.u64(1..90))),
                    _ => Unique::until_ended(),
                };
            }
            record.extra_mut().idempotency_key = Some(format!("call {}", rng.u8(..20)));
            let mut job = Prepared::new(rng.u32(..QUEUES), record, None);
            let idempotency = rng.bool().then(|| Duration::from_secs(rng.u64(1..90)));
            let unique = key.map(|_| Duration::from_secs(rng.u64(..90)));
            job.claim_keys_for(KeyTimes { unique, idempotency });
            batch.insert_or_find(&mut job, &NothingRuns).unwrap();
        });
    }

    /// An attempt of a ready job ends somehow, perhaps with a start mark.
    fn attempt(&mut self) {
        let now = self.now;
        self.commit(|batch, rng, ready| {
            if ready.is_empty() {
                return;
            }
            let (queue, taken) = ready[rng.usize(..ready.len())].clone();
            let (id, number) = (taken.id, taken.record.attempts + 1);
            let attempt = AttemptNumber { number, max: rng.u32(1..4), once: false, started_at: now.wall };
            if rng.bool() {
                let (priority, position) = (taken.order.priority, taken.order.position);
                let mark = StartMark {
                    queue,
                    priority,
                    position,
                    attempt: number,
                    max_attempts: 3,
                    started_at: now.wall,
                    alone: false,
                };
                batch.hand_out(id, &mark).unwrap();
            }
            let ending = match rng.u8(..6) {
                0 => Ending::Done(Some(b"result".as_slice().into())),
                1 => Ending::Done(None),
                2 => Ending::snoozed(Duration::from_secs(rng.u64(..30))),
                3 => Ending::Cancelled("cancelled".into()),
                4 => Ending::Uncalled,
                _ => Ending::Failed { kind: FailureKind::Error, message: "boom".into(), delay: None },
            };
            let has_result = matches!(ending, Ending::Done(Some(_)));
            let mut record = taken.record.clone();
            match after(&mut record, attempt, ending, &Retry::fixed(Duration::from_secs(5)), now, 0.5) {
                Transition::PutOff { due, failed } => batch.put_off(queue, &taken, &record, due, failed).unwrap(),
                transition @ Transition::End(state) => {
                    batch.changes.push(Change::Settled { id });
                    let from = OldHome::Handler { taken: &taken, row_was_there: None };
                    let kept = batch.keeps(queue, state, has_result);
                    let to = if kept { NewHome::Ended { record: &record, kept } } else { NewHome::Nowhere };
                    assert!(batch.apply(Move { id, queue, transition, from, to }).unwrap());
                }
                _ => drop(batch.give_back(queue, taken, None, false).unwrap()),
            }
        });
    }

    /// An operator does something to a job that waits or is dead.
    fn operate(&mut self) {
        let (now, ids) = (self.now, self.ids);
        self.commit(|batch, rng, _| {
            let id = JobId::new(rng.u64(..ids));
            let Some(location) = batch.locate(id).unwrap() else { return };
            let queue = location.queue;
            let stored = batch.stored(queue, id, location.place.clone()).unwrap().expect("it is where it was found");
            let mut record = stored.record.clone();
            match location.place {
                Place::Dead { at } if rng.bool() => drop(batch.purge_dead_letter(queue, id, at).unwrap()),
                Place::Finished { .. } => {}
                Place::Member(_) | Place::Ready { .. } | Place::Delayed { .. } if rng.u8(..3) == 0 => {
                    let transition = life::cancel(&mut record, "no more", now);
                    let to = NewHome::Ended { record: &record, kept: true };
                    batch.apply(Move { id, queue, transition, from: stored.from(), to }).unwrap();
                }
                place => {
                    let later = Due::after(now, Duration::from_secs(rng.u64(1..20)));
                    let (transition, seq) = match &place {
                        Place::Dead { .. } => {
                            let seq = batch.seq_of_redriven(queue, id, record.group()).unwrap();
                            (life::redrive(&mut record, rng.bool().then_some(later)), seq)
                        }
                        place => {
                            let run_at = rng.bool().then(|| now.wall + Duration::from_secs(rng.u64(..20)));
                            let priority = Some(Priority::new(rng.u8(..3)).unwrap());
                            let patch = Patch { priority, run_at, payload: None, tags: None };
                            let seq = if let Place::Member(member) = place { member.seq } else { id.get() };
                            (life::steer(&mut record, &patch, now), seq)
                        }
                    };
                    let job = &mut Prepared::new(queue, record, None);
                    let to = NewHome::Waiting { job, seq };
                    batch.apply(Move { id, queue, transition, from: stored.from(), to }).unwrap();
                }
            }
        });
    }

    /// Time passes: jobs are promoted, expire, and are no longer kept.
    fn pass_time(&mut self) {
        self.now = at(self.now.mono.as_secs() + self.rng.u64(1..20));
        self.commit(|batch, rng, _| {
            for line in [crate::time::TimeLine::Wall, crate::time::TimeLine::Age] {
                for expiring in batch.passed_expiries(line, None, 100).unwrap() {
                    batch.expire(expiring).unwrap();
                }
            }
            for queue in 0..QUEUES {
                batch.promote(queue, 100).unwrap();
                batch.prune(queue, &mut SweepRoom { rows: rng.usize(..10), bytes: 1 << 20 }).unwrap();
                let group: Arc<str> = format!("g{}", rng.u8(..3)).into();
                batch.pause_group(queue, &group, rng.bool(), |_| None).unwrap();
            }
            batch.sweep_keys(100).unwrap();
        });
    }
}

fn at(secs: u64) -> Now {
    let time = Timestamp::from_millis(secs * 1_000);
    Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_secs(secs) }
}

#[test]
fn whatever_happens_to_jobs_everything_that_depends_on_them_agrees() {
    let mut ended = BTreeSet::new();
    for seed in 0..6 {
        let mut world = World::new(seed);
        for _ in 0..150 {
            match world.rng.u8(..9) {
                0..=3 => world.insert(),
                4 | 5 => world.attempt(),
                6 | 7 => world.operate(),
                _ => world.pass_time(),
            }
        }
        for queue in 0..QUEUES {
            let tally = world.store.catalog.row(queue).tally;
            for (state, total) in [
                (State::Completed, tally.completed_total),
                (State::Cancelled, tally.cancelled_total),
                (State::Dead, tally.dead_total),
            ] {
                ended.extend((total > 0).then_some(format!("{state:?}")));
            }
        }
    }
    assert_eq!(ended.len(), 3, "only {ended:?} were reached");
}
