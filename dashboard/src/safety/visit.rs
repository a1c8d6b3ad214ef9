//! One request: whether it is answered, by whom it was sent, and under which path the dashboard is seen.

use std::sync::Arc;

use axum::extract::{OriginalUri, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::Peer;
use super::{access, origin, security_headers};
use crate::api::{Code, Problem};
use crate::options::Actor;
use crate::pages;
use crate::site::Site;

/// A request that was let through.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// The path under which the dashboard is seen, without a slash at its end.
    pub base: String,
    /// The path and the query within the dashboard: `/jobs?state=dead`.
    pub here: String,
    /// The name of the cookie of those who have entered the token.
    pub session_cookie: String,
    /// Who asks.
    pub actor: Actor,
}

/// Lets a request through, or answers it with the reason.
pub(crate) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let visit = Visit::of(&site, &parts);
    let mut response = match admit(&site, &parts) {
        Ok(()) => {
            parts.extensions.insert(visit);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => refuse(&site, &visit, &parts, problem),
    };
    security_headers(response.headers_mut());
    response
}

fn admit(site: &Site, parts: &Parts) -> Result<(), Problem> {
    access::check(&site.options, &site.secrets, parts, !is_open(parts))?;
    if is_change(parts) { origin::check(&site.options, parts) } else { Ok(()) }
}

/// What is there without the token: what is needed to enter it, and whether the process lives.
fn is_open(parts: &Parts) -> bool {
    let path = parts.uri.path();
    path.starts_with("/assets/") || path == "/health/live" || path == "/login"
}

fn is_change(parts: &Parts) -> bool {
    !matches!(parts.method, Method::GET | Method::HEAD)
}

fn refuse(site: &Site, visit: &Visit, parts: &Parts, problem: Problem) -> Response {
    let is_of_program = |path: &str| ["/api/", "/health/", "/metrics", "/live"].iter().any(|own| path.starts_with(own));
    if is_of_program(parts.uri.path()) {
        problem.into_response()
    } else if problem.code == Code::Unauthorized {
        pages::login(site, visit, None)
    } else {
        pages::refusal(site, visit, &problem)
    }
}

impl Visit {
    fn of(site: &Site, parts: &Parts) -> Self {
        let own = parts.uri.path();
        let original = parts.extensions.get::<OriginalUri>().map_or(own, |original| original.0.path());
        let base = site.options.public_path.clone().unwrap_or_else(|| base(original, own).to_owned());
        let here = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let address = Peer::of(parts).map(|peer| match peer {
            Peer::Socket => "local".to_owned(),
            Peer::Address(address) => address.ip().to_string(),
        });
        let session_cookie = access::session_cookie(access::host(parts).as_deref());
        let actor = Actor { name: site.options.name_of(parts), address, is_local: Peer::is_on_this_machine(parts) };
        Self { base, here, session_cookie, actor }
    }
}

/// What is before the router's `own` path in the path that was asked for.
fn base<'p>(original: &'p str, own: &str) -> &'p str {
    let base = original.strip_suffix(own).unwrap_or(if own == "/" { original } else { "" });
    base.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_what_the_router_is_nested_at() {
        assert_eq!(base("/", "/"), "");
        assert_eq!(base("/jobs/1", "/jobs/1"), "");
        assert_eq!(base("/admin/queues", "/"), "/admin/queues");
        assert_eq!(base("/admin/queues/", "/"), "/admin/queues");
        assert_eq!(base("/admin/queues/jobs/1", "/jobs/1"), "/admin/queues");
    }
}
