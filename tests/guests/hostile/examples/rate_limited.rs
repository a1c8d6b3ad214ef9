//! Does no harm: it says that it is rate limited, and ends as its payload says.

use std::time::Duration;

use millpond_guest::bindings::millpond::jobs::outcome;
use millpond_guest::{Error, Raw, Result};

#[millpond_guest::handler]
fn rate_limited(how: Raw) -> Result {
    const MINUTE: Duration = Duration::from_secs(60);
    match &how[..] {
        b"group" => Err(Error::rate_limited(MINUTE)),
        b"queue" => Err(Error::rate_limited_queue(MINUTE)),
        b"last call" => {
            let _ = outcome::set_rate_limited_queue();
            Err(Error::rate_limited(MINUTE))
        }
        b"done" => {
            let _ = outcome::set_rate_limited_queue();
            Ok(())
        }
        b"retry" => {
            let _ = outcome::set_rate_limited_queue();
            Err(Error::retry("no"))
        }
        b"for ever" => Err(Error::rate_limited_queue(Duration::MAX)),
        _ => Err(Error::snooze(MINUTE)),
    }
}
