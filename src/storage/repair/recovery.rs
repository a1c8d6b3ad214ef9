//! Recovery after a crash: puts back the jobs that a handler had when the process died. One process owns the file, so at
//! its opening no handler has them any more. Each one is back at its place, with the attempt on its record, or becomes a
//! dead letter. The time depends on the number of start marks, and not on how many jobs wait.

use std::sync::Arc;

use crate::events::Event;
use crate::job::life::{after_crash, cancel_after_crash, undo_after_crash};
use crate::job::{
    AttemptNumber, ExplainedDeaths, JobId, QueueId, ReadyJob, Record, State, Suspect, Transition, Trial, Witness,
    blamed, dead_by,
};
use crate::storage::life::{Move, NewHome, OldHome, buckets, circuits, topics};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{self, decode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::start_mark::StartMark;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;

/// What recovery found and did.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The file was not closed in order.
    pub crashed: bool,
    /// Jobs that a handler had, back at their places, as they are to be tried.
    pub trial: Trial,
    /// Jobs whose last attempt it was.
    pub dead: Vec<Died>,
    /// The number of this opening of the file: greater than those before it, and durable before anything starts.
    pub opening: u64,
}

/// A job that recovery has moved to the dead letters.
#[derive(Debug)]
pub(crate) struct Died {
    pub id: JobId,
    pub queue: QueueId,
    pub record: Record,
}

/// Puts the orphans back. To be committed before anything is dispatched.
pub(crate) fn recover(batch: &mut Batch<'_>) -> Result<Recovered, Fault> {
    let dead_by = dead_by(batch.now, batch.counters.time.wall);
    let opening = batch.next_opening();
    let mut recovered = Recovered { crashed: !batch.counters.clean, opening, ..Recovered::default() };
    batch.counters.clean = false;
    batch.touch();
    buckets::rebuild(batch)?;
    circuits::rebuild(batch)?;
    topics::rebuild(batch)?;
    let marks = batch.marks()?;
    if marks.is_empty() {
        return Ok(recovered);
    }
    let mut explained = explained_deaths(batch)?;
    let mut orphans = Vec::new();
    for (id, mark, cancel) in marks {
        if let Some(taken) = taken_entry(batch, id, &mark)? {
            let crashes = explained.crashes_of(id, &taken.record);
            orphans.push(Orphan { mark, taken, crashes, cancel });
        }
    }
    let there: Vec<Witness> = orphans.iter().map(Orphan::as_witness).collect();
    let blamed_id = blamed(&there);
    if let Some(orphan) = orphans.iter().find(|orphan| blamed_id == Some(orphan.taken.id)) {
        explained.add(orphan.taken.id, &orphan.taken.record, batch.now.wall);
        batch.tables.meta()?.insert(EXPLAINED_DEATHS, codec::encode(&explained).as_slice())?;
    }
    let mut suspects = Vec::new();
    for orphan in orphans {
        let blamed = blamed_id == Some(orphan.taken.id);
        suspects.extend(bring_back(batch, orphan, blamed, &mut recovered)?);
    }
    recovered.trial = Trial::new(suspects, dead_by);
    batch.clear_marks()?;
    Ok(recovered)
}

/// The key of the row in `meta`. A file in which no job was ever held responsible has no such row.
const EXPLAINED_DEATHS: &str = "explained_deaths";

/// The deaths that need no further explanation. If the row is damaged there are none: jobs are only found later then.
fn explained_deaths(batch: &mut Batch<'_>) -> Result<ExplainedDeaths, Fault> {
    let row = batch.tables.meta()?.get_row(EXPLAINED_DEATHS)?;
    Ok(row.and_then(|row| codec::decode(TableName::Meta, 3, &row).ok()).unwrap_or_default())
}

/// A job that a handler had.
struct Orphan {
    mark: StartMark,
    taken: Arc<ReadyJob>,
    /// Deaths before this one at which it ran, and for which no other job was held responsible.
    crashes: u32,
    /// Why its cancel was requested, if it was.
    cancel: Option<String>,
}

impl Orphan {
    fn as_witness(&self) -> Witness {
        Witness { id: self.taken.id, deaths: self.crashes.saturating_add(1), alone: self.mark.alone }
    }
}

fn bring_back(
    batch: &mut Batch<'_>,
    orphan: Orphan,
    blamed: bool,
    recovered: &mut Recovered,
) -> Result<Option<Suspect>, Fault> {
    let Orphan { mark, taken, crashes, cancel } = orphan;
    let id = taken.id;
    let mut record = taken.record.clone();
    let attempt = AttemptNumber::of_mark(mark.attempt, mark.max_attempts, mark.started_at);
    let queue = mark.queue;
    if !record.has_steps() && batch.had_steps(id)? {
        record.extra_mut().has_steps = true;
    }
    if let Some(reason) = cancel {
        cancel_orphan(batch, queue, (&taken, record), attempt, reason)?;
        return Ok(None);
    }
    record.extra_mut().crashes = crashes;
    let mut transition = after_crash(&mut record, attempt, blamed, batch.now);
    if let Some(ends) = batch.end_to_undo_before(id, &record, transition, attempt)? {
        transition = undo_after_crash(&mut record, ends);
        batch.tell_undoing(id, queue, &record);
    }
    match transition {
        Transition::End(State::Dead) => {
            let from = OldHome::Handler { taken: &taken, row_was_there: None };
            batch.apply(Move { id, queue, transition, from, to: NewHome::Ended { record: &record, kept: true } })?;
            let first = batch.queue(queue).tally.dead == 1;
            let event =
                Event::dead(id, batch.queue(queue).name, batch.catalog().kind_name(record.kind), &record, first);
            batch.event(|| event);
            recovered.dead.push(Died { id, queue, record });
            Ok(None)
        }
        _ => {
            let is_last_attempt = attempt.leaves_one_to(&record);
            let back = batch.give_back(queue, taken, Some(record), true)?;
            let started_at = mark.started_at;
            Ok(back.map(|job| Suspect { queue, job, started_at, is_last_attempt, is_held_back: false }))
        }
    }
}

/// Ends a job whose cancel was requested before the process died.
fn cancel_orphan(
    batch: &mut Batch<'_>,
    queue: QueueId,
    (taken, mut record): (&Arc<ReadyJob>, Record),
    attempt: AttemptNumber,
    reason: String,
) -> Result<(), Fault> {
    let id = taken.id;
    // The mark can have been written for the request alone, and then it does not know the attempt.
    let attempt = AttemptNumber { number: record.attempts.saturating_add(1), ..attempt };
    let transition = cancel_after_crash(&mut record, attempt, &reason, batch.now);
    if let Some(ends) = batch.end_to_undo_before(id, &record, transition, attempt)? {
        undo_after_crash(&mut record, ends);
        batch.tell_undoing(id, queue, &record);
        batch.give_back(queue, taken.clone(), Some(record), true)?;
        return Ok(());
    }
    let from = OldHome::Handler { taken, row_was_there: None };
    batch.end_job(id, queue, transition, from, &record)?;
    let (queue, kind) = (batch.queue(queue).name, batch.catalog().kind_name(record.kind));
    batch.event(|| Event::Cancelled { id, queue, kind, reason });
    Ok(())
}

/// The job's row as it was handed out, or nothing if it has ended after all.
fn taken_entry(batch: &mut Batch<'_>, id: JobId, mark: &StartMark) -> Result<Option<Arc<ReadyJob>>, Fault> {
    let Some(Location { queue, place }) = batch.locate_in(mark.queue, id)? else { return Ok(None) };
    let could_run = match &place {
        Place::Ready { .. } => true,
        Place::Member(member) => !member.parked,
        _ => false,
    };
    let row = if could_run { batch.row_at(queue, id, &place)? } else { None };
    let Some(row) = row else { return Ok(None) };
    match decode_record(place.table(), id.get(), &row) {
        Ok(record) => Ok(Some(Arc::new(ReadyJob::new(id, mark.position, record, row.len())))),
        Err(_) => {
            batch.quarantine_job(id)?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::job::{Priority, Record};
    use crate::storage::Store;
    use crate::storage::rows::batch::Counters;
    use crate::storage::rows::prepared::Prepared;
    use crate::time::{Now, Timestamp};

    const NEW_YEAR_2026: u64 = 1_767_225_600_000;

    fn at(wall: u64) -> Now {
        Now { wall: Timestamp::from_millis(wall), ..Now::default() }
    }

    /// A file, and what a process knows of it.
    struct File {
        store: Store,
        counters: Counters,
        marks: BTreeSet<JobId>,
        jobs: Vec<JobId>,
    }

    impl File {
        fn new() -> Self {
            let store = Store::in_memory();
            Self { counters: store.load().unwrap(), store, marks: BTreeSet::new(), jobs: Vec::new() }
        }

        fn commit<T>(&mut self, now: Now, write: impl FnOnce(&mut Batch<'_>, &mut Vec<JobId>) -> T) -> T {
            let txn = self.store.begin_write().unwrap();
            let mut batch = Batch::new(&txn, &self.store.catalog, self.counters, &self.marks, now, false);
            let written = write(&mut batch, &mut self.jobs);
            let sealed = batch.close().unwrap();
            self.store.commit(txn).unwrap();
            self.store.catalog.committed(sealed.rows, &sealed.kinds, &[]);
            self.counters = sealed.counters;
            written
        }

        /// Stores jobs of which each was there at `crashes` deaths.
        fn add(&mut self, jobs: usize, crashes: u32, now: Now) {
            self.commit(now, |batch, ids| {
                let kind = batch.kind_named("kind").unwrap();
                batch.stored_kind(kind);
                let queue = batch.queue_named("q").unwrap();
                for _ in 0..jobs {
                    let mut record = Record { kind, ..Record::plain() };
                    for number in 1..=crashes {
                        let attempt = AttemptNumber { number, max: 50, once: false, started_at: now.wall };
                        after_crash(&mut record, attempt, false, now);
                    }
                    ids.push(batch.insert(&mut Prepared::new(queue, record, None)).unwrap());
                }
            });
        }

        /// Starts jobs beside each other, of which each has at most so many attempts, and lets the process die. Returns what
        /// the next one finds at `opened`.
        fn die(&mut self, jobs: &[usize], attempt: (u32, u32), started: Now, opened: Now) -> Recovered {
            let running = self.commit(started, |batch, ids| {
                let queue = batch.queue_named("q").unwrap();
                let start = |job: &usize| {
                    let id = ids[*job];
                    let (priority, position, (attempt, max_attempts)) = (Priority::default().get(), id.get(), attempt);
                    let started_at = started.wall;
                    let mark = StartMark { queue, priority, position, attempt, max_attempts, started_at, alone: false };
                    batch.hand_out(id, &mark).unwrap();
                    id
                };
                jobs.iter().map(start).collect()
            });
            self.marks = running;
            let recovered = self.commit(opened, |batch, _| recover(batch).unwrap());
            self.marks.clear();
            recovered
        }
    }

    /// How long half of the suspects are held back after a fourth death, if all started at `started` and the file is opened
    /// again at `opened`, by the wall clock.
    fn hold(started: u64, opened: u64) -> Duration {
        let mut file = File::new();
        file.add(4, 3, at(started));
        let trial = file.die(&[0, 1, 2, 3], (4, 50), at(started), at(opened)).trial;
        assert_eq!(trial.suspects.iter().filter(|suspect| suspect.is_held_back).count(), 2);
        trial.hold
    }

    #[test]
    fn a_job_that_ran_when_several_others_killed_the_process_is_not_held_responsible() {
        const BESIDE: usize = 0;
        let mut file = File::new();
        file.add(5, 0, at(NEW_YEAR_2026));
        let mut died = |time: u64, jobs: &[usize], attempt: u32| {
            let time = NEW_YEAR_2026 + time;
            let dead = file.die(jobs, (attempt, 3), at(time), at(time + 5)).dead;
            dead.iter().map(|died| file.jobs.iter().position(|id| *id == died.id).unwrap()).collect::<Vec<_>>()
        };
        for (time, killer) in (1..).zip(1..5) {
            let time = time * 100;
            assert_eq!(died(time, &[killer, BESIDE], 3), [0; 0]);
            assert_eq!(died(time + 10, &[killer], 3), [0; 0]);
            assert_eq!(died(time + 20, &[killer], 3), [killer], "it was at three deaths, and no other job ran at two");
        }
    }

    #[test]
    fn suspects_are_held_back_by_their_deaths_if_the_clock_does_not_say_how_long_they_ran() {
        let by_deaths = Duration::from_secs(320);
        assert_eq!(hold(NEW_YEAR_2026, NEW_YEAR_2026 + 10_000), Duration::from_secs(11), "no longer than they ran");
        assert_eq!(hold(NEW_YEAR_2026, 20_000), by_deaths, "it was set back between the crash and the open");
        assert_eq!(hold(NEW_YEAR_2026, NEW_YEAR_2026 - 1), by_deaths);
        assert_eq!(hold(20_000, 21_000), by_deaths, "the machine starts in 1970 each time");
    }
}
