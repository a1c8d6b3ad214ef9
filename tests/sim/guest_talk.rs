//! Turns what the guests of a world log, and what the engine logs about their ends, into notes like those of the other
//! handlers. A world has one thread: whatever is logged on it belongs to that world.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::Clock;
use millpond::testing::ManualClock;
use millpond_testkit::{JobSpec, When};

use crate::handlers::{Act, Note, Stage};
use crate::plan::{KINDS, PluginPlan};

thread_local! {
    static WORLD: RefCell<Option<Listening>> = const { RefCell::new(None) };
}

/// What a guest reports at its start in addition to what every handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestStart {
    pub deployment: u16,
    pub version: u64,
}

struct Listening {
    stage: Arc<Mutex<Stage>>,
    clock: ManualClock,
    plan: PluginPlan,
    /// The longest attempt that the worker of each deployment allows.
    timeouts: Vec<Duration>,
    /// The running attempts by job id: number, run, and the end that the guest has announced.
    under_way: BTreeMap<u64, (u64, u32, Option<Act>)>,
    ids: BTreeMap<u64, u64>,
    /// When a job's guest read how much time was left.
    time_read: BTreeMap<u64, Duration>,
    /// When the running attempts were handed out, by job id.
    handed_out: BTreeMap<u64, u64>,
}

/// From now on the guests of this thread belong to this world.
pub fn listen(stage: Arc<Mutex<Stage>>, clock: ManualClock, plan: PluginPlan) {
    let (timeouts, under_way, ids, time_read, handed_out) = Default::default();
    WORLD.set(Some(Listening { stage, clock, plan, timeouts, under_way, ids, time_read, handed_out }));
}

/// Called before a worker with this timeout starts with a plugin. Returns the number of the deployment.
#[cfg(feature = "wasm")]
pub fn deploy(timeout: Duration) -> u16 {
    WORLD.with_borrow_mut(|world| {
        let timeouts = &mut world.as_mut().expect("a world listens").timeouts;
        timeouts.push(timeout);
        (timeouts.len() - 1) as u16
    })
}

/// The process has ended, and its attempts with it.
pub fn forget() {
    WORLD.with_borrow_mut(|world| world.as_mut().expect("a world listens").under_way.clear());
}

/// Handles a guest's log line.
pub fn logged(line: &str) {
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            world.handle_line(line);
        }
    });
}

/// The engine logged when an attempt was handed out, on the monotonic clock in nanoseconds.
pub fn handed_out(id: u64, at: u64) {
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            world.handed_out.insert(id, at);
        }
    });
}

/// When this job's running attempt was handed out.
pub fn when_handed_out(id: u64) -> Option<u64> {
    WORLD.with_borrow(|world| world.as_ref().and_then(|world| world.handed_out.get(&id).copied()))
}

/// The engine logged that an attempt has ended.
pub fn ended(id: u64, queue: &str, kind: &str) {
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            world.end(id, queue, kind);
        }
    });
}

/// Reads numbers of 16 letters each, the lowest 4 bits first. Returns the rest of the text with them.
fn numbers<const N: usize>(text: &str) -> ([u64; N], &str) {
    let (letters, rest) = text.split_at(16 * N);
    let mut numbers = [0; N];
    for (number, letters) in numbers.iter_mut().zip(letters.as_bytes().chunks(16)) {
        *number = letters.iter().rev().fold(0, |number, letter| number << 4 | u64::from(letter - b'A'));
    }
    (numbers, rest)
}

fn act(how: u64, delay: u64, nonce: u64) -> Act {
    let millis = delay / 1_000_000;
    match how {
        0 | 1 => Act::Kept(nonce),
        2 => Act::Fail,
        3 => Act::RetryAfter(millis),
        4 => Act::Snooze(millis),
        5 => Act::DeadLetter,
        6 | 7 => Act::Broke,
        other => unreachable!("no guest ends like this: {other}"),
    }
}

/// The follow-up job that a guest makes of a number that it drew.
fn child(drawn: u64, queues: usize, groups: u8) -> JobSpec {
    let bits = |from: u32, mask: u64| (drawn >> from & mask) as usize;
    let groups = usize::from(groups);
    let group = (bits(51, 3) < 2 && groups > 0).then(|| (bits(53, 3) % groups) as u8);
    let when = match [0, 0, 30, 1_000][bits(55, 3)] {
        0 => When::Now,
        delay => When::Delay(delay),
    };
    let max = bits(59, 3) as u32;
    JobSpec {
        n: CHILD_BIT | (drawn & 0xFFFF_FFFF_FFFF),
        queue: bits(48, 3) % queues,
        group,
        priority: [5, 5, 0, 9][bits(57, 3)],
        kind: bits(50, 1),
        when,
        max: (max >= 2).then_some(max),
        ..JobSpec::PLAIN
    }
}

/// Set in the numbers of guests' follow-up jobs, so that no other job has one of them.
pub const CHILD_BIT: u64 = 1 << 50;

impl Listening {
    fn note(&self, note: Note) {
        self.stage.lock().expect("no thread panics while it holds the lock").notes.push(note);
    }

    fn handle_line(&mut self, line: &str) {
        let (tag, said) = line.split_at(1);
        match tag {
            "T" => {
                let ([n], _) = numbers(said);
                self.time_read.insert(n, self.clock.monotonic());
            }
            "S" => self.start(said),
            "R" => {
                let ([n, seen, before], _) = numbers(said);
                self.note(Note::Read { n, seen, before });
            }
            "C" => {
                let ([n, drawn, refused], _) = numbers(said);
                let (queues, groups) = {
                    let stage = self.stage.lock().expect("no thread panics while it holds the lock");
                    (stage.queues, stage.groups)
                };
                let run = self.under_way[&self.ids[&n]].1;
                let child = child(drawn, queues, groups);
                self.note(Note::Child { n, run, child, accepted: refused == 0 });
            }
            "E" => {
                let ([n, how, delay, nonce], _) = numbers(said);
                let run = self.under_way.get_mut(&self.ids[&n]).expect("it has begun");
                run.2 = Some(act(how, delay, nonce));
            }
            // The host logs only how many lines it dropped, and it drops none.
            other => panic!("no guest says {other}{said}"),
        }
    }

    fn start(&mut self, said: &str) {
        let ([n, attempt, max, left, calls, told, own, version], id) = numbers(said);
        let id: u64 = id.parse().expect("an id is a number");
        let letters = told.to_le_bytes();
        let deployment = letters[4..].iter().rev().fold(0, |number, letter| number << 4 | u16::from(letter - b'A'));
        let timeout = match own {
            0 => self.timeouts[usize::from(deployment)],
            own => Duration::from_millis(own),
        };
        let (timeout, left) = (timeout.min(self.plan.time), Duration::from_nanos(left));
        let taken = self.handed_out.get(&id).copied();
        // An attempt that has no time left when the guest reads it may have run out of time long before.
        let deadline = u64::try_from((self.time_read[&n] + left).as_nanos()).ok();
        assert!(left <= timeout, "no attempt has more time than it was given");
        let run = {
            let mut stage = self.stage.lock().expect("no thread panics while it holds the lock");
            let run = stage.runs.entry(n).and_modify(|runs| *runs += 1).or_insert(1);
            *run
        };
        self.ids.insert(n, id);
        self.under_way.insert(id, (n, run, None));
        let guest = Some(GuestStart { deployment, version });
        let (attempt, max, child) = (attempt as u32, max as u32, None);
        self.note(Note::Start { n, id, attempt, max, taken, deadline, run, number: None, child, guest });
        if calls > 1 {
            self.note(Note::Reused { n, calls });
        }
    }

    fn end(&mut self, id: u64, queue: &str, kind: &str) {
        let Some(kind) = KINDS.iter().position(|known| *known == kind) else { return };
        let queue: usize = queue[1..].parse().expect("a name that the simulation made");
        if !self.plan.is_plugin(queue, kind) {
            return;
        }
        match self.under_way.remove(&id) {
            Some((n, run, act)) => self.note(Note::End { n, run, act }),
            None => self.note(Note::Unseen { id }),
        }
    }
}
