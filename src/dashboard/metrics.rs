//! The metrics in the OpenMetrics text format.

use std::fmt::{Display, Write};

use super::api::{Plugin, PluginState, Problem, Time};
use super::jobs::time;
use crate::{ConsumerInfo, Counts, LinkInfo, Millpond, StreamInfo};

/// Streams and consumers that are told, at most.
const STREAMS_MAX: usize = 1_000;

/// Links that are told, at most.
const LINKS_MAX: usize = 1_000;

/// The metrics of the queue. The names of queues have no characters that need an escape in a label.
pub(super) fn open_metrics(pond: &Millpond) -> Result<String, Problem> {
    let found = pond.queues();
    let queues: Vec<_> = found.iter().map(|queue| (queue.name().to_owned(), queue.counts())).collect();
    let mut text = String::new();
    family(&mut text, "millpond_jobs", "gauge", "Jobs, by queue and state.");
    for (queue, counts) in &queues {
        for (state, jobs) in states(counts) {
            line(&mut text, "millpond_jobs", &format!("queue=\"{queue}\",state=\"{state}\""), jobs);
        }
    }
    family(&mut text, "millpond_oldest_ready_seconds", "gauge", "How long the oldest job has waited that could run.");
    for queue in &found {
        let age = queue.oldest_ready_age()?.unwrap_or_default().as_secs_f64();
        line(&mut text, "millpond_oldest_ready_seconds", &format!("queue=\"{}\"", queue.name()), age);
    }
    type Total = fn(&Counts) -> u64;
    let totals: [(&str, &str, Total); 6] = [
        ("millpond_jobs_enqueued", "Jobs that were ever enqueued.", |counts| counts.enqueued_total),
        ("millpond_jobs_completed", "Jobs that ever completed.", |counts| counts.completed_total),
        ("millpond_jobs_dead", "Jobs that ever became dead letters.", |counts| counts.dead_total),
        ("millpond_jobs_cancelled", "Jobs that were ever cancelled, expired or dropped.", |counts| {
            counts.cancelled_total
        }),
        ("millpond_jobs_dropped", "Jobs that were ever dropped from a full queue.", |counts| counts.dropped_total),
        ("millpond_attempts_failed", "Attempts that ever failed.", |counts| counts.failures_total),
    ];
    for (name, help, total) in totals {
        family(&mut text, name, "counter", help);
        for (queue, counts) in &queues {
            line(&mut text, &format!("{name}_total"), &format!("queue=\"{queue}\""), total(counts));
        }
    }
    let metrics = pond.metrics();
    for (name, help, total) in [
        ("millpond_commits", "Commits since the file was opened.", metrics.commits_total),
        ("millpond_attempts_started", "Attempts that have started since the file was opened.", metrics.starts_total),
        ("millpond_panics", "Attempts that have panicked since the file was opened.", metrics.panics_total),
        (
            "millpond_timeouts",
            "Attempts that have exceeded their timeouts since the file was opened.",
            metrics.timeouts_total,
        ),
    ] {
        family(&mut text, name, "counter", help);
        line(&mut text, &format!("{name}_total"), "", total);
    }
    let storage = pond.storage()?;
    family(&mut text, "millpond_commit_seconds", "counter", "How long all commits since the file was opened took.");
    line(&mut text, "millpond_commit_seconds_total", "", storage.commit_time_total.as_secs_f64());
    if let Some(bytes) = storage.file_bytes {
        family(&mut text, "millpond_file_bytes", "gauge", "The size of the file.");
        line(&mut text, "millpond_file_bytes", "", bytes);
    }
    streams(&mut text, &pond.streams("", STREAMS_MAX)?);
    consumers(&mut text, pond.consumers()?.iter().take(STREAMS_MAX), Time::now());
    links(&mut text, pond.links().iter().take(LINKS_MAX));
    plugins(&mut text, &super::plugins::list(pond));
    family(&mut text, "millpond_degraded", "gauge", "1 while the queue cannot do all of its work.");
    line(&mut text, "millpond_degraded", "", u64::from(pond.degraded().is_some()));
    text.push_str("# EOF\n");
    Ok(text)
}

fn streams(text: &mut String, streams: &[StreamInfo]) {
    type Value = fn(&StreamInfo) -> u64;
    let families: [(&str, &str, Value); 2] = [
        ("millpond_stream_entries", "Entries of a stream.", |stream| stream.entries),
        ("millpond_stream_bytes", "The bytes that the entries of a stream have.", |stream| stream.bytes),
    ];
    for (name, help, value) in families {
        family(text, name, "gauge", help);
        for stream in streams {
            line(text, name, &format!("stream=\"{}\"", escaped(&stream.name)), value(stream));
        }
    }
}

fn consumers<'c>(text: &mut String, consumers: impl Iterator<Item = &'c ConsumerInfo> + Clone, now: Time) {
    let lag_seconds =
        |consumer: &ConsumerInfo| consumer.behind_since.map_or(0.0, |since| now.seconds_since(time(since)).max(0.0));
    type Value<'v> = &'v dyn Fn(&ConsumerInfo) -> f64;
    let families: [(&str, &str, &str, Value<'_>); 3] = [
        ("millpond_consumer_lag_entries", "gauge", "Entries that a consumer is not done with.", &|consumer| {
            consumer.behind as f64
        }),
        (
            "millpond_consumer_lag_seconds",
            "gauge",
            "How long the first entry waits that a consumer is not done with.",
            &lag_seconds,
        ),
        (
            "millpond_consumer_lost",
            "counter",
            "Entries that retention has removed before a consumer was done with them.",
            &|consumer| consumer.lost as f64,
        ),
    ];
    for (name, kind, help, value) in families {
        family(text, name, kind, help);
        let of_value = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        for consumer in consumers.clone() {
            let [stream, own] = [&consumer.stream, &consumer.name].map(|text| escaped(text));
            line(text, &of_value, &format!("stream=\"{stream}\",consumer=\"{own}\""), value(consumer));
        }
    }
}

fn links<'l>(text: &mut String, links: impl Iterator<Item = &'l LinkInfo> + Clone) {
    type Value = fn(&LinkInfo) -> Option<u64>;
    let families: [(&str, &str, &str, Value); 11] = [
        ("millpond_link_connected", "gauge", "1 while the engine of a link answers.", |link| {
            Some(u64::from(link.state.connected))
        }),
        ("millpond_link_lag_jobs", "gauge", "Jobs that a link has still to move.", |link| link.state.lag),
        ("millpond_link_in_doubt_jobs", "gauge", "Jobs that are being sent, and may have arrived or not.", |link| {
            Some(link.state.in_doubt)
        }),
        ("millpond_link_held_jobs", "gauge", "Jobs that this process holds by leases.", |link| Some(link.state.held)),
        ("millpond_link_jobs", "counter", "Jobs that a link has sent or received since it was started.", |link| {
            Some(link.state.jobs)
        }),
        ("millpond_link_known", "counter", "Jobs that were moved again, and were known already.", |link| {
            Some(link.state.known)
        }),
        ("millpond_link_unreadable", "counter", "Messages that could not be read as jobs.", |link| {
            Some(link.state.unreadable)
        }),
        (
            "millpond_link_engine_went_back",
            "counter",
            "How often the engine had lost what it had acknowledged.",
            |link| Some(link.state.engine_went_back),
        ),
        ("millpond_link_file_went_back", "counter", "How often the file was found to be an older copy.", |link| {
            Some(link.state.file_went_back)
        }),
        ("millpond_link_lost_batches", "counter", "Batches that the engine has lost for good.", |link| {
            Some(link.state.lost_batches)
        }),
        ("millpond_link_lost_leases", "counter", "Leases that have ended before their jobs.", |link| {
            Some(link.state.lost_leases)
        }),
    ];
    for (name, kind, help, value) in families {
        family(text, name, kind, help);
        let of_value = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        for link in links.clone() {
            let [own, queue] = [&link.name, &link.queue].map(|text| escaped(text));
            if let Some(value) = value(link) {
                line(text, &of_value, &format!("link=\"{own}\",queue=\"{queue}\""), value);
            }
        }
    }
}

fn plugins(text: &mut String, plugins: &[Plugin]) {
    type Value = fn(&Plugin) -> f64;
    let families: [(&str, &str, &str, Value); 5] = [
        ("millpond_plugin_attempts", "counter", "Attempts of a plugin that have begun.", |plugin| {
            plugin.attempts as f64
        }),
        ("millpond_plugin_broken", "counter", "Attempts of a plugin that broke.", |plugin| plugin.broken as f64),
        ("millpond_plugin_compute_seconds", "counter", "How long threads were busy with a plugin.", |plugin| {
            plugin.compute_seconds
        }),
        ("millpond_plugin_memory_bytes_max", "gauge", "The most memory that an attempt of a plugin had.", |plugin| {
            plugin.memory_bytes_max as f64
        }),
        ("millpond_plugin_suspended", "gauge", "1 while a plugin is suspended.", |plugin| {
            f64::from(u8::from(plugin.state == PluginState::Suspended))
        }),
    ];
    for (name, kind, help, value) in families {
        family(text, name, kind, help);
        let of_value = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        for plugin in plugins {
            let [queue, kind, own] = [&plugin.queue, &plugin.kind, &plugin.name].map(|text| escaped(text));
            line(text, &of_value, &format!("queue=\"{queue}\",kind=\"{kind}\",plugin=\"{own}\""), value(plugin));
        }
    }
}

/// A text as the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn states(counts: &Counts) -> [(&'static str, u64); 9] {
    [
        ("pending", counts.pending),
        ("running", counts.running),
        ("ending", counts.ending),
        ("scheduled", counts.scheduled),
        ("retrying", counts.retrying),
        ("blocked", counts.blocked),
        ("completed", counts.completed),
        ("dead", counts.dead),
        ("cancelled", counts.cancelled),
    ]
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a `String` cannot fail.
    let _ = write!(text, "# TYPE {name} {kind}\n# HELP {name} {help}\n");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = match labels {
        "" => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{labels}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn consumers_are_told_with_their_lag() {
        let consumer = |name: &str, behind_since| ConsumerInfo {
            stream: "orders".to_owned(),
            name: name.to_owned(),
            queue: format!("orders:{name}"),
            next: 6,
            behind: 4,
            behind_since,
            jobs: 0,
            dead: 0,
            lost: 7,
            paused: false,
            running: false,
            created_at: Timestamp::from_millis(0),
        };
        let found = [consumer("crm", Some(Timestamp::from_millis(2_000))), consumer("mail", None)];
        let mut text = String::new();
        consumers(&mut text, found.iter(), Time(4_500));
        for line in [
            "millpond_consumer_lag_entries{stream=\"orders\",consumer=\"crm\"} 4\n",
            "millpond_consumer_lag_seconds{stream=\"orders\",consumer=\"crm\"} 2.5\n",
            "millpond_consumer_lag_seconds{stream=\"orders\",consumer=\"mail\"} 0\n",
            "millpond_consumer_lost_total{stream=\"orders\",consumer=\"crm\"} 7\n",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }

    #[test]
    fn links_are_told_with_what_is_known_of_them() {
        let mut link = LinkInfo::new("readings", crate::LinkDirection::Receive, "hub \"1\"", "an engine").unwrap();
        (link.state.jobs, link.state.engine_went_back) = (7, 1);
        let mut text = String::new();
        links(&mut text, [&link].into_iter());
        let labels = r#"{link="hub \"1\" -> readings",queue="readings"}"#;
        for line in [
            format!("millpond_link_connected{labels} 0\n"),
            format!("millpond_link_jobs_total{labels} 7\n"),
            format!("millpond_link_engine_went_back_total{labels} 1\n"),
        ] {
            assert!(text.contains(&line), "no {line} in {text}");
        }
        assert!(!text.contains("millpond_link_lag_jobs{"), "what is not known is not told: {text}");
    }

    #[test]
    fn plugins_are_told_one_by_one() {
        let plugin = Plugin {
            name: "a \"b\\".to_owned(),
            hash: String::new(),
            queue: "mail".to_owned(),
            kind: "send".to_owned(),
            grants: Vec::new(),
            limits: Vec::new(),
            state: PluginState::Suspended,
            attempts: 9,
            broken: 3,
            broken_in_a_row: 3,
            traps: 1,
            suspensions: 1,
            compute_seconds: 1.5,
            memory_bytes_max: 65_536,
        };
        let mut text = String::new();
        plugins(&mut text, &[plugin]);
        let labels = r#"{queue="mail",kind="send",plugin="a \"b\\"}"#;
        for line in [
            format!("millpond_plugin_attempts_total{labels} 9\n"),
            format!("millpond_plugin_compute_seconds_total{labels} 1.5\n"),
            format!("millpond_plugin_memory_bytes_max{labels} 65536\n"),
            format!("millpond_plugin_suspended{labels} 1\n"),
        ] {
            assert!(text.contains(&line), "no {line} in {text}");
        }
    }
}
