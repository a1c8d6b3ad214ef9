//! Tells what the job before it has left in memory and under the key `secret`, and leaves its own payload in both.

use std::sync::Mutex;

use millpond_guest::{Result, state};

static LEFT: Mutex<Option<String>> = Mutex::new(None);

#[millpond_guest::handler]
fn bleed(secret: String) -> Result<(Option<String>, Option<String>)> {
    let stored = state::get("secret")?;
    state::set("secret", &secret)?;
    let left = LEFT.lock().map_err(|error| error.to_string())?.replace(secret);
    Ok((left, stored))
}
