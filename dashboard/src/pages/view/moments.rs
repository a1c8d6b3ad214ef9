//! Points in time for people: how far away, and exactly when the pointer is on it.

use maud::{Markup, html};

use crate::amounts::seconds;
use crate::api::Time;

/// `3 m 20 s ago`, `in 5 s`
pub fn moment(now: Time, time: Time) -> Markup {
    let away = now.seconds_since(time);
    let text = match away {
        _ if away.abs() < 0.001 => "now".to_owned(),
        _ if away > 0.0 => format!("{} ago", seconds(away)),
        _ => format!("in {}", seconds(away)),
    };
    html! { time datetime=(time) title=(time) { (text) } }
}
