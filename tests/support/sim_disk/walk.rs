use fastrand::Rng;

use super::{Entry, Image, Policy};

/// Goes through a record, entry by entry, keeping what is surely on the disk and what may be.
#[derive(Clone)]
pub struct Walk<'l> {
    log: &'l [Entry],
    at: usize,
    durable: Image,
    pending: Vec<&'l Entry>,
    /// The greatest numbers seen in marks.
    pub started: u64,
    pub acked: u64,
    /// Syncs passed.
    pub syncs: u64,
}

impl<'l> Walk<'l> {
    /// Before the first entry, on a disk that holds `found`.
    pub fn new(found: Image, log: &'l [Entry]) -> Self {
        let mut durable = found;
        durable.flatten();
        Self { log, at: 0, durable, pending: Vec::new(), started: 0, acked: 0, syncs: 0 }
    }

    /// Passes one entry. `None` at the end.
    pub fn step(&mut self) -> Option<&'l Entry> {
        let entry = self.log.get(self.at)?;
        self.at += 1;
        match entry {
            Entry::Sync => {
                for entry in self.pending.drain(..) {
                    self.durable.apply(entry);
                }
                self.durable.flatten();
                self.syncs += 1;
            }
            Entry::Write { .. } | Entry::SetLen(_) => self.pending.push(entry),
            Entry::Start(number) => self.started = self.started.max(*number),
            Entry::Ack(number) => self.acked = self.acked.max(*number),
        }
        Some(entry)
    }

    /// How many entries are passed.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is surely on the disk.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// How many operations may be lost.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What of that a power cut leaves.
    pub fn pieces(&self, policy: Policy, rng: &mut Rng) -> Vec<Entry> {
        policy.pieces(&self.pending, rng)
    }

    /// The disk after the power came back, if these pieces are left.
    pub fn image(&self, pieces: &[Entry]) -> Image {
        let mut image = self.durable.clone();
        pieces.iter().for_each(|piece| image.apply(piece));
        image
    }

    /// What a power cut may leave here.
    pub fn cut(&self, policy: Policy, rng: &mut Rng) -> Image {
        policy.cut(&self.durable, &self.pending, rng)
    }
}
