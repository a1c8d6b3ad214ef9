//! The process dies, the disk is full, the clock is set: what only a real process on a real file can show.
//!
//! The test runs its own binary again as a child, which works on one real file and prints what was acknowledged
//! to it; then the test checks what is in the file. `KILLS` sets the number of kills (300), `KILL_SEED` their
//! moments. `CHILD_STDERR=1` shows what the children write to their standard error.

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
#[path = "../support/made.rs"]
mod made;
mod once;
mod poison;
mod room;
mod starts;
mod stop;

/// The entry point of the child. As a test of its own it does nothing.
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
