//! Checks the conditions of the application's alarms, and tells when one begins and when it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::own_thread::{Chore, OwnThread};
use crate::alarms::{Action, Alarm, AlarmChange, Condition};
use crate::error::Error;
use crate::error::panics::catch;
use crate::job::QueueId;
use crate::runtime::engine::Engine;
use crate::sync::Mutex;
use crate::time::Now;

/// The conditions are meant for people, who need not know earlier.
const CHORE: Chore =
    Chore { every: Duration::from_secs(10), thread: "millpond-alarms", undone: "alarms could not be checked" };

/// How many queues a check looks at for one alarm, at most: for one about ready jobs it reads the file for each.
const QUEUES_MAX: usize = 1_000;

/// Checks the alarms, on a thread of its own: a check reads the file, and calls code of the application.
#[derive(Default)]
pub(in crate::runtime) struct AlarmWatch {
    thread: OwnThread,
    has_any: bool,
    watched: Arc<Watched>,
}

/// The alarms. Only the thread that checks locks this.
#[derive(Default)]
struct Watched(Mutex<Vec<WatchedAlarm>>);

struct WatchedAlarm {
    alarm: Alarm,
    /// Where the condition holds, as it was told.
    told: Holds,
}

/// The queues in which a condition holds (`None` for the whole file), each with a sentence about it.
type Holds = BTreeMap<Option<Arc<str>>, String>;

impl AlarmWatch {
    pub fn of(alarms: Vec<Alarm>) -> Self {
        let has_any = !alarms.is_empty();
        let alarms = alarms.into_iter().map(|alarm| WatchedAlarm { alarm, told: Holds::new() }).collect();
        Self { has_any, watched: Arc::new(Watched(Mutex::new(alarms))), thread: OwnThread::default() }
    }

    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if !self.has_any || engine.is_stepped() {
            return Duration::MAX;
        }
        let (engine, watched) = (engine.clone(), self.watched.clone());
        self.thread.run_once(&CHORE, now, move || watched.check(&engine))
    }
}

impl Watched {
    fn check(&self, engine: &Arc<Engine>) {
        for watched in self.0.lock().unwrap_or_else(|e| e.into_inner()).iter_mut() {
            // What cannot be read at the moment stays as it was told.
            let Ok(holds) = holds(engine, &watched.alarm) else { continue };
            for change in changes(watched.alarm.condition, &watched.told, &holds) {
                tell(engine, &watched.alarm, &AlarmChange { at: engine.wall_now(), ..change });
            }
            watched.told = holds;
        }
    }
}

/// Where the condition of an alarm holds now.
fn holds(engine: &Arc<Engine>, alarm: &Alarm) -> Result<Holds, Error> {
    if alarm.condition == Condition::Degraded {
        let degraded = engine.degraded();
        return Ok(degraded.map(|reason| (None, format!("the queue cannot work: {reason}"))).into_iter().collect());
    }
    let queues = match &alarm.queue {
        Some(queue) => engine.find_queue(queue).into_iter().collect(),
        None => engine.stored_queues(),
    };
    let mut holds = Holds::new();
    for queue in queues.into_iter().take(QUEUES_MAX) {
        let name = engine.queue_name(queue);
        if let Some(text) = holds_in(engine, alarm.condition, queue, &name)? {
            holds.insert(Some(name), text);
        }
    }
    Ok(holds)
}

/// A sentence about the condition, if it holds in this queue.
fn holds_in(engine: &Arc<Engine>, condition: Condition, queue: QueueId, name: &str) -> Result<Option<String>, Error> {
    Ok(match condition {
        Condition::DeadLetters { over } => {
            let dead = engine.tally(queue).dead;
            (dead > over).then(|| format!("queue `{name}` has {dead} dead letters, more than {over}"))
        }
        Condition::OldestReady { over } => {
            let age = engine.oldest_ready_age(queue)?.filter(|age| *age > over);
            age.map(|age| format!("in queue `{name}` a job has been ready for {age:?}, longer than {over:?}"))
        }
        Condition::CircuitOpen => match engine.circuits_held(queue) {
            (true, _) => Some(format!("the circuit of queue `{name}` is open")),
            (false, 0) => None,
            (false, groups) => Some(format!("the circuits of {groups} groups of queue `{name}` are open")),
        },
        Condition::Degraded => None,
    })
}

/// What has begun and what has ended.
fn changes(condition: Condition, before: &Holds, now: &Holds) -> Vec<AlarmChange> {
    let change = |begins, queue: &Option<Arc<str>>, text| AlarmChange {
        alarm: condition.name(),
        begins,
        queue: queue.as_deref().map(str::to_owned),
        text,
        at: Default::default(),
    };
    let begun = now.iter().filter(|(queue, _)| !before.contains_key(*queue));
    let ended = before.keys().filter(|queue| !now.contains_key(*queue));
    let begun = begun.map(|(queue, text)| change(true, queue, text.clone()));
    begun.chain(ended.map(|queue| change(false, queue, condition.ended(queue.as_deref())))).collect()
}

fn tell(engine: &Arc<Engine>, alarm: &Alarm, change: &AlarmChange) {
    if alarm.actions.is_empty() {
        log(change);
    }
    for action in &alarm.actions {
        match action {
            Action::Call(tell) => {
                if let Err(panic) = catch(|| tell(change)) {
                    tracing::error!(panic = panic.text(), alarm = change.alarm, "the function of an alarm panicked");
                }
            }
            Action::Enqueue { queue, job } => {
                let enqueued = catch(|| {
                    let job = engine.prepare(queue, job(change)).map(|job| vec![job]);
                    engine.enqueue(job).wait()
                });
                let error = match enqueued {
                    Ok(Ok(_)) => continue,
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => format!("the function that makes the job panicked: {}", panic.text()),
                };
                tracing::warn!(error, queue, "the job about an alarm could not be enqueued");
                log(change);
            }
        }
    }
}

fn log(change: &AlarmChange) {
    let (alarm, queue) = (change.alarm, change.queue.as_deref());
    match change.begins {
        true => tracing::warn!(alarm, queue, "alarm: {}", change.text),
        false => tracing::info!(alarm, queue, "alarm has ended: {}", change.text),
    }
}
