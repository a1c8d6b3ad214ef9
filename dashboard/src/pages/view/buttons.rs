//! Buttons that ask for a change. They are forms, so they work without a script.

use maud::{Markup, html};

use super::View;
use crate::api::Action;

/// How a button looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Danger,
    Small,
}

impl Style {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "button",
            Self::Danger => "button danger",
            Self::Small => "button small",
        }
    }
}

impl View<'_> {
    /// A button that makes a change, or that leads to the page that asks first. Nothing, if the dashboard is read-only.
    pub fn button(&self, label: &str, style: Style, action: &Action) -> Markup {
        if !self.can_change() {
            return html! {};
        }
        if action.is_destructive() || action.jobs().is_some() {
            return html! { a class=(style.class()) href=(self.link_to_confirm(action)) { (label) } };
        }
        self.form(action, html! { button class=(style.class()) type="submit" { (label) } })
    }

    /// A form that makes a change. Its fields are named by their places in the action (RFC 6901): `/reason`.
    pub fn form(&self, action: &Action, content: Markup) -> Markup {
        self.form_back_to(&self.visit.here, action, content)
    }

    /// [`Self::form`], after which another page than this one is shown.
    pub fn form_back_to(&self, back: &str, action: &Action, content: Markup) -> Markup {
        let json = serde_json::to_string(action).unwrap_or_default();
        html! {
            form method="post" action=(format!("{}/actions", self.visit.base)) {
                input type="hidden" name="form" value=(self.site.secrets.form);
                input type="hidden" name="action" value=(json);
                input type="hidden" name="back" value=(back);
                (content)
            }
        }
    }

    /// The value with which a field was shown: it is sent only if it was changed.
    pub fn was(&self, name: &str, value: &str) -> Markup {
        html! { input type="hidden" name={ "was:" (name) } value=(value); }
    }

    /// Whether there are buttons at all.
    pub fn can_change(&self) -> bool {
        !self.site.options.read_only
    }
}
