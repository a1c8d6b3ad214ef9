//! Where people enter the token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use maud::html;
use serde::Deserialize;

use super::problem::problem;
use super::view::{Section, View};
use crate::api::{Code, Problem};
use crate::options::Access;
use crate::safety::{Visit, equal, sessions};
use crate::site::Site;

/// The page with the form.
pub(crate) fn login(site: &Site, visit: &Visit, error: Option<&str>) -> Response {
    let view = View::new(site, visit);
    let content = html! {
        section.narrow {
            h1 { "Log in" }
            @if let Some(error) = error { p.note.problem role="alert" { (error) } }
            form method="post" action=(format!("{}/login", visit.base)) {
                label for="token" { "Token" }
                input id="token" name="token" type="password" autocomplete="current-password" required;
                button.button type="submit" { "Log in" }
            }
        }
    };
    view.page_with(StatusCode::UNAUTHORIZED, Section::Outside, "Log in", content)
}

/// The page with the form, at its own address.
pub(crate) async fn login_form(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Response {
    login(&site, &visit, None)
}

#[derive(Deserialize)]
pub(crate) struct Entered {
    token: String,
}

/// Checks the token, and gives the browser the cookie.
pub(crate) async fn log_in(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(entered): Form<Entered>,
) -> Response {
    match &site.options.access {
        Access::Token(token) if equal(entered.token.trim(), token) => {
            with_cookie(&visit, &headers, &format!("{}={}", visit.session_cookie, site.secrets.begin_session()))
        }
        Access::Token(_) => login(&site, &visit, Some("This is not the token.")),
        _ => problem(&site, &visit, &Problem::not_found("This dashboard has no token.")),
    }
}

#[derive(Deserialize)]
pub(crate) struct Leaving {
    form: String,
}

/// Ends the session, and takes the cookie back.
pub(crate) async fn log_out(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(leaving): Form<Leaving>,
) -> Response {
    if !equal(&leaving.form, &site.secrets.form) {
        return problem(&site, &visit, &Problem::new(Code::Forbidden, "The form is out of date: load the page again."));
    }
    sessions(&headers, &visit.session_cookie).for_each(|session| site.secrets.end_session(session));
    with_cookie(&visit, &headers, &format!("{}=; Max-Age=0", visit.session_cookie))
}

fn with_cookie(visit: &Visit, headers: &HeaderMap, cookie: &str) -> Response {
    let path = if visit.base.is_empty() { "/" } else { &visit.base };
    // A proxy that speaks HTTPS says so. Without one the cookie has to go over HTTP: a device in a workshop has no certificate.
    let is_secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{cookie}; Path={path}; HttpOnly; SameSite=Strict{secure}");
    let mut response = Redirect::to(&format!("{}/", visit.base)).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
