//! Does no harm: it calls every host call once and tells what they said. For each version of the contract, a copy of it in
//! `../evolution` is kept for ever.

use std::time::Duration;

use millpond_guest::enqueue::NewJob;
use millpond_guest::{Raw, Result, attempt, clock, config, info, progress, random, state};

#[millpond_guest::handler]
fn everything(payload: Raw) -> Result<Vec<String>> {
    info!("{} bytes", payload.len());
    progress::report(1, Some(2), "half");
    state::set("key", "value")?;
    state::increment("counter", 2)?;
    let value = state::get::<String>("key")?.unwrap_or_default();
    state::delete("key")?;
    let counter = state::counter("counter")?;
    let job = NewJob::raw("follow-up", payload.0).queue("follow-ups").delay(Duration::from_secs(60));
    let id = job.priority(3).max_attempts(2).unique_key("unique").group("group").enqueue()?;
    let random = random::bytes(8).len() + usize::from(random::u64() == random::u64());
    let later = clock::now() >= attempt::enqueued_at();
    Ok(vec![
        format!("{} of {}", attempt::number(), attempt::max_number()),
        format!("{} {} {}", attempt::job_id(), attempt::kind(), attempt::queue()),
        format!("{} {}", attempt::is_cancelled(), attempt::time_left() > Duration::ZERO),
        format!("{value} {counter} {}", state::get_raw("key")?.is_none()),
        format!("{} {random} {later}", !id.is_empty()),
        config::get("setting").unwrap_or_default(),
    ])
}
