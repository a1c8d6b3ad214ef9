//! A disk in memory.
//!
//! A power cut leaves everything up to the last sync, and any part of what was written after it, in any order, torn at
//! any sector. [`CutPolicy`] names the ways to choose that part. [`SimDisk::after_power_cut`] cuts the power now;
//! [`Walk`] goes through a record and cuts it at every operation.

mod fault;
mod image;
mod policy;
mod walk;

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use fastrand::Rng;

pub use fault::{Failure, Fault, Op};
pub use image::Image;
pub use policy::{CUT_POLICIES, CutPolicy};
pub use walk::{Walk, each_power_cut};

/// One entry of a disk's record: an operation, or a mark of the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// Bytes were written.
    Write {
        /// Where.
        offset: u64,
        /// The bytes.
        data: Arc<[u8]>,
    },
    /// The length was changed.
    SetLen(u64),
    /// What was written before is durable.
    Sync,
    /// Mark: the transaction with this number begins.
    Start(u64),
    /// Mark: somebody was told that the transaction with this number is durable.
    Ack(u64),
}

impl LogEntry {
    /// Whether this is an operation, not a mark.
    pub fn is_operation(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Ack(_))
    }
}

/// A disk in memory. Clones are the same disk.
///
/// ```
/// use millpond_testkit::{CutPolicy, Fault, SimDisk};
/// use redb::StorageBackend;
///
/// let disk = SimDisk::new();
/// disk.set_len(4)?;
/// disk.sync_data()?;
/// disk.write(0, b"new!")?;
/// let after = disk.after_power_cut(CutPolicy::None, &mut fastrand::Rng::new());
/// assert_eq!(after.image().to_bytes(), [0; 4]);
///
/// disk.fail(Fault::FULL);
/// assert!(disk.write(0, b"more").is_err());
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    syncs: Arc<Syncs>,
}

#[derive(Default)]
struct State {
    current: Image,
    durable: Image,
    unsynced: Vec<LogEntry>,
    log: Option<Vec<LogEntry>>,
    /// Operations so far, those that failed included.
    asked: [u64; Op::ALL.len()],
    checksum: u32,
    fault: Option<Fault>,
    failed: u64,
    /// How many operations succeed until the power fails. Reads do not count.
    power: Option<u64>,
    is_off: bool,
    on_sync: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// Syncs that a test holds.
#[derive(Default)]
struct Syncs {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    hold: bool,
    waiting: usize,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

/// What a disk holds.
impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds this image, durably.
    pub fn holding(image: Image) -> Self {
        let state = State { current: image.clone(), durable: image, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), syncs: Arc::default() }
    }

    /// What the disk holds now, synced or not.
    pub fn image(&self) -> Image {
        self.state().current.clone()
    }

    /// Another disk with the same bytes: what a kill of the process leaves.
    pub fn after_kill(&self) -> Self {
        Self::holding(self.image())
    }

    /// Another disk that holds what a power cut leaves. Its checksum and its count of operations go on from this one's.
    pub fn after_power_cut(&self, policy: CutPolicy, rng: &mut Rng) -> Self {
        let state = self.state();
        let unsynced: Vec<_> = state.unsynced.iter().collect();
        let after = Self::holding(policy.cut(&state.durable, &unsynced, rng));
        (after.state().asked, after.state().checksum) = (state.asked, state.checksum);
        after
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The record of what was done.
impl SimDisk {
    /// Records what is done from now on.
    pub fn recorded(self) -> Self {
        self.state().log.get_or_insert_default();
        self
    }

    /// Puts a mark into the record, if there is one.
    ///
    /// # Panics
    ///
    /// If it is an operation.
    pub fn mark(&self, mark: LogEntry) {
        assert!(!mark.is_operation(), "{mark:?} is an operation");
        if let Some(log) = &mut self.state().log {
            log.push(mark);
        }
    }

    /// The length of the record.
    pub fn logged(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    /// The record so far. It begins anew.
    pub fn take_log(&self) -> Vec<LogEntry> {
        self.state().log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How many operations of this kind were asked for, or of any kind. Failed ones count.
    pub fn asked(&self, op: Option<Op>) -> u64 {
        let state = self.state();
        op.map_or_else(|| state.asked.iter().sum(), |op| state.asked[op as usize])
    }

    /// A checksum over all changes so far: two disks with the same one were written in the same way.
    pub fn checksum(&self) -> u32 {
        self.state().checksum
    }
}

/// What goes wrong.
impl SimDisk {
    /// From now on this goes wrong, and nothing else.
    pub fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Removes the fault.
    pub fn repair(&self) {
        self.state().fault = None;
    }

    /// Whether there is a fault that will hit an operation.
    pub fn is_faulty(&self) -> bool {
        self.state().fault.is_some_and(|fault| fault.times > 0)
    }

    /// How many operations have failed.
    pub fn failed(&self) -> u64 {
        self.state().failed
    }

    /// The power fails after so many more changes; `None` keeps it on. Nothing succeeds after that.
    pub fn cut_power_after(&self, ops: Option<u64>) {
        self.state().power = ops;
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Does `work` without faults and power cuts.
    pub fn without_faults<T>(&self, work: impl FnOnce() -> T) -> T {
        let take = |state: &mut State| (state.fault.take(), state.power.take());
        let (fault, power) = take(&mut self.state());
        let done = work();
        let mut state = self.state();
        (state.fault, state.power) = (fault, power);
        done
    }
}

/// Syncs that take time.
impl SimDisk {
    /// Calls this at the beginning of each sync.
    pub fn on_sync(&self, call: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.state().on_sync = call;
    }

    /// From now on each sync waits until [`release_syncs`](Self::release_syncs).
    pub fn hold_syncs(&self) {
        self.held().hold = true;
    }

    /// Syncs go on.
    pub fn release_syncs(&self) {
        self.held().hold = false;
        self.syncs.changed.notify_all();
    }

    /// Blocks until a sync waits.
    pub fn wait_for_sync(&self) {
        let wait = self.syncs.changed.wait_while(self.held(), |held| held.waiting == 0);
        drop(wait.unwrap_or_else(|e| e.into_inner()));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.syncs.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait_while_held(&self) {
        let mut held = self.held();
        held.waiting += 1;
        self.syncs.changed.notify_all();
        let wait = self.syncs.changed.wait_while(held, |held| held.hold);
        wait.unwrap_or_else(|e| e.into_inner()).waiting -= 1;
    }
}

impl State {
    fn ask(&mut self, op: Op) -> io::Result<()> {
        self.asked[op as usize] += 1;
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        if op != Op::Read
            && let Some(left) = &mut self.power
        {
            if *left == 0 {
                self.is_off = true;
                return Err(io::Error::other("the power is off"));
            }
            *left -= 1;
        }
        let Some(fault) = &mut self.fault else { return Ok(()) };
        match fault.hit(op) {
            Some(error) => {
                self.failed += 1;
                Err(error)
            }
            None => Ok(()),
        }
    }

    fn done(&mut self, entry: LogEntry) {
        let (op, at, data): (Op, u64, &[u8]) = match &entry {
            LogEntry::Write { offset, data } => (Op::Write, *offset, data),
            LogEntry::SetLen(len) => (Op::SetLen, *len, &[]),
            _ => (Op::Sync, 0, &[]),
        };
        let mut hasher = crc32fast::Hasher::new_with_initial(self.checksum);
        hasher.update(&[op as u8]);
        hasher.update(&at.to_le_bytes());
        hasher.update(data);
        self.checksum = hasher.finalize();
        if let Some(log) = &mut self.log {
            log.push(entry.clone());
        }
        if op == Op::Sync {
            for entry in self.unsynced.drain(..) {
                self.durable.apply(&entry);
            }
        } else {
            self.current.apply(&entry);
            self.unsynced.push(entry);
        }
    }
}

impl redb::StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().current.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.ask(Op::Read)?;
        state.current.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.ask(Op::SetLen)?;
        state.done(LogEntry::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let on_sync = self.state().on_sync.clone();
        if let Some(call) = on_sync {
            call();
        }
        self.wait_while_held();
        let mut state = self.state();
        state.ask(Op::Sync)?;
        state.done(LogEntry::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.ask(Op::Write)?;
        if offset + data.len() as u64 > state.current.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.done(LogEntry::Write { offset, data: data.into() });
        Ok(())
    }
}
