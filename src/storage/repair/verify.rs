//! Verification of a file. Every row is read once, and the rows that it refers to are looked up in their tables. So the
//! time is linear in the number of rows. The memory is about two bytes for each job, and some more for each that expires.
//!
//! Each home and each facet checks its own rows: `problems` in its file in `life/`. This file calls them.

use crate::storage::life::verifier::{Verification, Verifier, Work};
use crate::storage::life::{
    blocked, buckets, circuits, counts, delayed, ended, expiring, flows, groups, index, job_steps, kept, ready,
    schedules, started, steered, tags, timed_keys, topics, unique,
};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::streams;

/// Reads the whole file as it was after one commit, and checks the invariants of `docs/storage-format.md`.
pub(crate) fn verify(reader: &Reader) -> Result<Verification, Fault> {
    Ok(verify_counted(reader)?.0)
}

/// Does the same, and returns the work that it took.
fn verify_counted(reader: &Reader) -> Result<(Verification, Work), Fault> {
    let mut verifier = Verifier::new(reader)?;
    let verifier = &mut verifier;
    counts::read_queues(verifier)?;
    // Each job that a home reads is checked by the facets, too: `check_job` in `life/facets.rs`.
    ready::problems(verifier)?;
    delayed::problems(verifier, groups::problems::check_pointer)?;
    blocked::problems(verifier)?;
    ended::problems(verifier)?;
    index::problems(verifier)?;
    groups::problems::problems(verifier)?;
    // These compare their rows with the jobs that were read.
    started::problems(verifier)?;
    unique::problems(verifier)?;
    timed_keys::problems(verifier)?;
    buckets::problems(verifier)?;
    circuits::problems(verifier)?;
    steered::problems(verifier)?;
    expiring::problems(verifier)?;
    tags::problems(verifier)?;
    kept::problems(verifier)?;
    schedules::problems(verifier)?;
    flows::problems(verifier)?;
    job_steps::problems(verifier)?;
    streams::problems(verifier)?;
    topics::problems(verifier)?;
    counts::problems(verifier);
    Ok((std::mem::take(&mut verifier.found), verifier.work))
}

#[cfg(test)]
mod tests;
