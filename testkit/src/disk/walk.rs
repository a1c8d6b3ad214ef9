//! A walk through the record of a simulated disk.

use fastrand::Rng;

use super::{CUT_POLICIES, CutPolicy, Image, LogEntry};

/// Goes through a record, entry by entry, and keeps what is certainly on the disk apart from what may be.
#[derive(Clone)]
pub struct Walk<'l> {
    log: &'l [LogEntry],
    at: usize,
    durable: Image,
    pending: Vec<&'l LogEntry>,
    /// The greatest number in a start's mark.
    pub started: u64,
    /// The greatest number in an acknowledgement's mark.
    pub acked: u64,
    /// Syncs passed.
    pub syncs: u64,
}

impl<'l> Walk<'l> {
    /// Before the first entry, on a disk that holds `found`.
    pub fn new(found: Image, log: &'l [LogEntry]) -> Self {
        let mut durable = found;
        durable.flatten();
        Self { log, at: 0, durable, pending: Vec::new(), started: 0, acked: 0, syncs: 0 }
    }

    /// Passes one entry. `None` at the end.
    pub fn step(&mut self) -> Option<&'l LogEntry> {
        let entry = self.log.get(self.at)?;
        self.at += 1;
        match entry {
            LogEntry::Sync => {
                for entry in self.pending.drain(..) {
                    self.durable.apply(entry);
                }
                self.durable.flatten();
                self.syncs += 1;
            }
            LogEntry::Write { .. } | LogEntry::SetLen(_) => self.pending.push(entry),
            LogEntry::Start(number) => self.started = self.started.max(*number),
            LogEntry::Ack(number) => self.acked = self.acked.max(*number),
        }
        Some(entry)
    }

    /// How many entries are passed.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is certainly on the disk.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// How many operations may be lost.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What of that a power cut leaves.
    pub fn pieces(&self, policy: CutPolicy, rng: &mut Rng) -> Vec<LogEntry> {
        policy.pieces(&self.pending, rng)
    }

    /// The disk after the power came back, if these pieces are left.
    pub fn image(&self, pieces: &[LogEntry]) -> Image {
        let mut image = self.durable.clone();
        pieces.iter().for_each(|piece| image.apply(piece));
        image
    }

    /// What a power cut may leave here.
    pub fn cut(&self, policy: CutPolicy, rng: &mut Rng) -> Image {
        policy.cut(&self.durable, &self.pending, rng)
    }
}

/// Calls `visit` with each image that a power cut may leave while `log` is done to a disk that holds `found`, and with
/// the number of the entry that was not begun: before each entry, one image for each policy. The random ones among them
/// follow from `seed`.
pub fn each_power_cut(found: Image, log: &[LogEntry], seed: u64, mut visit: impl FnMut(usize, Image)) {
    let mut rng = Rng::with_seed(seed);
    let mut walk = Walk::new(found, log);
    loop {
        let at = walk.at();
        visit(at, walk.durable().clone());
        if walk.pending() > 0 {
            for policy in CUT_POLICIES.into_iter().filter(|policy| *policy != CutPolicy::None) {
                visit(at, walk.cut(policy, &mut rng));
            }
        }
        if walk.step().is_none() {
            return;
        }
    }
}
