//! Does no harm: it calls every host call once and tells what they said. For each version of the contract, a copy of it in
//! `../evolution` is kept for ever.

use std::time::Duration;

use millpond_guest::bindings::millpond::jobs::outcome;
use millpond_guest::enqueue::{NewJob, Unique, enqueue_many};
use millpond_guest::{
    Error, Raw, Result, attempt, clock, config, flow, info, progress, random, state, steps, streams, topics,
};

const MINUTE: Duration = Duration::from_secs(60);

#[millpond_guest::handler]
fn everything(payload: Raw) -> Result<Vec<String>> {
    info!("{} bytes", payload.len());
    progress::report(1, Some(2), "half");
    state::set("key", "value")?;
    state::increment("counter", 2)?;
    let value = state::get::<String>("key")?.unwrap_or_default();
    state::delete("key")?;
    let counter = state::counter("counter")?;
    let job = NewJob::raw("follow-up", payload.0).queue("follow-ups").delay(MINUTE);
    let id = job.priority(3).max_attempts(2).unique_key("unique").group("group").enqueue()?;
    let random = random::bytes(8).len() + usize::from(random::u64() == random::u64());
    let later = clock::now() >= attempt::enqueued_at();
    let mut told = vec![
        format!("{} of {}", attempt::number(), attempt::max_number()),
        format!("{} {} {}", attempt::job_id(), attempt::kind(), attempt::queue()),
        format!("{} {}", attempt::is_cancelled(), attempt::time_left() > Duration::ZERO),
        format!("{value} {counter} {}", state::get_raw("key")?.is_none()),
        format!("{} {random} {later}", !id.is_empty()),
        config::get("setting").unwrap_or_default(),
    ];
    told.extend(of_0_1_1()?);
    told.push(of_0_1_2()?);
    told.push(of_0_1_3());
    Ok(told)
}

/// What version 0.1.1 has added.
fn of_0_1_1() -> Result<Vec<String>> {
    let limited = outcome::set_rate_limited().is_ok() && outcome::set_rate_limited_queue().is_ok();
    let job = || NewJob::raw("newer", *b"").queue("follow-ups");
    let labelled = job().tag("a tag").header("tenant", "ada").expires_in(MINUTE).timeout(MINUTE).weight(2);
    let jobs = [
        labelled.unique_key("held").unique_for(Duration::ZERO),
        job().unique("started", Unique::until_started().replace()),
        job().unique("window", Unique::throttle(MINUTE)),
        job().unique("latest", Unique::keep_latest()),
        job().unique("quiet", Unique::until_started().debounce(MINUTE, MINUTE)),
    ];
    let ids = enqueue_many(jobs)?;
    let headers: Vec<String> = attempt::headers().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(vec![
        format!("{} {:?} {} {limited}", ids.len(), attempt::group(), attempt::priority()),
        format!("{:?} {:?} {}", attempt::tags(), attempt::header("tenant"), headers.join(" ")),
        format!("{} {:?} {}", !attempt::run_id().is_empty(), attempt::schedule(), attempt::scheduled_for().is_some()),
    ])
}

/// What version 0.1.2 has added. The sleep and the wait are over at once.
fn of_0_1_2() -> Result<String> {
    let number = steps::step("number", || Ok::<_, Error>(7))?;
    steps::sleep("sleep", Duration::ZERO)?;
    let signal = steps::wait_for::<String>("signal", Some(Duration::ZERO))?;
    let result = flow::result_raw("another job").is_err();
    Ok(format!("{number} {signal:?} {result}"))
}

/// What version 0.1.3 has added.
fn of_0_1_3() -> String {
    let job = || NewJob::raw("newer", *b"").group("key").tag("a tag").header("tenant", "ada");
    let appended = streams::append("stream", job());
    let published = topics::publish("topic", "routing.key", job());
    format!("{:?} {appended:?} {published:?}", attempt::entry())
}
