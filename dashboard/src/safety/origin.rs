//! Whether a change was asked for by a page of this dashboard, or by a program, and not by a foreign page.

use axum::http::header;
use axum::http::request::Parts;

use super::access::{host, without_port};
use crate::api::{Code, Problem};
use crate::options::Options;

/// Checks that no foreign page has sent the request.
///
/// A browser says where a request comes from, in `Sec-Fetch-Site` and in `Origin`. A program sends neither.
///
/// A proxy can have another host than the request that it sends on: it is named with `Options::host`.
pub(super) fn check(options: &Options, parts: &Parts) -> Result<(), Problem> {
    let header = |name| parts.headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or("?"));
    let is_foreign = match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) if site != "same-origin" => true,
        (_, Some(origin)) => !is_own(origin, host(parts).as_deref(), &options.hosts),
        _ => false,
    };
    if is_foreign { Err(Problem::new(Code::Forbidden, "the request comes from another site")) } else { Ok(()) }
}

fn is_own(origin: &str, host: Option<&str>, named: &[String]) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| {
        let is_named = || named.iter().any(|own| without_port(authority).eq_ignore_ascii_case(own));
        host.is_some_and(|host| authority.eq_ignore_ascii_case(host)) || is_named()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(headers: &[(&str, &str)]) -> bool {
        let mut request = axum::http::Request::builder().uri("/actions").header("host", "localhost:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let options = Options::new().host("ops.example");
        check(&options, &request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn pages_of_the_dashboard_and_programs_are_let_through() {
        assert!(check_of(&[]));
        assert!(check_of(&[("origin", "http://localhost:8080")]));
        assert!(check_of(&[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(check_of(&[("origin", "https://ops.example"), ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn foreign_pages_are_refused() {
        assert!(!check_of(&[("origin", "http://localhost:9090")]));
        assert!(!check_of(&[("origin", "null")]));
        assert!(!check_of(&[("origin", "https://evil.example")]));
        assert!(!check_of(&[("sec-fetch-site", "cross-site")]));
        assert!(!check_of(&[("sec-fetch-site", "same-site"), ("origin", "http://localhost:8080")]));
        assert!(!check_of(&[("sec-fetch-site", "none"), ("origin", "http://localhost:8080")]));
        assert!(!check_of(&[("origin", "localhost:8080")]));
    }
}
