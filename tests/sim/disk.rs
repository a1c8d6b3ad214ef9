//! A disk in memory that keeps what was synced apart from what was not, fails on demand, loses its
//! power at a chosen operation, and takes its time.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use millpond::testing::ManualClock;
use redb::StorageBackend;

/// What the hardware writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Read,
    Write,
    SetLen,
    Sync,
}

/// What goes wrong, and from when on.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub ops: &'static [Op],
    /// So many of these operations still succeed.
    pub after: u32,
    /// Until it is mended; otherwise once.
    pub lasts: bool,
    pub full: bool,
}

/// What a crash leaves of what was written since the last sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it: the process died, the system did not.
    All,
    Nothing,
    Prefix,
    SomeWrites,
    SomeSectors,
}

enum Unsynced {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Default)]
struct Disk {
    /// What a read sees.
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
    fault: Option<Fault>,
    /// So many operations until the power fails.
    power: Option<u64>,
    dead: bool,
    failed: u64,
    slow: Option<(ManualClock, Duration)>,
    slowed: u64,
    ops: u64,
    hash: u32,
}

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Disk>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn break_it(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    pub fn mend(&self) {
        self.lock().fault = None;
    }

    /// The power stays on.
    pub fn steady(&self) {
        self.lock().power = None;
    }

    /// Does something that must not fail, whatever else does.
    pub fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        let (fault, power) = {
            let mut disk = self.lock();
            (disk.fault.take(), disk.power.take())
        };
        let done = work();
        let mut disk = self.lock();
        (disk.fault, disk.power) = (fault, power);
        done
    }

    pub fn is_broken(&self) -> bool {
        self.lock().fault.is_some()
    }

    pub fn cut_power_after(&self, ops: u64) {
        self.lock().power = Some(ops);
    }

    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// How many operations have failed so far.
    pub fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// Each sync takes so long by this clock.
    pub fn slow_down(&self, slow: Option<(ManualClock, Duration)>) {
        self.lock().slow = slow;
    }

    /// How long syncs have taken since this was asked last.
    pub fn take_slowed(&self) -> u64 {
        std::mem::take(&mut self.lock().slowed)
    }

    /// A number for all operations up to now.
    pub fn hash(&self) -> (u64, u32) {
        let disk = self.lock();
        (disk.ops, disk.hash)
    }

    /// The disk as a crash at this moment leaves it.
    pub fn after_crash(&self, left: Left, rng: &mut Rng) -> Self {
        let disk = self.lock();
        let mut bytes = disk.durable.clone();
        let survivors = match left {
            Left::All => disk.unsynced.len(),
            Left::Nothing => 0,
            _ => rng.usize(..=disk.unsynced.len()),
        };
        for (at, op) in disk.unsynced.iter().enumerate() {
            let kept = match left {
                Left::All | Left::Nothing | Left::Prefix => at < survivors,
                Left::SomeWrites | Left::SomeSectors => rng.bool(),
            };
            match op {
                Unsynced::SetLen(len) if kept => bytes.resize(*len, 0),
                Unsynced::Write(offset, data) if left == Left::SomeSectors => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if rng.bool() {
                            put(&mut bytes, offset + n * SECTOR, sector);
                        }
                    }
                }
                Unsynced::Write(offset, data) if kept => put(&mut bytes, *offset, data),
                _ => {}
            }
        }
        let after = Disk { current: bytes.clone(), durable: bytes, ops: disk.ops, hash: disk.hash, ..Disk::default() };
        Self(Arc::new(Mutex::new(after)))
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl Disk {
    fn check(&mut self, op: Op) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the power is gone"));
        }
        if op != Op::Read
            && let Some(left) = &mut self.power
        {
            if *left == 0 {
                self.dead = true;
                return Err(io::Error::other("the power is gone"));
            }
            *left -= 1;
        }
        let Some(fault) = &mut self.fault else { return Ok(()) };
        if !fault.ops.contains(&op) {
            return Ok(());
        }
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let full = fault.full;
        if !fault.lasts {
            self.fault = None;
        }
        self.failed += 1;
        Err(if full { io::ErrorKind::StorageFull.into() } else { io::Error::other("input/output error") })
    }

    fn note(&mut self, op: Op, offset: u64, data: &[u8]) {
        self.ops += 1;
        let mut hasher = crc32fast::Hasher::new_with_initial(self.hash);
        hasher.update(&[op as u8]);
        hasher.update(&offset.to_le_bytes());
        hasher.update(data);
        self.hash = hasher.finalize();
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.check(Op::Read)?;
        let from = offset as usize;
        let part = disk.current.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.check(Op::SetLen)?;
        disk.note(Op::SetLen, len, &[]);
        disk.current.resize(len as usize, 0);
        disk.unsynced.push(Unsynced::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let slow = self.lock().slow.clone();
        if let Some((clock, time)) = slow {
            clock.advance(time);
            self.lock().slowed += time.as_millis() as u64;
        }
        let mut disk = self.lock();
        disk.check(Op::Sync)?;
        disk.note(Op::Sync, 0, &[]);
        for op in std::mem::take(&mut disk.unsynced) {
            match op {
                Unsynced::SetLen(len) => disk.durable.resize(len, 0),
                Unsynced::Write(offset, data) => put(&mut disk.durable, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.check(Op::Write)?;
        disk.note(Op::Write, offset, data);
        let from = offset as usize;
        let part = disk.current.get_mut(from..from + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        part.copy_from_slice(data);
        disk.unsynced.push(Unsynced::Write(from, data.to_vec()));
        Ok(())
    }
}
