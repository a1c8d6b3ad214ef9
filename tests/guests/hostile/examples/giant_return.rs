//! Returns as many MiB as its payload says. A negative number: as the reason of a dead letter.

use millpond_guest::{Error, Raw, Result};

#[millpond_guest::handler]
fn answer(mebibytes: i32) -> Result<Raw> {
    let bytes = vec![b'x'; mebibytes.unsigned_abs() as usize * 1024 * 1024];
    if mebibytes < 0 {
        return Err(Error::dead_letter(String::from_utf8(bytes)?));
    }
    Ok(Raw(bytes))
}
