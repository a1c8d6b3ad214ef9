//! Panics with its payload as the message: the attempt's error, whatever is in it and however long it is.

use millpond_guest::{Raw, Result};

#[millpond_guest::handler]
fn fail(message: Raw) -> Result {
    panic!("{}", String::from_utf8_lossy(&message).repeat(1_000));
}
