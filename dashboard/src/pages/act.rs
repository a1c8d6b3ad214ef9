//! Where the forms of the pages are sent.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde_json::Value;

use super::problem::problem;
use crate::api::{Action, Code, Problem};
use crate::change::make;
use crate::safety::{Visit, equal};
use crate::site::{Note, Site};

/// The fields of a form, in order.
type Fields = Vec<(String, String)>;

/// Makes the change, and goes back to the page that it was asked for on.
pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    match sent(&site, fields) {
        Err(found) => problem(&site, &visit, &found),
        Ok((action, back)) => {
            let note = match make(&site, &visit.actor, action).await {
                Ok(done) => Note { is_problem: !done.problems.is_empty(), text: done.message },
                Err(problem) => Note { text: problem.detail, is_problem: true },
            };
            let number = site.keep(note);
            Redirect::to(&with_note(&visit.base, &back, number)).into_response()
        }
    }
}

/// Reads the form: the action, and the page to go back to.
fn sent(site: &Site, fields: Result<Form<Fields>, FormRejection>) -> Result<(Action, String), Problem> {
    let Form(fields) = fields.map_err(|rejection| Problem::of_rejection(rejection.status(), rejection.body_text()))?;
    let field = |name: &str| fields.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.as_str());
    if !equal(field("form"), &site.secrets.form) {
        return Err(Problem::new(
            Code::Forbidden,
            "The form is out of date, or from another site: load the page again.",
        ));
    }
    let back = field("back");
    let action = action_of(field("action"), &fields)?;
    Ok((action, if is_own_path(back) { back.to_owned() } else { "/".to_owned() }))
}

/// A path within the dashboard, and nothing that a browser takes for another host: it leaves out tabs and line breaks.
pub fn is_own_path(back: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '\\' && c != '#';
    back.starts_with('/') && !back.starts_with("//") && back.chars().all(is_plain)
}

/// The address of a page, with the number of the note that it shows.
fn with_note(base: &str, back: &str, note: u64) -> String {
    let (path, query) = back.split_once('?').unwrap_or((back, ""));
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("note="));
    let query: Vec<_> = kept.map(str::to_owned).chain([format!("note={note}")]).collect();
    format!("{base}{path}?{}", query.join("&"))
}

/// The action, with what was entered into the fields. Their names are places in the action, with the type if it is not a
/// text: `/reason`, `/overrides/concurrency:json`. A field in which nothing was entered leaves its place out, or puts `null`
/// there if it is `nullable`. A field that still has the value with which it was shown, which the field `was:` and its name
/// has, leaves its place out.
fn action_of(json: &str, fields: &Fields) -> Result<Action, Problem> {
    let invalid = |error: serde_json::Error| Problem::invalid(format!("The form cannot be read: {error}"));
    let mut action: Value = serde_json::from_str(json).map_err(invalid)?;
    for (name, text) in fields.iter().filter(|(name, _)| name.starts_with('/')) {
        // Browsers send line breaks as two characters.
        let text = text.replace("\r\n", "\n");
        let was = fields.iter().find(|(own, _)| own.strip_prefix("was:") == Some(name.as_str()));
        if was.is_some_and(|(_, was)| was.replace("\r\n", "\n") == text) {
            continue;
        }
        let (place, kind) = name.split_once(':').unwrap_or((name, "text"));
        match (text.trim(), kind) {
            ("", "nullable" | "nullable_json") => put(&mut action, place, Value::Null),
            ("", "json" | "option") => {}
            (json, "json" | "nullable_json") => {
                let value = serde_json::from_str(json).map_err(|error| {
                    Problem::invalid(format!("{} is no JSON: {error}", place.trim_start_matches('/')))
                })?;
                put(&mut action, place, value);
            }
            (text, "lines") => {
                put(&mut action, place, text.lines().map(str::trim).filter(|line| !line.is_empty()).collect())
            }
            _ => put(&mut action, place, text.as_str().into()),
        }
    }
    serde_json::from_value(action).map_err(invalid)
}

/// Puts a value at a place, in objects that are made as needed.
fn put(within: &mut Value, place: &str, value: Value) {
    let mut within = within;
    let mut names = place.split('/').skip(1).peekable();
    while let Some(name) = names.next() {
        if !within.is_object() {
            *within = Value::Object(serde_json::Map::new());
        }
        let Value::Object(object) = within else { return };
        if names.peek().is_none() {
            object.insert(name.to_owned(), value);
            return;
        }
        within = object.entry(name).or_insert(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Misfire, Overrides, ScheduleChange};

    fn fields(fields: &[(&str, &str)]) -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_entered_is_put_at_its_place() {
        let json = r#"{"action":"set_overrides","queue":"mail","overrides":{}}"#;
        let entered = [("form", "x"), ("/overrides/concurrency:json", "7"), ("/overrides/rate:json", " ")];
        let overrides = Overrides { concurrency: Some(7), ..Overrides::default() };
        let expected = Action::SetOverrides { queue: "mail".to_owned(), overrides };
        assert_eq!(action_of(json, &fields(&entered)), Ok(expected));
    }

    #[test]
    fn what_was_not_changed_is_left_out() {
        let json = r#"{"action":"update_job","id":"1","change":{}}"#;
        let entered = [
            ("/change/priority:json", "5"),
            ("was:/change/priority:json", "5"),
            ("/change/payload_text:option", "{\r\n  \"n\": 1\r\n}"),
            ("was:/change/payload_text:option", "{\n  \"n\": 1\n}"),
            ("/change/tags:lines", "customer 7\r\n\r\nnew"),
            ("was:/change/tags:lines", "customer 7"),
        ];
        let tags = Some(vec!["customer 7".to_owned(), "new".to_owned()]);
        let change = crate::api::Change { tags, ..crate::api::Change::default() };
        let expected = Action::UpdateJob { id: "1".to_owned(), change };
        assert_eq!(action_of(json, &fields(&entered)), Ok(expected));
    }

    #[test]
    fn a_field_that_was_emptied_removes_what_need_not_be_there() {
        let json = r#"{"action":"update_schedule","name":"daily","change":{}}"#;
        let entered = [
            ("/change/misfire:option", "once"),
            ("was:/change/misfire:option", "once"),
            ("/change/misfire/all/at_most:json", "3"),
            ("was:/change/misfire/all/at_most:json", ""),
            ("/change/starts_at:nullable", ""),
            ("was:/change/starts_at:nullable", ""),
            ("/change/ends_at:nullable", ""),
            ("was:/change/ends_at:nullable", "2026-11-28T16:29:00.000Z"),
            ("/change/at_most:nullable_json", "7"),
            ("was:/change/at_most:nullable_json", ""),
        ];
        let change = ScheduleChange {
            misfire: Some(Misfire::All { at_most: 3 }),
            ends_at: Some(None),
            at_most: Some(Some(7)),
            ..ScheduleChange::default()
        };
        let expected = Action::UpdateSchedule { name: "daily".to_owned(), change };
        assert_eq!(action_of(json, &fields(&entered)), Ok(expected));
    }

    #[test]
    fn a_field_that_is_no_json_is_named() {
        let json = r#"{"action":"set_overrides","queue":"mail","overrides":{}}"#;
        let problem = action_of(json, &fields(&[("/overrides/concurrency:json", "many")])).unwrap_err();
        assert!(problem.detail.starts_with("overrides/concurrency is no JSON"), "{problem}");
    }

    #[test]
    fn the_note_replaces_an_older_one() {
        assert_eq!(with_note("/q", "/jobs", 3), "/q/jobs?note=3");
        assert_eq!(with_note("", "/jobs?state=dead&note=2", 3), "/jobs?state=dead&note=3");
    }

    #[test]
    fn the_way_back_stays_within_the_dashboard() {
        assert!(is_own_path("/jobs?state=dead"));
        for foreign in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/a\r\nSet-Cookie: x",
            "/\t/evil.example",
            "jobs",
        ] {
            assert!(!is_own_path(foreign), "{foreign:?}");
        }
    }
}
