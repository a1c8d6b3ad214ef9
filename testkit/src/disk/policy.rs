//! Which of the writes that were not synced a power cut leaves.

use fastrand::Rng;

use super::{Image, LogEntry};

/// The least a disk writes as a whole.
const SECTOR: usize = 512;

/// Which part of what was not synced a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CutPolicy {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// What came first.
    Prefix,
    /// Any of the writes.
    Writes,
    /// Any of the sectors of any of the writes.
    Sectors,
    /// Any of the writes, not in their order.
    Shuffled,
    /// Everything but one write.
    AllButOne,
    /// Everything, but the file's header only up to some byte, or from it on.
    HeaderTorn,
    /// The header alone.
    HeaderOnly,
    /// Everything but the header.
    AllButHeader,
}

/// All policies.
pub const CUT_POLICIES: [CutPolicy; 10] = [
    CutPolicy::None,
    CutPolicy::All,
    CutPolicy::Prefix,
    CutPolicy::Writes,
    CutPolicy::Sectors,
    CutPolicy::Shuffled,
    CutPolicy::AllButOne,
    CutPolicy::HeaderTorn,
    CutPolicy::HeaderOnly,
    CutPolicy::AllButHeader,
];

impl CutPolicy {
    /// Whether two images of it may differ.
    pub fn is_random(self) -> bool {
        !matches!(self, Self::None | Self::All)
    }

    /// What of `pending`, which was not synced, is on the disk after a power cut, applied to `durable`.
    pub fn cut(self, durable: &Image, pending: &[&LogEntry], rng: &mut Rng) -> Image {
        let mut image = durable.clone();
        for piece in self.pieces(pending, rng) {
            image.apply(&piece);
        }
        image
    }

    /// The pieces that are on the disk, in the order they got there.
    pub fn pieces(self, pending: &[&LogEntry], rng: &mut Rng) -> Vec<LogEntry> {
        let lens_go_their_own_way = self.is_random() && rng.bool();
        let upto = rng.usize(0..=pending.len());
        let spared = rng.usize(0..pending.len().max(1));
        let mut pieces = Vec::new();
        for (at, &entry) in pending.iter().enumerate() {
            let kept = match entry {
                LogEntry::SetLen(_) if lens_go_their_own_way => keep(entry, rng.bool()),
                LogEntry::SetLen(_) => keep(entry, self != Self::None && (self != Self::Prefix || at < upto)),
                LogEntry::Write { offset, data } => self.of_write(*offset, data, at, upto, spared, rng),
                LogEntry::Sync | LogEntry::Start(_) | LogEntry::Ack(_) => Vec::new(),
            };
            pieces.extend(kept);
        }
        if self == Self::Shuffled {
            rng.shuffle(&mut pieces);
        }
        pieces
    }

    fn of_write(
        self,
        offset: u64,
        data: &std::sync::Arc<[u8]>,
        at: usize,
        upto: usize,
        spared: usize,
        rng: &mut Rng,
    ) -> Vec<LogEntry> {
        let whole = LogEntry::Write { offset, data: data.clone() };
        let is_header = offset == 0;
        match self {
            Self::None => Vec::new(),
            Self::All => vec![whole],
            Self::Prefix => keep(&whole, at < upto),
            Self::Writes | Self::Shuffled => keep(&whole, rng.bool()),
            Self::Sectors => sectors(offset, data, rng),
            Self::AllButOne => keep(&whole, at != spared),
            Self::HeaderTorn if is_header => torn(data, rng),
            Self::HeaderTorn => vec![whole],
            Self::HeaderOnly => keep(&whole, is_header),
            Self::AllButHeader => keep(&whole, !is_header),
        }
    }
}

fn keep(entry: &LogEntry, kept: bool) -> Vec<LogEntry> {
    if kept { vec![entry.clone()] } else { Vec::new() }
}

fn sectors(offset: u64, data: &[u8], rng: &mut Rng) -> Vec<LogEntry> {
    // Often all or nothing of a write: a disk tears few of them.
    let share = [0, 1, 2, 3, 4][rng.usize(0..5)];
    let mut kept = Vec::new();
    for (number, sector) in data.chunks(SECTOR).enumerate() {
        if rng.usize(0..4) < share {
            kept.push(LogEntry::Write { offset: offset + (number * SECTOR) as u64, data: sector.into() });
        }
    }
    kept
}

fn torn(data: &[u8], rng: &mut Rng) -> Vec<LogEntry> {
    let at = rng.usize(0..=data.len());
    let (offset, part) = if rng.bool() { (0, &data[..at]) } else { (at as u64, &data[at..]) };
    vec![LogEntry::Write { offset, data: part.into() }]
}
