//! The promises, checked user by user.

use std::collections::HashSet;

use anyhow::Result;
use millpond::Millpond;

use super::burst::SIGNUP_QUEUES;
use super::claims::Claims;
use super::evidence::Evidence;
use super::load::Load;
use super::screen::grouped;
use crate::app::jobs::queue;
use crate::loopback::{Loopback, NEVER};

/// The figures for the summary.
pub struct Proven {
    /// Jobs of acknowledged signups that neither completed nor became dead letters.
    pub lost: usize,
    /// Requests that stand-ins received again after they had accepted them.
    pub duplicates: u64,
}

pub fn run(pond: &Millpond, loopback: &Loopback, loads: &[&Load], claims: &mut Claims) -> Result<Proven> {
    let evidence = Evidence::gather(pond, loopback)?;
    let lost = acknowledged_are_done(&evidence, loads, claims);
    cut_off_are_whole(&evidence, loads, claims);
    all_are_welcomed_once(&evidence, claims);
    if loopback.is_complete() {
        claims.check(
            evidence.dead.len() == 1 && evidence.is_dead(queue::MAIL, NEVER),
            "the one dead letter left is the mail that can never be delivered",
            format!("to {NEVER}"),
        );
    }
    Ok(Proven { lost, duplicates: evidence.duplicates() })
}

fn acknowledged_are_done(evidence: &Evidence, loads: &[&Load], claims: &mut Claims) -> usize {
    let users: Vec<&String> = loads.iter().flat_map(|load| &load.acknowledged).collect();
    let rowless = users.iter().filter(|user| !evidence.users.contains(**user)).count();
    let jobs = users.len() * SIGNUP_QUEUES.len();
    let lost: usize = users.iter().map(|user| evidence.jobs_not_done(user)).sum();
    let dead: usize = users.iter().map(|user| evidence.dead_letters_of(user)).sum();
    claims.check(
        rowless == 0 && lost == 0,
        "every acknowledged signup is stored, and its jobs were done",
        format!(
            "{} jobs of {} signups: {} done, {} dead, {lost} lost",
            grouped(jobs as u64),
            grouped(users.len() as u64),
            grouped((jobs - dead - lost) as u64),
            grouped(dead as u64)
        ),
    );
    lost
}

fn cut_off_are_whole(evidence: &Evidence, loads: &[&Load], claims: &mut Claims) {
    let users = loads.iter().flat_map(|load| &load.cut_off);
    let (stored, traceless): (Vec<_>, Vec<_>) = users.partition(|user| evidence.users.contains(*user));
    claims.check(
        stored.iter().all(|user| evidence.jobs_not_done(user) == 0)
            && traceless.iter().all(|user| evidence.has_no_trace_of(user)),
        "a signup that was cut off is stored with all its jobs, or not at all",
        format!("{} stored, {} left no trace", stored.len(), traceless.len()),
    );
}

fn all_are_welcomed_once(evidence: &Evidence, claims: &mut Claims) {
    let reachable: HashSet<&String> =
        evidence.users.iter().filter(|user| !evidence.is_dead(queue::MAIL, user)).collect();
    let welcomed: HashSet<&String> = evidence.welcomed.keys().collect();
    claims.check(
        welcomed == reachable && evidence.welcomed.values().all(|times| *times == 1),
        "each user has exactly one welcome row, however often a process died",
        format!("{} rows, each counts 1", grouped(welcomed.len() as u64)),
    );
}
