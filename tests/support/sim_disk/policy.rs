use fastrand::Rng;

use super::{Entry, Image};

/// The least a disk writes as a whole.
const SECTOR: usize = 512;

/// Which part of what was not synced a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
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

pub const POLICIES: [Policy; 10] = [
    Policy::None,
    Policy::All,
    Policy::Prefix,
    Policy::Writes,
    Policy::Sectors,
    Policy::Shuffled,
    Policy::AllButOne,
    Policy::HeaderTorn,
    Policy::HeaderOnly,
    Policy::AllButHeader,
];

impl Policy {
    /// Whether two images of it may differ.
    pub fn is_random(self) -> bool {
        !matches!(self, Self::None | Self::All)
    }

    /// What of `pending`, which was not synced, is on the disk after a power cut, applied to `durable`.
    pub fn cut(self, durable: &Image, pending: &[&Entry], rng: &mut Rng) -> Image {
        let mut image = durable.clone();
        for piece in self.pieces(pending, rng) {
            image.apply(&piece);
        }
        image
    }

    /// The pieces that are on the disk, in the order they got there.
    pub fn pieces(self, pending: &[&Entry], rng: &mut Rng) -> Vec<Entry> {
        let lens_go_their_own_way = self.is_random() && rng.bool();
        let upto = rng.usize(0..=pending.len());
        let spared = rng.usize(0..pending.len().max(1));
        let mut pieces = Vec::new();
        for (at, &entry) in pending.iter().enumerate() {
            let kept = match entry {
                Entry::SetLen(_) if lens_go_their_own_way => keep(entry, rng.bool()),
                Entry::SetLen(_) => keep(entry, self != Self::None && (self != Self::Prefix || at < upto)),
                Entry::Write { offset, data } => self.of_write(*offset, data, at, upto, spared, rng),
                Entry::Sync | Entry::Start(_) | Entry::Ack(_) => Vec::new(),
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
    ) -> Vec<Entry> {
        let whole = Entry::Write { offset, data: data.clone() };
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

fn keep(entry: &Entry, kept: bool) -> Vec<Entry> {
    if kept { vec![entry.clone()] } else { Vec::new() }
}

fn sectors(offset: u64, data: &[u8], rng: &mut Rng) -> Vec<Entry> {
    // Often all or nothing of a write: a disk tears few of them.
    let share = [0, 1, 2, 3, 4][rng.usize(0..5)];
    let mut kept = Vec::new();
    for (number, sector) in data.chunks(SECTOR).enumerate() {
        if rng.usize(0..4) < share {
            kept.push(Entry::Write { offset: offset + (number * SECTOR) as u64, data: sector.into() });
        }
    }
    kept
}

fn torn(data: &[u8], rng: &mut Rng) -> Vec<Entry> {
    let at = rng.usize(0..=data.len());
    let (offset, part) = if rng.bool() { (0, &data[..at]) } else { (at as u64, &data[at..]) };
    vec![Entry::Write { offset, data: part.into() }]
}
