//! Numbers at the ends of their ranges and names that nobody expects, to every host call. Each is answered; none is a panic
//! of the host. Tells how many of the doubtful ones were refused.

use millpond_guest::bindings::millpond::jobs::enqueue::{NewJob, enqueue};
use millpond_guest::bindings::millpond::jobs::{config, progress, random, state};
use millpond_guest::{Raw, Result, log};

const NAMES: [&str; 9] =
    ["", "\0", "../../etc/passwd", "a b", "<script>", "\u{202e}desrever", "\u{1f980}", "x\ny", "%00"];

#[millpond_guest::handler]
fn extremes(_: Raw) -> Result<usize> {
    log::log(log::Level::Critical, "\u{0}");
    progress::report(u64::MAX, Some(0), Some("\u{0}"));
    random::get_random_bytes(0);
    random::get_random_bytes(u64::MAX);
    let mut refused = 0;
    for delta in [i64::MAX, i64::MAX, i64::MIN, i64::MIN, i64::MIN] {
        refused += usize::from(state::increment("counter", delta).is_err());
    }
    for name in NAMES {
        config::get(name);
        refused += usize::from(state::get(name).is_err());
        refused += usize::from(state::set(name, &[]).is_err());
        refused += usize::from(state::delete(name).is_err());
        for set in [NewJob::set_queue, NewJob::set_unique_key, NewJob::set_group] {
            let job = NewJob::new("follow-up", &[]);
            set(&job, name);
            refused += usize::from(enqueue(job).is_err());
        }
        refused += usize::from(enqueue(NewJob::new(name, &[])).is_err());
    }
    for priority in [i32::MIN, -1, 10, i32::MAX] {
        let job = NewJob::new("follow-up", &[]);
        job.set_priority(priority);
        refused += usize::from(enqueue(job).is_err());
    }
    let job = NewJob::new("follow-up", &[]);
    job.set_delay(u64::MAX);
    job.set_max_attempts(0);
    refused += usize::from(enqueue(job).is_err());
    Ok(refused)
}
