//! Asks for the URL that is its payload, with a timeout of a year: an address that never answers, a private one, one that
//! redirects there.

use std::time::Duration;

use millpond_guest::Result;
use millpond_guest::http::Request;

#[millpond_guest::handler]
fn fetch(url: String) -> Result<(u16, usize)> {
    let mut request = Request::get(&url);
    request.timeout = Some(Duration::from_secs(365 * 86_400));
    let response = request.send()?;
    Ok((response.status, response.body.len()))
}
