//! The process dies: killed from outside at random moments, or by one of its own handlers.
//!
//! The test runs its own binary again as a child, which works on one real file and says on its
//! standard output what was acknowledged to it; then it looks at what the file has made of it.
//! `KILLS` sets the number of kills (300), `KILL_SEED` their moments.

mod child;
mod load;
mod poison;
mod starts;
mod stop;

/// The child's entry. As a test of its own it does nothing.
#[test]
fn child() {
    if let Ok(role) = std::env::var("MILLPOND_CHILD") {
        match role.as_str() {
            "load" => load::child(),
            "poison" => poison::child(),
            role => panic!("unknown role {role}"),
        }
    }
}
