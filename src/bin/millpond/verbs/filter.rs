//! The arguments that say which jobs are meant.

use clap::{Arg, ArgMatches};
use millpond::dashboard::api::{JobQuery, Time};

use crate::output;

const HEADING: &str = "Which jobs";

/// The arguments, each of which leaves fewer jobs.
pub fn args() -> Vec<Arg> {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).help_heading(HEADING)
    };
    vec![
        text("queue", "QUEUE", "In this queue").short('q'),
        text("state", "STATE", "In this state").value_parser([
            "pending",
            "scheduled",
            "running",
            "retrying",
            "completed",
            "dead",
            "cancelled",
            "blocked",
        ]),
        text("kind", "KIND", "Of this kind").short('k'),
        text("group", "GROUP", "In this group"),
        text("key", "KEY", "With this unique key"),
        text("tag", "TAG", "With this tag. It is found by an index"),
        text("payload", "TEXT", "With this text in the payload"),
        text("where", "POINTER=VALUE", "With this value in a JSON payload: /user/id=7").value_parser(pointed),
        text("error", "TEXT", "With this text in the latest error or the reason of the end"),
        text("since", "TIME", "Enqueued or ended at this time or later: 2026-11-28T16:29, or 2h for two hours ago")
            .value_parser(time),
        text("until", "TIME", "Enqueued or ended before this time").value_parser(time),
    ]
}

/// The jobs that the arguments mean. A command need not have all of them.
pub fn query(matches: &ArgMatches) -> JobQuery {
    let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let pointed = matches.get_one::<(String, String)>("where").cloned();
    let (pointer, equals) = pointed.unzip();
    JobQuery {
        queue: text("queue"),
        state: text("state"),
        kind: text("kind"),
        group: text("group"),
        key: text("key"),
        tag: text("tag"),
        payload: text("payload"),
        pointer,
        equals,
        error: text("error"),
        since: matches.get_one::<Time>("since").copied(),
        until: matches.get_one::<Time>("until").copied(),
    }
}

fn pointed(text: &str) -> Result<(String, String), String> {
    let (pointer, value) = text.split_once('=').ok_or("write it as /user/id=7")?;
    Ok((pointer.to_owned(), value.to_owned()))
}

/// A time, or how long ago it was: `90s`, `30m`, `2h`, `7d`.
fn time(text: &str) -> Result<Time, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return text.parse().map_err(|error| format!("{error}; or as 90s, 30m, 2h or 7d, which is so long ago")),
    };
    let past = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds * 1_000));
    let past = past.ok_or_else(|| format!("{text:?} is no time"))?;
    Ok(Time(Time::now().0.saturating_sub(past)))
}

/// The jobs that a query means, as words: `dead jobs of queue mail with the tag tenant:7`.
pub fn words(query: &JobQuery) -> String {
    let mut words = query.state.as_ref().map_or("jobs".to_owned(), |state| format!("{state} jobs"));
    let shown = |text: &str| output::cut(text, 60);
    for (before, text) in [
        ("of queue", &query.queue),
        ("of kind", &query.kind),
        ("in group", &query.group),
        ("with the key", &query.key),
        ("with the tag", &query.tag),
        ("with a payload that contains", &query.payload),
        ("whose error contains", &query.error),
    ] {
        if let Some(text) = text {
            words.push_str(&format!(" {before} {}", shown(text)));
        }
    }
    if let (Some(pointer), Some(value)) = (&query.pointer, &query.equals) {
        words.push_str(&format!(" with {} at {}", shown(value), shown(pointer)));
    }
    for (before, time) in [("since", query.since), ("until", query.until)] {
        if let Some(time) = time {
            words.push_str(&format!(" {before} {time}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_can_be_so_long_ago() {
        let ago = |text| Time::now().seconds_since(time(text).unwrap());
        assert!((7_199.0..7_300.0).contains(&ago("2h")) && (0.0..60.0).contains(&ago("0s")));
        assert_eq!(time("2026-11-28").unwrap().to_string(), "2026-11-28T00:00:00.000Z");
        for wrong in ["yesterday", "2w", "h", "99999999999999999999d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_jobs_of_a_query_are_named() {
        let query = JobQuery { state: Some("dead".into()), tag: Some("t".into()), ..JobQuery::of_queue("mail") };
        assert_eq!(words(&query), "dead jobs of queue mail with the tag t");
        assert_eq!(words(&JobQuery::default()), "jobs");
    }
}
