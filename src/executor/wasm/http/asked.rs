//! A request of a guest: checked, and turned into the request that is sent.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::Uri;
use hyper::{Method, StatusCode, header};

use super::address::literal;
use crate::executor::wasm::contract::outbound_http as contract;

/// The most headers of one request or response.
pub(super) const HEADERS_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The scheme, host and port of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub scheme: Scheme,
    /// In lower case, without a trailing dot.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// # Errors
    /// The URL has no valid scheme, host or port, or has a user in it.
    pub fn of(uri: &Uri) -> Result<Self, &'static str> {
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err("the URL is neither http nor https"),
        };
        let authority = uri.authority().ok_or("the URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("the URL contains a user: use a header for credentials");
        }
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let is_name = !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c));
        if !is_name && literal(host).is_none() {
            return Err("the URL's host is neither a name nor an address");
        }
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None | Some("") => scheme.port(),
            Some(port) => port.parse().map_err(|_| "the URL's port is not a port number")?,
        };
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

/// A request, as the guest made it or as a redirect has changed it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub origin: Origin,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The headers that a guest cannot set. They control the connection, which belongs to the host, or would cause more
/// than one round trip.
static NOT_THE_GUESTS: [HeaderName; 11] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
];

/// The headers that are kept if a redirect leads to another origin. All others are dropped, because they can contain
/// credentials.
static HARMLESS: [HeaderName; 5] =
    [header::ACCEPT, header::ACCEPT_LANGUAGE, header::USER_AGENT, header::CONTENT_TYPE, header::CACHE_CONTROL];

impl Asked {
    /// Checks and converts a request.
    ///
    /// # Errors
    /// The request is not valid, or over its limit. The text is for the guest.
    pub fn read(request: contract::Request, bytes_max: usize) -> Result<Self, String> {
        let headers = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let bytes = request.url.len() + request.method.len() + headers + request.body.len();
        if bytes > bytes_max {
            return Err(format!("the request has {bytes} bytes, the limit is {bytes_max}"));
        }
        let method =
            Method::from_bytes(request.method.as_bytes()).map_err(|_| "the method is not a valid HTTP method")?;
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(format!("a plugin cannot use the method {method}"));
        }
        let uri: Uri = request.url.parse().map_err(|error| format!("the URL is not valid: {error}"))?;
        let origin = Origin::of(&uri)?;
        let headers = headers_of(request.headers)?;
        Ok(Self { method, uri, origin, headers, body: request.body.into() })
    }

    /// The request that follows the redirect of `status` and `location`. `None` if they are not a redirect.
    pub fn redirected(&self, status: StatusCode, location: Option<&HeaderValue>) -> Option<Result<Self, String>> {
        let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = location.filter(|_| is_redirect)?;
        Some(location.to_str().map_err(|error| error.to_string()).and_then(|location| self.sent_on(status, location)))
    }

    fn sent_on(&self, status: StatusCode, location: &str) -> Result<Self, String> {
        let uri = joined(&self.uri, location).ok_or("the redirect leads to an invalid URL")?;
        let origin = Origin::of(&uri)?;
        let mut next = Self { uri, origin, ..self.clone() };
        let posted = self.method == Method::POST && matches!(status.as_u16(), 301 | 302);
        if posted || (status == StatusCode::SEE_OTHER && self.method != Method::HEAD) {
            next.method = Method::GET;
            next.body = Bytes::new();
            next.headers.remove(header::CONTENT_TYPE);
        }
        if next.origin != self.origin {
            next.headers = harmless(&next.headers);
        }
        Ok(next)
    }
}

fn headers_of(given: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, String> {
    if given.len() > HEADERS_MAX {
        return Err(format!("it has {} headers, the limit is {HEADERS_MAX}", given.len()));
    }
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a valid header name"))?;
        if NOT_THE_GUESTS.contains(&name) {
            return Err(format!("a plugin cannot set the header {name}"));
        }
        let value =
            HeaderValue::from_bytes(&value).map_err(|_| format!("the value of the header {name} is not valid"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn harmless(headers: &HeaderMap) -> HeaderMap {
    headers.iter().filter(|(name, _)| HARMLESS.contains(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Resolves `location` relative to `base`, the URL of the request that was redirected.
fn joined(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let has_scheme = location.split(['/', '?']).next().is_some_and(|head| head.contains(':'));
    if has_scheme {
        return location.parse().ok();
    }
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    let path = match location.chars().next() {
        Some('/') => location.to_owned(),
        Some('?') => format!("{}{location}", base.path()),
        None => base.path_and_query()?.to_string(),
        Some(_) => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}")
        }
    };
    format!("{scheme}://{authority}{path}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, headers: &[(&str, &str)]) -> contract::Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        contract::Request { method: "POST".into(), url: url.into(), headers, body: b"body".to_vec(), timeout: None }
    }

    fn asked(url: &str, headers: &[(&str, &str)]) -> Result<Asked, String> {
        Asked::read(request(url, headers), 1 << 20)
    }

    #[test]
    fn a_url_without_a_valid_origin_is_refused() {
        let origin = |url: &str| asked(url, &[]).map(|asked| (asked.origin.host, asked.origin.port));
        assert_eq!(origin("https://Example.Org./a?b"), Ok(("example.org".into(), 443)));
        assert_eq!(origin("http://[::1]:8080/"), Ok(("[::1]".into(), 8080)));
        for url in [
            "",
            "/path",
            "example.org",
            "ftp://example.org/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://user@example.org/",
            "http://user:word@example.org/",
            "http://a b/",
            "http://ex%61mple.org/",
            "http://example.org:99999/",
            "http://example.org:8o/",
            "http://[::1/",
            "http://b\u{fc}cher.example/",
            "http://example.org\\@evil.test/",
            "gopher://x/",
            "http://\u{0}/",
            "http://example.org/\r\nx: y",
        ] {
            assert!(origin(url).is_err(), "{url:?}: {:?}", origin(url));
        }
    }

    #[test]
    fn headers_of_the_connection_are_refused_in_any_case() {
        for name in ["host", "Host", "connection", "Transfer-Encoding", "content-length", "upgrade", "te", "expect"] {
            let refused = asked("http://example.org/", &[("accept", "*/*"), (name, "x")]).unwrap_err();
            assert!(refused.starts_with("a plugin cannot set the header"), "{refused}");
        }
        for (name, value) in [("x y", "z"), ("", "z"), ("x", "y\r\nhost: evil"), ("x:", "y")] {
            assert!(asked("http://example.org/", &[(name, value)]).is_err(), "{name:?}");
        }
        assert!(asked("http://example.org/", &[("x", "y"); 100]).is_ok());
        assert!(asked("http://example.org/", &[("x", "y"); 101]).is_err());
    }

    #[test]
    fn a_request_that_is_too_large_or_has_an_invalid_method_is_refused() {
        let large = request("http://example.org/", &[("x", "y")]);
        assert!(Asked::read(large.clone(), 29).is_ok());
        assert_eq!(Asked::read(large, 28).unwrap_err(), "the request has 29 bytes, the limit is 28");
        for method in ["CONNECT", "TRACE", "", "G T", "GET\r\n"] {
            let request = contract::Request { method: method.into(), ..request("http://example.org/", &[]) };
            assert!(Asked::read(request, 1 << 20).is_err(), "{method:?}");
        }
    }

    #[test]
    fn a_location_is_resolved_as_browsers_resolve_it() {
        let base: Uri = "http://example.org:81/a/b?c".parse().unwrap();
        for (location, expected) in [
            ("https://other.test/x#part", "https://other.test/x"),
            ("//other.test/x", "http://other.test/x"),
            ("/x?y:z", "http://example.org:81/x?y:z"),
            ("?x", "http://example.org:81/a/b?x"),
            ("x", "http://example.org:81/a/x"),
            ("#part", "http://example.org:81/a/b?c"),
        ] {
            assert_eq!(joined(&base, location).unwrap().to_string(), expected, "{location}");
        }
        for bad in ["http://", "http:// x/", "::"] {
            assert!(joined(&base, bad).is_none(), "{bad}");
        }
    }

    fn sent_on(status: u16, location: &'static str) -> Asked {
        let headers = [("authorization", "secret"), ("x-api-key", "secret"), ("accept", "*/*"), ("content-type", "t")];
        let asked = asked("http://example.org/a", &headers).unwrap();
        let location = HeaderValue::from_static(location);
        asked.redirected(StatusCode::from_u16(status).unwrap(), Some(&location)).unwrap().unwrap()
    }

    #[test]
    fn a_redirect_to_another_origin_drops_headers_that_can_hold_credentials() {
        let names = |asked: Asked| {
            let mut names: Vec<String> = asked.headers.keys().map(|name| name.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(names(sent_on(307, "/b")), ["accept", "authorization", "content-type", "x-api-key"]);
        for other in ["https://example.org/", "http://example.org:8080/", "http://example.net/"] {
            assert_eq!(names(sent_on(307, other)), ["accept", "content-type"], "{other}");
        }
    }

    #[test]
    fn a_redirected_post_becomes_a_get_where_the_status_requires_it() {
        for (status, method, len) in
            [(301, "GET", 0), (302, "GET", 0), (303, "GET", 0), (307, "POST", 4), (308, "POST", 4)]
        {
            let next = sent_on(status, "/b");
            assert_eq!((next.method.as_str(), next.body.len()), (method, len), "{status}");
        }
        let asked = asked("http://example.org/", &[]).unwrap();
        assert!(asked.redirected(StatusCode::OK, Some(&HeaderValue::from_static("/"))).is_none());
        assert!(asked.redirected(StatusCode::NOT_MODIFIED, None).is_none());
        assert!(asked.redirected(StatusCode::FOUND, None).is_none());
    }
}
