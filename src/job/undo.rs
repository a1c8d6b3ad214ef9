//! How a job ends once its steps are undone.

use serde::{Deserialize, Serialize};

use super::state::State;

/// A job that was to end, and first undoes those of its steps that say how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Undo {
    pub ends: UndoneEnd,
    /// How many attempts the job had made before.
    pub attempts: u32,
}

/// The end of a job whose steps are undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UndoneEnd {
    Dead,
    /// By its handler.
    Cancelled,
    /// By an operator or the application: its unique key is free at once.
    CancelledByRequest,
}

impl UndoneEnd {
    /// The state in which the job ends.
    pub fn state(self) -> State {
        match self {
            Self::Dead => State::Dead,
            Self::Cancelled | Self::CancelledByRequest => State::Cancelled,
        }
    }
}
