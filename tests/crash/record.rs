//! Runs the workload on one disk, from one crash to the next, and finds what the file holds after each
//! commit.

use std::collections::BTreeSet;

use fastrand::Rng;
use millpond::Clock;
use millpond::testing::ManualClock;
use millpond_testkit::{CUT_POLICIES, Image, LogEntry, SimDisk, Walk};
use redb::Database;

use crate::engine::clock_at;
use crate::observations::{Observation, Observations, Refusal};
use crate::raw::{self, Dump};
use crate::workload::{DEAD, DONE, ROWS, Workload};

/// What the file holds between two commits.
#[derive(Clone, Debug)]
pub struct State {
    pub dump: Dump,
    pub sum: u64,
    /// No job with a greater id has been stored so far.
    pub max_id: u64,
    /// How many entries of the log had been carried out when this state was durable.
    pub since: usize,
}

/// What happened to a disk. The marks in its log are numbers of states: `Start(k)` where the commit
/// that makes `k` may begin, `Ack(k)` where `k` has been observed from outside.
pub struct Epoch {
    pub seed: u64,
    pub number: usize,
    pub found: Image,
    pub log: Vec<LogEntry>,
    pub states: Vec<State>,
    /// What the clock shows at the end.
    pub clock: ManualClock,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The number of runs, each from one crash to the next.
    pub epochs: usize,
    /// The number of steps in each of them.
    pub steps: usize,
}

/// What was done and observed, before the states are known.
#[derive(Clone)]
pub struct Take {
    pub found: Image,
    pub log: Vec<LogEntry>,
    /// Each observation with its position in the log, in order.
    pub observed: Vec<(usize, Observation)>,
    pub observations: Observations,
    /// No earlier job has a greater id.
    pub max_id: u64,
}

/// Runs the workload of this seed. The first queue is created in a file that the application already has.
pub fn record(seed: u64, size: Size) -> Result<Vec<Epoch>, String> {
    let mut rng = Rng::with_seed(seed);
    let (mut found, mut max_id, mut next_tag) = (app_file(), 0, 0);
    let clock = ManualClock::new();
    let mut epochs = Vec::new();
    for number in 0..size.epochs {
        let wrong = |what: String| format!("epoch {number}: {what}");
        let take = take(rng.u64(..), size.steps, found.clone(), &clock, &mut next_tag, max_id).map_err(wrong)?;
        let (log, states) = resolve(&take).map_err(wrong)?;
        let epoch = Epoch { seed, number, found, log, states, clock: clock_at(clock.wall()) };
        (found, max_id) = somewhere(&epoch, &mut rng);
        epochs.push(epoch);
    }
    Ok(epochs)
}

/// Runs the workload on a disk that holds `found`.
pub fn take(
    seed: u64,
    steps: usize,
    found: Image,
    clock: &ManualClock,
    next_tag: &mut u64,
    max_id: u64,
) -> Result<Take, String> {
    let disk = SimDisk::holding(found.clone()).recorded();
    let mut work = Workload::open(seed, &disk, clock, *next_tag).map_err(|error| error.to_string())?;
    work.run(steps);
    *next_tag = work.next_tag();
    let observations = work.observations.clone();
    work.cut_off();
    Ok(Take { found, log: disk.take_log(), observed: observations.take_observed(), observations, max_id })
}

/// An application's file, as redb leaves it when it is closed.
pub fn app_file() -> Image {
    let disk = SimDisk::new();
    let db = Database::builder().create_with_backend(disk.clone()).expect("memory");
    let txn = db.begin_write().expect("memory");
    txn.open_table(ROWS).expect("memory").insert(0, 1).expect("memory");
    txn.commit().expect("memory");
    drop(db);
    disk.image()
}

/// Cuts the power at some moment. Returns what is left, and the greatest id that must not be used again.
fn somewhere(epoch: &Epoch, rng: &mut Rng) -> (Image, u64) {
    let end = rng.usize(epoch.log.len() / 2..epoch.log.len());
    let mut walk = Walk::new(epoch.found.clone(), &epoch.log);
    while walk.at() < end {
        walk.step();
    }
    let policy = CUT_POLICIES[rng.usize(0..CUT_POLICIES.len())];
    let image = walk.cut(policy, rng);
    (image, epoch.states[walk.acked as usize].max_id)
}

/// Finds the states that the disk held, and checks the observations against them.
pub fn resolve(take: &Take) -> Result<(Vec<LogEntry>, Vec<State>), String> {
    let Take { found, log, observed, observations, max_id } = take;
    let mut observed = observed.iter().copied().peekable();
    let mut states = vec![state(found.clone(), *max_id, 0)?];
    let mut resolved = vec![LogEntry::Start(1)];
    let mut walk = Walk::new(found.clone(), log);
    loop {
        while let Some((_, what)) = observed.next_if(|(at, _)| *at <= walk.at()) {
            let now = states.last().expect("the first");
            check_observation(what, observations, now)
                .map_err(|error| format!("entry {}, {what:?}: {error}", walk.at()))?;
            resolved.push(LogEntry::Ack(states.len() as u64 - 1));
        }
        let Some(entry) = walk.step() else { break };
        resolved.push(entry.clone());
        if *entry == LogEntry::Sync {
            let last = states.last().expect("the first");
            let next = state(walk.durable().clone(), last.max_id, walk.at())?;
            if next.sum != last.sum {
                check_succession(&last.dump, &next.dump, observations)?;
                states.push(next);
                resolved.push(LogEntry::Start(states.len() as u64));
            }
        }
    }
    check_rows(observations, &states)?;
    Ok((resolved, states))
}

fn state(image: Image, max_id: u64, since: usize) -> Result<State, String> {
    let (dump, sum) =
        raw::read_image(image, |read| Ok((raw::dump(read)?, raw::sum(read)?))).map_err(|e| e.to_string())?;
    let last = dump.live.iter().chain(&dump.ended).max().copied();
    Ok(State { sum, max_id: max_id.max(last.unwrap_or(0)), dump, since })
}

/// Checks that what was observed was already durable.
fn check_observation(observed: Observation, observations: &Observations, state: &State) -> Result<(), String> {
    match observed {
        Observation::Opened => Ok(()),
        Observation::Started(id) if state.dump.stopping.contains(&id) => {
            Err(format!("job {id} has started, and its cancel is durable"))
        }
        Observation::Started(id) if state.dump.live.contains(&id) => Ok(()),
        Observation::Started(id) => Err(format!("job {id} has started and is not durable")),
        Observation::Saw(sum) if sum == state.sum => Ok(()),
        Observation::Saw(_) => Err("readers read something that is not on the disk".into()),
        Observation::Answer(call) => {
            let asked = observations.asked(call);
            match &asked.answer {
                Some(Ok(_)) if asked.fails => Err(format!("{asked:?} succeeded")),
                Some(Ok(ids)) => {
                    let requested = |id: &u64| observations.asked_to_stop().contains(id);
                    if let Some(id) = asked.cancels.filter(requested)
                        && state.dump.live.contains(&id)
                        && !state.dump.stopping.contains(&id)
                    {
                        return Err(format!("job {id} was asked to stop, and that is not durable"));
                    }
                    let rows = &state.dump.rows;
                    let missing_row = asked.rows.iter().find(|&&row| rows.get(&(name(ROWS), row)) != Some(&1));
                    // A job whose expiry has passed while its call waited for room has ended already.
                    let may_expire = |tag: Option<&u64>| tag.is_some_and(|tag| observations.expiring().contains(tag));
                    let is_there = |(id, tag): (&u64, Option<&u64>)| {
                        // One that was stored and dropped in the same commit was never there.
                        state.dump.live.contains(id)
                            || (state.dump.ended.contains(id) && may_expire(tag))
                            || observations.is_dropped(*id)
                    };
                    let tags = asked.tags.iter().map(Some).chain(std::iter::repeat(None));
                    let missing_job = ids.iter().zip(tags).find(|job| !is_there(*job)).map(|(id, _)| id);
                    match (missing_row, missing_job) {
                        (None, None) => Ok(()),
                        missing => Err(format!("{asked:?} is not durable: {missing:?}")),
                    }
                }
                _ => Ok(()),
            }
        }
    }
}

fn name(table: redb::TableDefinition<'_, u64, u64>) -> String {
    redb::TableHandle::name(&table).to_owned()
}

/// Checks that every earlier job still exists, unless it has ended in a way that leaves no row.
fn check_succession(before: &Dump, after: &Dump, observations: &Observations) -> Result<(), String> {
    let released = observations.released();
    // An expired job need not leave a row, and neither need one that was to be cancelled.
    let is_gone = |id: &u64| released.contains(id) || before.expiring.contains(id) || before.stopping.contains(id);
    let is_there = |id: &u64| after.live.contains(id) || after.ended.contains(id) || is_gone(id);
    match before.live.iter().find(|id| !is_there(id)) {
        Some(id) => Err(format!("job {id} is lost")),
        None => match after.live.intersection(&after.ended).next() {
            Some(id) => Err(format!("job {id} is both ended and unfinished")),
            None => Ok(()),
        },
    }
}

/// Checks that no row was written twice, and none by a call that failed.
fn check_rows(observations: &Observations, states: &[State]) -> Result<(), String> {
    let refused = |asked: &crate::observations::Asked| matches!(asked.answer, Some(Err(Refusal::No(_))));
    let forbidden: BTreeSet<u64> =
        observations.all().iter().filter(|asked| refused(asked)).flat_map(|a| a.rows.clone()).collect();
    for state in states {
        for ((table, row), count) in &state.dump.rows {
            // A job that was redriven can become dead again; how often is compared with the counts.
            if *count != 1 && *table != name(DEAD) {
                return Err(format!("row {row} of {table} was written {count} times"));
            }
            if *table == name(ROWS) && forbidden.contains(row) {
                return Err(format!("row {row} was written by a call that failed"));
            }
            if *table == name(DONE) && state.dump.live.contains(row) {
                return Err(format!("job {row} has written its completion and is unfinished"));
            }
        }
    }
    Ok(())
}
