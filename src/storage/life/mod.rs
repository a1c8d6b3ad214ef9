//! A job's life in the file: which rows change together when something happens to a job.

pub(super) mod delayed;
pub(super) mod ended;
pub(super) mod expiring;
pub(super) mod groups;
pub(super) mod index;
pub(super) mod kept;
pub(super) mod started;
pub(super) mod unique;
pub(super) mod waiting;
