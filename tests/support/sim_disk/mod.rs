//! A disk in memory that writes down what is done to it, so that it can be crashed afterwards at
//! every point of that record; and that fails on demand.
//!
//! What a power cut leaves: everything up to the last sync, and of what came after it any part, in
//! any order, torn at any sector. [`Policy`] names the ways to choose that part, [`Walk`] goes
//! through a record and builds the images.
#![allow(dead_code)]

mod fault;
mod image;
mod policy;
mod walk;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

pub use fault::{Errno, Fault, Kind};
pub use image::Image;
pub use policy::{POLICIES, Policy};
pub use walk::Walk;

/// One thing in the record: an operation on the disk, or a mark put there by the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    SetLen(u64),
    Sync,
    /// Transaction `i` begins.
    Start(u64),
    /// Somebody has been told that transaction `i` is durable.
    Ack(u64),
}

impl Entry {
    /// Whether it is an operation on the disk.
    pub fn is_operation(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Ack(_))
    }
}

/// A disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    now: Image,
    log: Vec<Entry>,
    /// Operations asked for so far, those that failed and reads included.
    asked: [u64; Kind::ALL.len()],
    fault: Option<Fault>,
    /// Errors handed out.
    failed: u64,
}

impl SimDisk {
    /// An empty one.
    pub fn new() -> Self {
        Self::holding(Image::default())
    }

    /// One that was found holding this.
    pub fn holding(image: Image) -> Self {
        let state = State { now: image, log: Vec::new(), asked: Default::default(), fault: None, failed: 0 };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What it holds now, synced or not.
    pub fn image(&self) -> Image {
        self.state().now.clone()
    }

    /// Puts a mark into the record.
    pub fn mark(&self, mark: Entry) {
        assert!(!mark.is_operation(), "{mark:?} is no mark");
        self.state().log.push(mark);
    }

    /// How long the record is.
    pub fn logged(&self) -> usize {
        self.state().log.len()
    }

    /// The record so far. It starts anew.
    pub fn take_log(&self) -> Vec<Entry> {
        std::mem::take(&mut self.state().log)
    }

    /// Operations of this kind asked for so far; of any kind without one.
    pub fn asked(&self, kind: Option<Kind>) -> u64 {
        let state = self.state();
        kind.map_or_else(|| state.asked.iter().sum(), |kind| state.asked[kind as usize])
    }

    /// From now on this goes wrong.
    pub fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state().fault = None;
    }

    /// How often something went wrong.
    pub fn failed(&self) -> u64 {
        self.state().failed
    }
}

impl State {
    fn ask(&mut self, kind: Kind) -> io::Result<()> {
        self.asked[kind as usize] += 1;
        let Some(fault) = &mut self.fault else { return Ok(()) };
        match fault.strikes(kind) {
            Some(error) => {
                self.failed += 1;
                Err(error)
            }
            None => Ok(()),
        }
    }
}

impl redb::StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.ask(Kind::Read)?;
        state.now.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.ask(Kind::SetLen)?;
        state.now.set_len(len);
        state.log.push(Entry::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.ask(Kind::Sync)?;
        state.log.push(Entry::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.ask(Kind::Write)?;
        if offset + data.len() as u64 > state.now.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.now.write(offset, data);
        state.log.push(Entry::Write { offset, data: data.into() });
        Ok(())
    }
}
