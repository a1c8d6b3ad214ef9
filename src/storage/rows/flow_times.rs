//! When something of a flow is due, as a batch says it: a deadline, the end of its retention, or dependents that are to be told
//! in the next commit.

use crate::time::{Due, TimeLine, Timestamp};

/// What a batch says of when flows need the writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotedFlows {
    next: [Option<Timestamp>; 3],
    /// It has looked at all that was due.
    of_all: bool,
}

/// The time lines, in the order of their numbers.
pub(in crate::storage) const LINES: [TimeLine; 3] = [TimeLine::Wall, TimeLine::Engine, TimeLine::Age];

impl NotedFlows {
    /// Something can be due: this was not checked yet.
    pub const UNKNOWN: Self = Self { next: [None, Some(Timestamp::EPOCH), None], of_all: false };

    /// Due at once.
    pub const NOW: Due = Due { line: TimeLine::Engine, at: Timestamp::EPOCH };

    /// What a batch says that has looked at all that was due, before it has said when something is due next.
    pub fn of_all() -> Self {
        Self { of_all: true, ..Self::default() }
    }

    pub fn add(&mut self, due: Due) {
        let slot = LINES.iter().position(|line| *line == due.line).unwrap_or(0);
        let slot = &mut self.next[slot];
        *slot = Some(slot.map_or(due.at, |at| at.min(due.at)));
    }

    pub fn dues(self) -> impl Iterator<Item = Due> {
        LINES.into_iter().zip(self.next).filter_map(|(line, at)| Some(Due { line, at: at? }))
    }

    /// What this batch and the one after it say together.
    pub fn and_then(self, later: Self) -> Self {
        if later.of_all {
            return later;
        }
        let mut both = self;
        later.dues().for_each(|due| both.add(due));
        both
    }

    /// Whether it says nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}
