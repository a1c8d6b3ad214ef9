//! What is said of a change.

use super::super::api::Done;

/// One thing was changed.
pub(in crate::dashboard) fn done(message: String) -> Done {
    Done { changed: 1, message, ..Done::default() }
}

/// Nothing was changed.
pub(in crate::dashboard) fn unchanged(message: String) -> Done {
    Done { message, ..Done::default() }
}

/// So many jobs were changed: `3 jobs are cancelled`, `1 job is cancelled`.
pub(super) fn jobs(changed: u64, what: &str) -> Done {
    let message = match changed {
        1 => format!("1 job is {what}"),
        jobs => format!("{jobs} jobs are {what}"),
    };
    Done { changed, message, ..Done::default() }
}
