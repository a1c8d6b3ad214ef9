use std::net::IpAddr;

use super::address::{Scope, scope};
use super::asked::{Origin, Scheme};

/// Hosts that a plugin may ask, for [`Grant::http`](crate::Grant::http): a scheme, a host and a port, each exactly, or all
/// hosts below a domain.
///
/// Names are resolved by the queue, and an address that is not public is not connected to: a name that somebody
/// else has control of would lead into your network otherwise.
///
/// ```
/// use millpond::{Allow, Grant};
///
/// let grants = [
///     Grant::http(Allow::https("api.example.org")),
///     Grant::http(Allow::https("*.example.net").port(8443)),
///     Grant::http(Allow::http("localhost").port(9200).private()),
/// ];
/// # let _ = grants;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Allow {
    scheme: Scheme,
    host: String,
    port: u16,
    private: bool,
}

impl Allow {
    /// This host over TLS, at port 443: a name, an address, or `*.example.org` for every name below that one, which is
    /// not among them.
    pub fn https(host: impl Into<String>) -> Self {
        Self::new(Scheme::Https, host.into())
    }

    /// This host in the clear, at port 80.
    pub fn http(host: impl Into<String>) -> Self {
        Self::new(Scheme::Http, host.into())
    }

    fn new(scheme: Scheme, host: String) -> Self {
        Self { scheme, host: host.to_ascii_lowercase(), port: scheme.port(), private: false }
    }

    /// At another port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Also where its addresses are of this machine or this network. Addresses that nobody names by accident, such as
    /// the link-local one where clouds keep a machine's credentials, have to be the host itself for that.
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// What is wrong with it.
    pub(in crate::executor::wasm) fn check(&self) -> Result<(), String> {
        let host = self.host.strip_prefix("*.").unwrap_or(&self.host);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if literal(&self.host).is_some() {
            return Ok(());
        }
        if host.is_empty() || host.starts_with('.') || !host.chars().all(is_plain) {
            return Err(format!("{:?} is no host: give a name, an address or `*.` and a name", self.host));
        }
        if host.len() != self.host.len() && host.split('.').next_back().is_none_or(|end| end.parse::<u32>().is_ok()) {
            return Err(format!("{:?}: addresses are granted one by one", self.host));
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

    /// Whether a host that it covers may be asked at this address.
    pub(super) fn reaches(&self, address: IpAddr) -> bool {
        match scope(address) {
            Scope::Public => true,
            Scope::Inside => self.private,
            Scope::Special => self.private && literal(&self.host) == Some(address),
        }
    }
}

/// A host that is an address; one of IPv6 has brackets in a URL.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(allow: &Allow, url: &str) -> bool {
        let uri = url.parse().unwrap();
        allow.covers(&Origin::of(&uri).unwrap())
    }

    #[test]
    fn scheme_host_and_port_are_each_as_granted() {
        let allow = Allow::https("API.example.org");
        assert!(covers(&allow, "https://api.example.org/x") && covers(&allow, "https://Api.Example.Org:443/"));
        assert!(covers(&allow, "https://api.example.org./"), "a name may say that it is whole");
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
    fn a_domain_is_what_is_below_it() {
        let allow = Allow::http("*.example.org").port(8080);
        assert!(covers(&allow, "http://a.example.org:8080/") && covers(&allow, "http://a.b.example.org:8080/"));
        for other in ["http://example.org:8080/", "http://badexample.org:8080/", "http://.example.org:8080/"] {
            let covered = other.parse().ok().and_then(|uri| Origin::of(&uri).ok()).is_some_and(|it| allow.covers(&it));
            assert!(!covered, "{other}");
        }
    }

    #[test]
    fn an_address_is_one_however_it_is_written() {
        assert!(covers(&Allow::http("::1"), "http://[0:0:0:0:0:0:0:1]/"));
        assert!(!covers(&Allow::http("127.0.0.1"), "http://127.1/"));
    }

    #[test]
    fn what_is_not_public_needs_a_word_more() {
        let reaches = |allow: &Allow, address: &str| allow.reaches(address.parse().unwrap());
        let public = Allow::http("example.org");
        let private = public.clone().private();
        assert!(reaches(&public, "1.1.1.1") && !reaches(&public, "10.0.0.1"));
        assert!(reaches(&private, "10.0.0.1") && !reaches(&private, "169.254.169.254"));
        let metadata = Allow::http("169.254.169.254");
        assert!(!reaches(&metadata, "169.254.169.254") && reaches(&metadata.private(), "169.254.169.254"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
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
