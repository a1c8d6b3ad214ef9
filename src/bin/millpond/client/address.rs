//! Where the API is.

use std::path::{Path, PathBuf};

use millpond::dashboard::api::Problem;
use serde_json::Value;

/// Where a process serves the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub place: Place,
    /// The value of the header `Host`.
    pub host: String,
    /// The path under which the dashboard is mounted, without a slash at its end.
    pub base: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { name: String, port: u16, is_tls: bool },
    Socket(PathBuf),
}

impl Address {
    pub fn of_socket(path: &Path) -> Self {
        Self { place: Place::Socket(path.to_owned()), host: "localhost".to_owned(), base: String::new() }
    }

    pub fn of_url(url: &str) -> Result<Self, Problem> {
        let refused = |why: &str| Problem::invalid(format!("{url:?} is no address of a dashboard: {why}"));
        let (is_tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(refused("it begins with http:// or https://")),
        };
        let (host, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let base = base.trim_end_matches('/');
        if !base.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte)) {
            return Err(refused("its path has a character that a path cannot have"));
        }
        let (name, port) = parts(host).ok_or_else(|| refused("its host cannot be read"))?;
        let place = Place::Tcp { name, port: port.unwrap_or(if is_tls { 443 } else { 80 }), is_tls };
        Ok(Self { place, host: host.to_owned(), base: base.to_owned() })
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tcp { is_tls: true, .. })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Tcp { is_tls, .. } => {
                write!(f, "{}://{}{}", if *is_tls { "https" } else { "http" }, self.host, self.base)
            }
            Place::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The name or address of a host, and its port.
fn parts(host: &str) -> Option<(String, Option<u16>)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            name.parse::<std::net::Ipv6Addr>().ok()?;
            (name, port)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    let port = match port.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None if port.is_empty() => None,
        None => return None,
    };
    (!name.is_empty() && name.chars().all(is_name)).then(|| (name.to_owned(), port))
}

/// A text as one part of a path, or as a value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The fields of these objects as a query: `?queue=mail&limit=50`.
pub(super) fn query(parts: &[&Value]) -> String {
    let fields = parts.iter().filter_map(|part| part.as_object()).flatten();
    let pairs = fields.filter_map(|(name, value)| match value {
        Value::Null => None,
        Value::String(text) => Some(format!("{name}={}", encoded(text))),
        other => Some(format!("{name}={}", encoded(&other.to_string()))),
    });
    let joined = pairs.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (url, name, port, base) in [
            ("http://127.0.0.1:8080/admin/queues/", "127.0.0.1", 8080, "/admin/queues"),
            ("https://ops.example.org", "ops.example.org", 443, ""),
            ("http://[::1]:99/", "::1", 99, ""),
        ] {
            let Address { place: Place::Tcp { name: read, port: at, .. }, base: under, .. } =
                Address::of_url(url).unwrap()
            else {
                panic!("{url}")
            };
            assert_eq!((read.as_str(), at, under.as_str()), (name, port, base));
        }
        for url in
            ["", "ftp://a", "http://", "http://a:b", "http://a b/", "http://a/b c", "http://[x]/", "http://a/\r\nX: 1"]
        {
            assert!(Address::of_url(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn texts_are_encoded_in_queries() {
        let fields = serde_json::json!({ "queue": "a b&c", "tag": null, "limit": 5, "text": "é/?#%" });
        assert_eq!(query(&[&fields]), "?limit=5&queue=a%20b%26c&text=%C3%A9%2F%3F%23%25");
        assert_eq!(query(&[&serde_json::json!({})]), "");
    }
}
