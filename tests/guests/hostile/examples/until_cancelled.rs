//! Computes until it is to stop, and then does what its payload says. Without a stop it computes for ever.

use std::time::Duration;

use millpond_guest::{Error, Raw, Result, attempt, info};

#[millpond_guest::handler]
fn until_cancelled(then: Raw) -> Result<Raw> {
    // A guest that has not asked before the request comes gets no grace.
    let mut is_cancelled = attempt::is_cancelled();
    info!("it computes");
    while !is_cancelled {
        is_cancelled = attempt::is_cancelled();
    }
    match &then[..] {
        b"done" => Ok(Raw(b"cleaned up".to_vec())),
        b"retry" => Err(Error::retry("stopped half-way")),
        b"snooze" => Err(Error::snooze(Duration::from_secs(60))),
        b"limited" => Err(Error::rate_limited_queue(Duration::from_secs(60))),
        // It goes on as if there were no request.
        _ => loop {
            std::hint::black_box(0);
        },
    }
}
