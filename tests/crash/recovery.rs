//! Opens the file that a power cut has left, and checks what the engine makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::testing::ManualClock;
use millpond::{AttemptError, Clock, Context, FailureKind, Job, JobFilter, JobId, NewJob, State as JobState};
use millpond_testkit::{CUT_POLICIES, Image, SimDisk, Walk};

use crate::engine::{DOOMED, Engine, GROUPS, KIND, QUEUES, clock_at, is_kept};
use crate::observations::{Observation, Observations};
use crate::raw;
use crate::record::{State, Take, resolve};
use crate::topics;
use crate::workload::{DEAD, DRAINED, HOURS_MAX, STEPPED, count_up, tag_of, talks};

/// Of how many attempts a job keeps what they reported.
const LOGS_MAX: usize = 5;

/// Checks that every unfinished job of `state` runs to its end, once, and no other job does.
pub fn drains(image: Image, state: &State, clock: &ManualClock) -> Result<(), String> {
    let clock = clock_at(clock.wall());
    let disk = SimDisk::holding(image);
    let mut engine = Engine::open(&disk, &clock).map_err(|error| format!("it does not open: {error}"))?;
    sound(&mut engine)?;
    let kept = jobs_that_never_end(&engine)?;
    let live: BTreeSet<u64> = state.dump.live.difference(&kept).copied().collect();
    // A job whose cancel was requested while it ran does not run again.
    let (stopping, live): (BTreeSet<u64>, BTreeSet<u64>) =
        live.into_iter().partition(|id| state.dump.stopping.contains(id));
    if let Some(id) = stopping.into_iter().find(|id| has_not_ended(&engine, *id)) {
        return Err(format!("job {id} was asked to stop, and has not ended"));
    }
    let dead: BTreeSet<u64> = live.iter().copied().filter(|&id| is_dead(&engine, id)).collect();
    if let Some(id) = dead.iter().find(|id| !state.dump.running.contains(id)) {
        return Err(format!("job {id} did not run and is dead"));
    }
    let more = one_more(&mut engine, state.max_id)?;
    let ran: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    start_everything(&mut engine, &ran)?;
    let mut due: BTreeMap<u64, u32> =
        live.iter().filter(|id| !dead.contains(id)).chain([&more]).map(|&id| (id, 1)).collect();
    for _ in 0..HOURS_MAX {
        engine.run_until_quiet();
        let others = engine.pond.queues().into_iter().filter(|queue| !is_kept(queue.name()));
        if others.into_iter().all(|queue| queue.counts().unfinished() == 0) {
            break;
        }
        clock.advance(Duration::from_secs(3_600));
    }
    let ran = ran.lock().unwrap().clone();
    // A job whose expiry has passed ends without having run.
    due.retain(|id, _| !state.dump.expiring.contains(id) || ran.contains_key(id));
    if ran != due {
        let wrong = ran.keys().chain(due.keys()).find(|id| ran.get(id) != due.get(id)).expect("they differ");
        return Err(format!("job {wrong} ran {:?} times, not {:?}", ran.get(wrong), due.get(wrong)));
    }
    sound(&mut engine)?;
    let read = engine.pond.begin_read().map_err(|error| error.to_string())?;
    let left = raw::dump(&read).map_err(|error| error.to_string())?;
    drop(read);
    let drained = left.rows.iter().filter(|((table, _), _)| table == redb::TableHandle::name(&DRAINED));
    let written: BTreeMap<u64, u32> = drained.map(|((_, id), count)| (*id, *count as u32)).collect();
    if written != due {
        return Err("the handlers' rows were not written exactly once".into());
    }
    if let Some(id) = left.live.difference(&jobs_that_never_end(&engine)?).next() {
        return Err(format!("job {id} never ends"));
    }
    engine.cut_off();
    Ok(())
}

fn jobs_that_never_end(engine: &Engine) -> Result<BTreeSet<u64>, String> {
    let (mut kept, _) = engine.scheduled().map_err(|error| error.to_string())?;
    kept.extend(topics::ids(engine).map_err(|error| error.to_string())?);
    Ok(kept)
}

fn is_dead(engine: &Engine, id: u64) -> bool {
    engine.pond.job(JobId::new(id)).is_ok_and(|job| job.state == JobState::Dead)
}

fn has_not_ended(engine: &Engine, id: u64) -> bool {
    engine.pond.job(JobId::new(id)).is_ok_and(|job| job.state != JobState::Cancelled)
}

fn sound(engine: &mut Engine) -> Result<(), String> {
    let verify = engine.pond.verify();
    let found = engine.call(verify).map_err(|error| format!("it cannot be verified: {error}"))?;
    if !found.is_ok() {
        return Err(format!("verify: {:?}", found.problems));
    }
    // A run is one commit: its job is there, and it is counted.
    let (scheduled, runs) = engine.scheduled().map_err(|error| error.to_string())?;
    if scheduled.len() as u64 != runs {
        return Err(format!("schedules count {runs} runs, and {} jobs are there", scheduled.len()));
    }
    topics::sound(engine)?;
    logs_belong_to_ends(engine)?;
    let read = engine.pond.begin_read().map_err(|error| error.to_string())?;
    let dump = raw::dump(&read).map_err(|error| error.to_string())?;
    let stepped = |table: &str| table == redb::TableHandle::name(&STEPPED);
    if let Some(((_, id), count)) = dump.rows.iter().find(|((table, _), count)| stepped(table) && **count != 1) {
        return Err(format!("the step of job {id} has written {count} times"));
    }
    let rows = dump.rows.iter().filter(|((table, _), _)| table == redb::TableHandle::name(&DEAD));
    let written: u64 = rows.map(|(_, count)| *count).sum();
    let deaths: u64 = engine.pond.queues().iter().map(|queue| queue.counts().dead_total).sum();
    match written == deaths {
        true => Ok(()),
        false => Err(format!("{deaths} jobs became dead, and the hook has written {written} times")),
    }
}

/// What a handler has logged is written in one commit with the end of its attempt: a failed attempt has both its error and its log,
/// or neither.
fn logs_belong_to_ends(engine: &Engine) -> Result<(), String> {
    let page = engine.pond.jobs(&JobFilter::new(), None, 10_000).map_err(|error| error.to_string())?;
    for job in page.jobs.into_iter().filter(|job| !is_kept(&job.queue)) {
        let (id, talks) = (job.id, talks(tag_of(&job.payload.bytes)));
        for log in &job.logs {
            let line = log.lines.first().map(|line| line.text.clone());
            if !talks || log.lines.len() != 1 || line != Some(format!("{id} {}", log.attempt)) || log.ended_at.is_none()
            {
                return Err(format!("the log of job {id} is not what its handlers have logged: {job:?}"));
            }
        }
        let errors = job.errors.iter().filter(|error| error.kind != FailureKind::Crash);
        let has_log = |error: &AttemptError| {
            job.logs.iter().any(|log| (log.attempt, log.ended_at) == (error.attempt, Some(error.ended_at)))
        };
        if talks && job.logs.len() < LOGS_MAX && !errors.into_iter().all(has_log) {
            return Err(format!("an attempt of job {id} has an error and no log: {job:?}"));
        }
    }
    Ok(())
}

/// Makes one more commit, whose job must have an id that no other job had.
fn one_more(engine: &mut Engine, max_id: u64) -> Result<u64, String> {
    let more = engine.pond.enqueue("plain", NewJob::raw(KIND, 0u64.to_le_bytes().to_vec()));
    let id = engine.call(more).map_err(|error| format!("nothing can be written: {error}"))?.id.get();
    if id > max_id { Ok(id) } else { Err(format!("id {id} is used again: {max_id} was there")) }
}

pub fn start_everything(engine: &mut Engine, ran: &Arc<Mutex<BTreeMap<u64, u32>>>) -> Result<(), String> {
    for name in QUEUES.into_iter().chain(DOOMED) {
        let queue = engine.pond.queue(name).map_err(|error| error.to_string())?;
        let resumed = queue.resume();
        engine.call(resumed).map_err(|error| error.to_string())?;
        let resumed = queue.resume_kind(KIND);
        engine.call(resumed).map_err(|error| error.to_string())?;
        // Twice: a group can be paused, and held by a dead letter.
        for group in GROUPS.into_iter().chain(GROUPS) {
            let resumed = queue.resume_group(group);
            engine.call(resumed).map_err(|error| error.to_string())?;
        }
        let ran = ran.clone();
        let handler = move |job: Job<Bytes>, ctx: Context| {
            let id = job.id().get();
            *ran.lock().unwrap().entry(id).or_default() += 1;
            ctx.on_complete(move |tx| count_up(tx, DRAINED, id));
            async { Ok(()) }
        };
        engine.pond.worker(name).handle_raw(KIND, handler).start().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Cuts the power again while the engine recovers: the file must hold the state before the recovery or the
/// one after it. Returns the number of images that were checked.
pub fn crashes_again(image: Image, state: &State, clock: &ManualClock, rng: &mut Rng) -> Result<u64, String> {
    let clock = clock_at(clock.wall());
    let (disk, observations) = (SimDisk::holding(image.clone()).recorded(), Observations::default());
    let mut engine = Engine::open(&disk, &clock).map_err(|error| format!("it does not open: {error}"))?;
    observations.observe(&disk, Observation::Opened);
    engine.run_until_quiet();
    engine.cut_off();
    let observed = observations.take_observed();
    let take = Take { found: image, log: disk.take_log(), observed, observations, max_id: state.max_id };
    let (log, states) = resolve(&take)?;
    let mut walk = Walk::new(take.found, &log);
    let mut images = 0;
    while let Some(entry) = walk.step() {
        if !entry.is_operation() {
            continue;
        }
        for policy in CUT_POLICIES {
            let wrong = |what: String| format!("recovery, entry {}, {policy:?}: {what}", walk.at());
            let image = walk.cut(policy, rng);
            let (acked, started) = (walk.acked as usize, (walk.started as usize).min(states.len() - 1));
            let sum = raw::read_image(image.clone(), raw::sum).map_err(|error| wrong(error.to_string()))?;
            let allowed = &states[acked..=started];
            let Some(found) = allowed.iter().find(|state| state.sum == sum) else {
                return Err(wrong(format!("the image is no state of {acked} to {started}")));
            };
            if images % 97 == 0 {
                drains(image, found, &clock).map_err(wrong)?;
            }
            images += 1;
        }
    }
    Ok(images)
}
