//! When the next schedule is due, as a batch says it.

use crate::time::{Due, TimeLine, Timestamp};

/// What a batch says of when schedules are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotedSchedules {
    /// When the next one is due by the wall clock, and on the engine's line: of those that the batch has stored, or of all,
    /// if `of_all`.
    pub wall: Option<Timestamp>,
    pub engine: Option<Timestamp>,
    /// It has checked which of them are due.
    pub of_all: bool,
    /// The latest time of the wall clock at which a schedule's next time was computed, if the batch has read it.
    pub computed_at: Option<Timestamp>,
}

impl NotedSchedules {
    /// Any of them can be due: this was not checked yet.
    pub const UNKNOWN: Self =
        Self { wall: Some(Timestamp::EPOCH), engine: Some(Timestamp::EPOCH), of_all: false, computed_at: None };

    pub fn add(&mut self, due: Due) {
        let slot = if due.line == TimeLine::Wall { &mut self.wall } else { &mut self.engine };
        *slot = Some(slot.map_or(due.at, |at| at.min(due.at)));
    }

    pub fn dues(self) -> impl Iterator<Item = Due> {
        let on = |line| move |at| Due { line, at };
        self.wall.map(on(TimeLine::Wall)).into_iter().chain(self.engine.map(on(TimeLine::Engine)))
    }

    /// What this batch and the one after it say together.
    pub fn and_then(self, later: Self) -> Self {
        let computed_at = later.computed_at.or(self.computed_at);
        if later.of_all {
            return Self { computed_at, ..later };
        }
        let mut both = Self { computed_at, ..self };
        later.dues().for_each(|due| both.add(due));
        both
    }

    /// Whether it says nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}
