//! What is done about a file that is damaged or was not closed: verification, quarantine, rebuilding, recovery.

mod damages;
pub(super) mod quarantine;
pub(super) mod rebuild;
pub(super) mod recovery;
pub(super) mod verify;
