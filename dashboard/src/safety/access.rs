//! Who may use the dashboard.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::secrets::{Secrets, equal};
use crate::api::{Code, Problem};
use crate::options::{Access, Options};

/// The name of the cookie of those who have entered the token. Browsers send a cookie to all ports of a host, so the port is
/// part of the name: two dashboards on one host do not take each other's cookie.
pub(crate) fn session_cookie(host: Option<&str>) -> String {
    match host.and_then(|host| host.rsplit_once(':')) {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("millpond_session_{port}")
        }
        _ => "millpond_session".to_owned(),
    }
}

/// The values of that cookie: a dashboard that is mounted above this one has one of the same name.
pub(crate) fn sessions<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(own, _)| *own == name).map(|(_, value)| value)
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A Unix socket, whose permissions say who may use it.
    Socket,
    /// This address.
    Address(SocketAddr),
}

impl Peer {
    /// What the server has noted about the connection, if it has.
    pub fn of(parts: &Parts) -> Option<Self> {
        let own = parts.extensions.get::<ConnectInfo<Self>>().map(|info| info.0);
        let of_app = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| Self::Address(info.0));
        own.or_else(of_app)
    }

    fn is_local(self) -> bool {
        match self {
            Self::Socket => true,
            Self::Address(address) => address.ip().to_canonical().is_loopback(),
        }
    }

    /// Whether a request comes from the same machine, and not through a proxy on it.
    pub fn is_on_this_machine(parts: &Parts) -> bool {
        match Self::of(parts) {
            Some(Self::Socket) => true,
            Some(peer) => peer.is_local() && !is_forwarded(&parts.headers),
            None => false,
        }
    }
}

/// Checks that whoever asks may use the dashboard. What `needs_token` is false for is what the token is entered with.
pub(super) fn check(options: &Options, secrets: &Secrets, parts: &Parts, needs_token: bool) -> Result<(), Problem> {
    check_host(options, parts)?;
    match &options.access {
        Access::App => Ok(()),
        Access::Token(token) if needs_token => check_token(token, secrets, parts),
        Access::Token(_) => Ok(()),
        Access::Loopback => check_loopback(parts),
    }
}

fn check_loopback(parts: &Parts) -> Result<(), Problem> {
    let refuse = |why| {
        let help = "give the dashboard a token with `Options::token`, or put it behind the application's own \
                    authentication and say so with `Options::behind_own_auth`";
        Err(Problem::new(Code::Forbidden, format!("{why}: {help}")))
    };
    match Peer::of(parts) {
        None => refuse(
            "it is not known where the request comes from, because the application is not served with \
             `into_make_service_with_connect_info::<SocketAddr>`",
        ),
        Some(peer) if !peer.is_local() => refuse("the request comes from another machine"),
        Some(Peer::Address(_)) if is_forwarded(&parts.headers) => refuse("the request comes through a proxy"),
        Some(_) => Ok(()),
    }
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name))
}

fn check_token(token: &str, secrets: &Secrets, parts: &Parts) -> Result<(), Problem> {
    let (headers, name) = (&parts.headers, session_cookie(host(parts).as_deref()));
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let is_known = bearer.is_some_and(|given| equal(given.trim(), token))
        || sessions(headers, &name).any(|given| secrets.is_session(given));
    if is_known { Ok(()) } else { Err(Problem::new(Code::Unauthorized, "a token is needed, and this is not it")) }
}

/// Checks the host that the request is for: a foreign name that leads to this machine must not make a browser trust it.
fn check_host(options: &Options, parts: &Parts) -> Result<(), Problem> {
    if Peer::of(parts) == Some(Peer::Socket) {
        return Ok(());
    }
    let host = host(parts).map(|host| without_port(&host).to_ascii_lowercase());
    let is_named = |host: &str| options.hosts.iter().any(|own| own == host);
    let is_accepted = match (&options.access, &host) {
        (Access::Loopback, Some(host)) => is_loopback_name(host) || is_named(host),
        (_, Some(host)) => options.hosts.is_empty() || is_named(host),
        (_, None) => false,
    };
    if is_accepted {
        return Ok(());
    }
    let host = host.unwrap_or_default();
    Err(Problem::new(
        Code::Forbidden,
        format!("requests for the host {host:?} are not answered: name it with `Options::host`"),
    ))
}

/// The host that the request is for, with its port.
pub(super) fn host(parts: &Parts) -> Option<String> {
    let of_header = || parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    parts.uri.authority().map(|authority| authority.to_string()).or_else(of_header)
}

pub(super) fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_loopback_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_no_part_of_the_host() {
        for (text, host) in [("a.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("", "")] {
            assert_eq!(without_port(text), host);
        }
    }

    #[test]
    fn the_port_is_part_of_the_name_of_the_cookie() {
        for (host, name) in [
            (Some("localhost:3001"), "millpond_session_3001"),
            (Some("[::1]:3001"), "millpond_session_3001"),
            (Some("[::1]"), "millpond_session"),
            (Some("pond.example"), "millpond_session"),
            (Some("pond.example:x; a=b"), "millpond_session"),
            (None, "millpond_session"),
        ] {
            assert_eq!(session_cookie(host), name, "{host:?}");
        }
    }

    #[test]
    fn loopback_has_several_names() {
        for name in ["localhost", "app.localhost", "127.0.0.1", "127.8.8.8", "::1"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "0.0.0.0", "", "[::1]"] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }
}
