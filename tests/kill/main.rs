//! The process dies, the disk is full, the clock is set: what only a real process on a real file can show.
//!
//! The test runs its own binary again as a child, which works on one real file and says on its
//! standard output what was acknowledged to it; then it looks at what the file has made of it.
//! `KILLS` sets the number of kills (300), `KILL_SEED` their moments. `CHILD_STDERR=1` lets children speak.

#![cfg(unix)]

mod access;
#[path = "../support/all_jobs.rs"]
mod all_jobs;
mod child;
mod clock;
mod fork;
mod full;
mod hammered;
mod load;
mod long_jobs;
mod once;
mod poison;
mod room;
mod starts;
mod stop;

/// The child's entry. As a test of its own it does nothing.
#[test]
fn child() {
    if let Ok(role) = std::env::var("MILLPOND_CHILD") {
        match role.as_str() {
            "load" => load::child(),
            "once" => once::child(),
            "poison" => poison::child(),
            "long-jobs" => long_jobs::child(),
            "stop" => stop::child(),
            "clock" => clock::child(),
            "create" => access::child_that_creates(),
            "fork" => fork::child(),
            "hold" => access::child_that_holds(),
            "without-rights" => access::child_without_rights(),
            "full-heals" => full::child_that_heals(),
            "full-stays" => full::child_that_stays_full(),
            "full-creates" => full::child_that_creates(),
            "full-killed" => full::child_whose_children_are_killed(),
            "fill" => full::child_that_fills(),
            role => panic!("unknown role {role}"),
        }
    }
}
