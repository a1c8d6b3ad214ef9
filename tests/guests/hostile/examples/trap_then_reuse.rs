//! Breaks its own memory half-way and traps on `"trap"`; on anything else it tells how many jobs its memory has seen, and
//! whether it is broken.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use millpond_guest::Result;

static JOBS: AtomicU32 = AtomicU32::new(0);
static HALF_DONE: AtomicBool = AtomicBool::new(false);

#[millpond_guest::handler]
fn count(what: String) -> Result<(u32, bool)> {
    let jobs = JOBS.fetch_add(1, Relaxed) + 1;
    if what == "trap" {
        HALF_DONE.store(true, Relaxed);
        millpond_guest::state::set("half", &true)?;
        panic!("in the middle of it");
    }
    Ok((jobs, HALF_DONE.load(Relaxed)))
}
