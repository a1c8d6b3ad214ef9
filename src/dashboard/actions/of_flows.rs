//! Actions on flows, and signals.

use std::time::Duration;

use serde_json::Value;

use crate::{Error, JobId, Millpond, Pace};

use super::super::api::{Done, Problem};
use super::done::{self, done, unchanged};
use super::given_payload;

/// How often it is looked whether a flow is gone.
const LOOKS_MAX: u32 = 200;
const LOOK_WAIT: Duration = Duration::from_millis(10);

pub(super) fn cancel(pond: &Millpond, flow: &str, reason: String) -> Result<Done, Problem> {
    Ok(match pond.flows().cancel(flow, reason).wait()? {
        true => done(format!("flow {flow} is cancelled")),
        false => unchanged(format!("flow {flow} has ended, or is being cancelled already")),
    })
}

pub(super) fn retry(pond: &Millpond, flow: &str) -> Result<Done, Problem> {
    Ok(match pond.flows().retry(flow, Pace::at_once()).wait()? {
        0 => unchanged(format!("flow {flow} has no dead letters")),
        redriven => done::jobs(redriven, &format!("redriven in flow {flow}")),
    })
}

/// Removes a flow. The commits that follow do that, and most flows need one.
pub(super) fn remove(pond: &Millpond, flow: &str) -> Result<Done, Problem> {
    let flows = pond.flows();
    if !flows.remove(flow).wait()? {
        return Err(Problem::not_found(format!("there is no flow {flow:?}")));
    }
    for _ in 0..LOOKS_MAX {
        if let Err(Error::NoSuchFlow { .. }) = flows.get(flow) {
            return Ok(done(format!("flow {flow} is removed")));
        }
        std::thread::sleep(LOOK_WAIT);
    }
    Ok(done(format!("flow {flow} is large, and is being removed")))
}

/// What an action sends with a signal: JSON, or its text.
pub(super) struct Sent(pub Value, pub Option<String>);

impl Sent {
    /// The payload; `null` if none is given.
    fn read(self) -> Result<Box<serde_json::value::RawValue>, Problem> {
        let Self(json, text) = self;
        let json = Some(json).filter(|json| text.is_none() || !json.is_null());
        let given = given_payload(json, text)?;
        given.ok_or_else(|| Problem::invalid("a signal needs a payload"))
    }
}

pub(super) fn signal(pond: &Millpond, flow: &str, signal: &str, sent: Sent) -> Result<Done, Problem> {
    Ok(match pond.signal(flow, signal, &sent.read()?).wait()? {
        true => done(format!("signal {signal} of flow {flow} has come")),
        false => unchanged(format!("signal {signal} of flow {flow} had come before, or its deadline is over")),
    })
}

pub(super) fn signal_job(pond: &Millpond, id: JobId, signal: &str, sent: Sent) -> Result<Done, Problem> {
    Ok(match pond.signal_job(id, signal, &sent.read()?).wait()? {
        true => done(format!("signal {signal} has come for job {id}")),
        false => unchanged(format!("signal {signal} had come for job {id} before")),
    })
}
