//! Sends a guest's request and follows its redirects. Each of them is checked against the grants.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::LOCATION;
use tokio_rustls::rustls::ClientConfig;

use super::allow::Allow;
use super::asked::{Asked, Origin};
use super::exchange::{Answered, Sizes, exchange};
use super::resolver::Resolver;
use super::tls;
use crate::executor::wasm::contract::outbound_http::{Error, Request, Response};
use crate::executor::wasm::deployed::Deployed;
use crate::executor::wasm::plain::plain;
use crate::sync::timeout;

/// How many requests one attempt can still send.
pub(in crate::executor::wasm) struct Requests {
    left: u32,
}

impl Requests {
    pub fn new(left: u32) -> Self {
        Self { left }
    }

    fn take(&mut self) -> Result<(), Error> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Error::Other("the attempt has sent as many requests as it can".into()))?;
        Ok(())
    }
}

/// Sends a request and follows its redirects, each of which is checked like a request of its own.
pub(in crate::executor::wasm) async fn send(
    plugin: &Deployed,
    requests: &mut Requests,
    request: Request,
    time_left: Option<Duration>,
) -> Result<Response, Error> {
    let limits = &plugin.limits;
    let wanted = request.timeout.map(Duration::from_nanos);
    let time = [Some(limits.http_time), wanted, time_left].into_iter().flatten().min().unwrap_or(limits.http_time);
    let asked = Asked::read(request, limits.http_request_bytes).map_err(Error::InvalidRequest)?;
    let way = Way {
        plugin: &plugin.name,
        allowed: plugin.grants.iter().filter_map(|grant| grant.allows()).collect(),
        resolver: &plugin.resolver,
        sizes: Sizes { head_bytes: limits.http_header_bytes, body_bytes: limits.http_response_bytes },
        redirects: limits.http_redirects,
    };
    let answered = timeout(time, way.follow(requests, asked)).await.unwrap_or(Err(Error::Timeout));
    answered.map(response).map_err(shown)
}

/// The grants and limits that a request is checked against.
struct Way<'p> {
    plugin: &'p str,
    allowed: Vec<&'p Allow>,
    resolver: &'p Resolver,
    sizes: Sizes,
    redirects: u32,
}

impl Way<'_> {
    async fn follow(&self, requests: &mut Requests, mut asked: Asked) -> Result<Answered, Error> {
        for _ in 0..=self.redirects {
            requests.take()?;
            let addresses = self.checked(&asked.origin).await?;
            let answered = exchange(&asked, &addresses, self.sizes, trusted).await?;
            match asked.redirected(answered.status, answered.headers.get(LOCATION)) {
                None => return Ok(answered),
                Some(next) => asked = next.map_err(Error::Other)?,
            }
        }
        Err(Error::Other(format!("it was redirected more than {} times", self.redirects)))
    }

    /// The addresses that a request to this origin can connect to. The name is resolved once, and only the checked
    /// addresses are connected to, so a name that changes after the check has no effect.
    async fn checked(&self, origin: &Origin) -> Result<Vec<IpAddr>, Error> {
        let allowed: Vec<_> = self.allowed.iter().filter(|allow| allow.covers(origin)).collect();
        if allowed.is_empty() {
            return Err(self.denied(origin, "this scheme, host and port are not granted"));
        }
        let found = self.resolver.addresses(origin).await.map_err(|error| Error::Connection(error.to_string()))?;
        let is_empty = found.is_empty();
        let reached: Vec<_> =
            found.into_iter().filter(|address| allowed.iter().any(|allow| allow.reaches(*address))).collect();
        if reached.is_empty() && !is_empty {
            return Err(self.denied(origin, "its addresses are not public"));
        }
        Ok(reached)
    }

    /// Logs the reason for the operator. The guest gets only `access-denied`, because the reason would tell it what is
    /// in this network.
    fn denied(&self, origin: &Origin, why: &str) -> Error {
        let Origin { host, port, .. } = origin;
        tracing::warn!(target: "millpond::plugin", plugin = self.plugin, host, port, why, "a plugin's request is denied");
        Error::AccessDenied
    }
}

fn trusted() -> Result<Arc<ClientConfig>, String> {
    tls::system()
}

fn response(answered: Answered) -> Response {
    let headers = answered.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    Response { status: answered.status.as_u16(), headers: headers.collect(), body: answered.body.into() }
}

/// Makes the texts of an error printable, because they can contain text from the guest or another host.
fn shown(error: Error) -> Error {
    match error {
        Error::Connection(text) => Error::Connection(plain(text)),
        Error::InvalidRequest(text) => Error::InvalidRequest(plain(text)),
        Error::Other(text) => Error::Other(plain(text)),
        other => other,
    }
}
