//! Calls the host as often as it can, for ever: what its payload says.

use millpond_guest::enqueue::NewJob;
use millpond_guest::{Error, Result, attempt, clock, config, log, progress, random, state};

#[millpond_guest::handler]
fn call(what: String) -> Result<u64> {
    for n in 0u64.. {
        let refused = match what.as_str() {
            "log" => {
                log::log(log::Level::Info, n);
                None
            }
            "clock" => Some(clock::now() == std::time::UNIX_EPOCH).filter(|never| *never).map(|_| String::new()),
            "attempt" => attempt::is_cancelled().then(|| "cancelled".into()),
            "config" => config::get("there is no such key"),
            "progress" => {
                progress::report(n, None, "on and on");
                None
            }
            "random" => (random::bytes(65_536).len() != 65_536).then(String::new),
            "state-get" => state::get_raw("key").err().map(|error| error.to_string()),
            "state-set" => state::set_raw(&n.to_string(), &[0; 1024]).err().map(|error| error.to_string()),
            "state-increment" => state::increment(&n.to_string(), 1).err().map(|error| error.to_string()),
            "enqueue" => NewJob::raw("follow-up", []).enqueue().err().map(|error| error.to_string()),
            other => return Err(Error::dead_letter(format_args!("no such call: {other}"))),
        };
        if let Some(refused) = refused {
            return Err(Error::dead_letter(format_args!("refused at call {}: {refused}", n + 1)));
        }
    }
    Ok(u64::MAX)
}
