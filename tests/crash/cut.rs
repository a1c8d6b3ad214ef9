//! Cuts the power at every point of a log and checks what is left.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;

use crate::raw;
use crate::record::{Epoch, State};
use crate::recovery;
use millpond_testkit::{CUT_POLICIES, CutPolicy, Image, LogEntry, Walk};

/// Of the images that equal an earlier one, the engine opens one in this many as well.
const SAMPLE: u64 = 400;

/// Of the recoveries, one in this many is itself crashed at every point.
const AGAIN: u64 = 10;

/// Where the power is cut, and what is left: enough to repeat the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub seed: u64,
    pub epoch: usize,
    /// The number of entries of the log that were carried out.
    pub at: usize,
    pub policy: CutPolicy,
    pub again: u64,
}

impl Cut {
    fn rng(self) -> Rng {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.epoch, self.at, self.policy, self.again).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, epoch, at, policy, again } = self;
        write!(f, "{seed}.{epoch}.{at}.{policy:?}.{again}")
    }
}

impl std::str::FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let [seed, epoch, at, policy, again] = parts[..] else {
            return Err(format!("{text} does not have five parts"));
        };
        let number = |part: &str| part.parse::<u64>().map_err(|error| format!("{part}: {error}"));
        let policy = CUT_POLICIES.into_iter().find(|known| format!("{known:?}") == policy);
        Ok(Self {
            seed: number(seed)?,
            epoch: number(epoch)? as usize,
            at: number(at)? as usize,
            policy: policy.ok_or_else(|| format!("{text} names no known policy"))?,
            again: number(again)?,
        })
    }
}

/// Counts of what was checked.
#[derive(Debug, Default)]
pub struct Tally {
    /// Images that were checked, each different from the others of the same moment.
    pub images: AtomicU64,
    /// Those of them that the engine opened and drained.
    pub drained: AtomicU64,
    /// Images of a second power cut, during the recovery from the first.
    pub second: AtomicU64,
}

/// What is to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The number of images for each moment and random policy.
    pub repeats: u64,
    /// Whether engines open the images, and are crashed again.
    pub deep: bool,
}

/// Cuts the power at every moment of the epochs, under every policy, on all processors. Stops at the
/// first image that is wrong.
pub fn everywhere(epochs: &[Epoch], plan: Plan, tally: &Tally) -> Result<(), (Cut, String)> {
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get());
    let wrong: Mutex<Option<(Cut, String)>> = Mutex::new(None);
    let seen: Mutex<HashSet<(u64, usize, u64)>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (wrong, seen) = (&wrong, &seen);
            scope.spawn(move || {
                for epoch in epochs {
                    let mut walk = Walk::new(epoch.found.clone(), &epoch.log);
                    while let Some(entry) = walk.step() {
                        if wrong.lock().unwrap().is_some() {
                            return;
                        }
                        // Losing an observation is possible only if a write is lost.
                        let is_moment = entry.is_operation() || walk.pending() > 0;
                        if !is_moment || walk.at() % threads != thread {
                            continue;
                        }
                        if let Err(found) = moment(epoch, &walk, plan, tally, seen) {
                            wrong.lock().unwrap().get_or_insert(found);
                            return;
                        }
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap().map_or(Ok(()), Err)
}

type Seen = Mutex<HashSet<(u64, usize, u64)>>;

/// Checks every image of one moment.
fn moment(epoch: &Epoch, walk: &Walk<'_>, plan: Plan, tally: &Tally, seen: &Seen) -> Result<(), (Cut, String)> {
    let mut kept = HashSet::new();
    for policy in CUT_POLICIES {
        let repeats = if policy.is_random() { plan.repeats } else { 1 };
        for again in 0..repeats {
            let cut = Cut { seed: epoch.seed, epoch: epoch.number, at: walk.at(), policy, again };
            let pieces = walk.pieces(policy, &mut cut.rng());
            if !kept.insert(number_of(&pieces)) {
                continue;
            }
            let image = walk.image(&pieces);
            let failed = |what| (cut, what);
            let state = which(epoch, walk, image.clone()).map_err(failed)?;
            let images = tally.images.fetch_add(1, Ordering::Relaxed);
            let new = seen.lock().unwrap().insert((epoch.seed, epoch.number, state.sum));
            if plan.deep && (new || images.is_multiple_of(SAMPLE)) {
                recovery::drains(image.clone(), state, &epoch.clock).map_err(failed)?;
                if tally.drained.fetch_add(1, Ordering::Relaxed).is_multiple_of(AGAIN) {
                    let second = recovery::crashes_again(image, state, &epoch.clock, &mut cut.rng()).map_err(failed)?;
                    tally.second.fetch_add(second, Ordering::Relaxed);
                }
            }
        }
    }
    Ok(())
}

/// Checks one image again.
pub fn replay(epoch: &Epoch, cut: Cut) -> Result<(), String> {
    let mut walk = Walk::new(epoch.found.clone(), &epoch.log);
    while walk.at() < cut.at && walk.step().is_some() {}
    let image = walk.image(&walk.pieces(cut.policy, &mut cut.rng()));
    let state = which(epoch, &walk, image.clone())?;
    recovery::drains(image.clone(), state, &epoch.clock)?;
    recovery::crashes_again(image, state, &epoch.clock, &mut cut.rng()).map(|_| ())
}

/// The state that is left: one whose successor was not observed.
fn which<'e>(epoch: &'e Epoch, walk: &Walk<'_>, image: Image) -> Result<&'e State, String> {
    let (acked, started) = (walk.acked as usize, (walk.started as usize).min(epoch.states.len() - 1));
    let sum = raw::read_image(image.clone(), raw::sum).map_err(|error| format!("redb does not open it: {error}"))?;
    if let Some(state) = epoch.states[acked..=started].iter().find(|state| state.sum == sum) {
        return Ok(state);
    }
    let dump = raw::read_image(image, raw::dump).map_err(|error| error.to_string())?;
    let other = epoch.states.iter().position(|state| state.sum == sum);
    Err(match other {
        Some(other) => format!("the image is state {other}, and not one of {acked} to {started}"),
        None => {
            format!(
                "the image is no known state; state {acked} differs in {}",
                dump.difference(&epoch.states[acked].dump)
            )
        }
    })
}

fn number_of(pieces: &[LogEntry]) -> u64 {
    let mut content = crc32fast::Hasher::new();
    let mut order = 0u32;
    for piece in pieces {
        let (at, len) = match piece {
            LogEntry::Write { offset, data } => {
                content.update(data);
                (*offset, data.len())
            }
            LogEntry::SetLen(len) => (*len, usize::MAX),
            _ => continue,
        };
        order = order.wrapping_mul(31).wrapping_add(at as u32).wrapping_mul(31).wrapping_add(len as u32);
    }
    u64::from(content.finalize()) << 32 | u64::from(order)
}
