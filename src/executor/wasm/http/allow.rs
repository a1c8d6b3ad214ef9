//! The hosts that an operator allows a plugin to send requests to.

use std::fmt;
use std::net::IpAddr;

use super::address::{Scope, literal, scope};
use super::asked::{Origin, Scheme};

/// Hosts that a plugin is allowed to send requests to, for [`Grant::http`](crate::Grant::http): a scheme, a port, and
/// either one host or all hosts below a domain.
///
/// The queue resolves names itself, and does not connect to addresses that are not public unless
/// [`private`](Self::private) is set. Otherwise the owner of a domain could let its name lead into your network.
///
/// ```
/// use millpond::{Allow, Grant};
///
/// let grants = [
///     Grant::http(Allow::https("api.example.org")),
///     Grant::http(Allow::https("*.example.net").port(8443)),
///     Grant::http(Allow::http("localhost").port(9200).private()),
/// ];
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Allow {
    scheme: Scheme,
    host: String,
    port: u16,
    private: bool,
}

/// As a URL: `https://api.example.org`, with the port if it is not the usual one.
impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let is_bare_ipv6 = self.host.contains(':') && !self.host.starts_with('[');
        match is_bare_ipv6 {
            true => write!(f, "{scheme}://[{}]", self.host)?,
            false => write!(f, "{scheme}://{}", self.host)?,
        }
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(if self.private { ", also at private addresses" } else { "" })
    }
}

impl Allow {
    /// Allows this host over TLS, at port 443. The host is a name, an address, or `*.example.org` for every name below
    /// `example.org`, without `example.org` itself.
    pub fn https(host: impl Into<String>) -> Self {
        Self::new(Scheme::Https, host.into())
    }

    /// Allows this host without TLS, at port 80. The host is as for [`https`](Self::https).
    pub fn http(host: impl Into<String>) -> Self {
        Self::new(Scheme::Http, host.into())
    }

    fn new(scheme: Scheme, host: String) -> Self {
        Self { scheme, host: host.to_ascii_lowercase(), port: scheme.port(), private: false }
    }

    /// Sets another port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Also allows addresses of this machine and this network. Special addresses, such as the link-local address where
    /// clouds serve a machine's credentials, are allowed only if the host is that address itself.
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// # Errors
    /// The host is not valid, with the reason.
    pub(in crate::executor::wasm) fn check(&self) -> Result<(), String> {
        let host = self.host.strip_prefix("*.").unwrap_or(&self.host);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if literal(&self.host).is_some() {
            return Ok(());
        }
        if host.is_empty() || host.starts_with('.') || !host.chars().all(is_plain) {
            return Err(format!("{:?} is not a host: use a name, an address, or `*.` and a name", self.host));
        }
        if host.len() != self.host.len() && host.split('.').next_back().is_none_or(|end| end.parse::<u32>().is_ok()) {
            return Err(format!("{:?}: `*.` works for names only, grant each address by itself", self.host));
        }
        Ok(())
    }

    pub(super) fn covers(&self, origin: &Origin) -> bool {
        (self.scheme, self.port) == (origin.scheme, origin.port) && self.covers_host(&origin.host)
    }

    fn covers_host(&self, host: &str) -> bool {
        match self.host.strip_prefix('*') {
            Some(below) if literal(host).is_none() => host.len() > below.len() && host.ends_with(below),
            Some(_) => false,
            None => self.host == host || literal(&self.host).is_some_and(|own| literal(host) == Some(own)),
        }
    }

    /// Whether a request to a host that this grant covers can connect to this address.
    pub(super) fn reaches(&self, address: IpAddr) -> bool {
        match scope(address) {
            Scope::Public => true,
            Scope::Inside => self.private,
            Scope::Special => self.private && literal(&self.host) == Some(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(allow: &Allow, url: &str) -> bool {
        let uri = url.parse().unwrap();
        allow.covers(&Origin::of(&uri).unwrap())
    }

    #[test]
    fn a_grant_covers_exactly_its_scheme_host_and_port() {
        let allow = Allow::https("API.example.org");
        assert!(covers(&allow, "https://api.example.org/x") && covers(&allow, "https://Api.Example.Org:443/"));
        assert!(covers(&allow, "https://api.example.org./"), "a trailing dot does not matter");
        for other in [
            "http://api.example.org/",
            "https://api.example.org:8443/",
            "https://example.org/",
            "https://x.api.example.org/",
            "https://api.example.org.evil.test/",
            "https://evil.test/api.example.org",
        ] {
            assert!(!covers(&allow, other), "{other}");
        }
    }

    #[test]
    fn a_grant_of_a_domain_covers_the_names_below_it_and_not_the_domain_itself() {
        let allow = Allow::http("*.example.org").port(8080);
        assert!(covers(&allow, "http://a.example.org:8080/") && covers(&allow, "http://a.b.example.org:8080/"));
        for other in ["http://example.org:8080/", "http://badexample.org:8080/", "http://.example.org:8080/"] {
            let covered = other.parse().ok().and_then(|uri| Origin::of(&uri).ok()).is_some_and(|it| allow.covers(&it));
            assert!(!covered, "{other}");
        }
    }

    #[test]
    fn an_address_is_covered_in_any_valid_notation() {
        assert!(covers(&Allow::http("::1"), "http://[0:0:0:0:0:0:0:1]/"));
        assert!(!covers(&Allow::http("127.0.0.1"), "http://127.1/"));
    }

    #[test]
    fn an_address_that_is_not_public_needs_private() {
        let reaches = |allow: &Allow, address: &str| allow.reaches(address.parse().unwrap());
        let public = Allow::http("example.org");
        let private = public.clone().private();
        assert!(reaches(&public, "1.1.1.1") && !reaches(&public, "10.0.0.1"));
        assert!(reaches(&private, "10.0.0.1") && !reaches(&private, "169.254.169.254"));
        let metadata = Allow::http("169.254.169.254");
        assert!(!reaches(&metadata, "169.254.169.254") && reaches(&metadata.private(), "169.254.169.254"));
    }

    #[test]
    fn a_grant_without_a_valid_host_is_refused() {
        for host in ["", "*", "*.", "a*b", "ex ample.org", "http://example.org", "user@host", "*.0.0.1", "a/b", "*.*.x"]
        {
            assert!(Allow::https(host).check().is_err(), "{host}");
        }
        for host in ["example.org", "*.example.org", "localhost", "127.0.0.1", "::1", "[::1]", "xn--bcher-kva.example"]
        {
            assert_eq!(Allow::https(host).check(), Ok(()), "{host}");
        }
    }
}
