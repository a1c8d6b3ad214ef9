//! The metrics in the OpenMetrics text format.

use std::fmt::{Display, Write};

use super::api::{Plugin, PluginState, Problem};
use crate::{Counts, Millpond};

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
    let totals: [(&str, &str, Total); 5] = [
        ("millpond_jobs_enqueued", "Jobs that were ever enqueued.", |counts| counts.enqueued_total),
        ("millpond_jobs_completed", "Jobs that ever completed.", |counts| counts.completed_total),
        ("millpond_jobs_dead", "Jobs that ever became dead letters.", |counts| counts.dead_total),
        ("millpond_jobs_cancelled", "Jobs that were ever cancelled or expired.", |counts| counts.cancelled_total),
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
    plugins(&mut text, &super::plugins::list(pond));
    family(&mut text, "millpond_degraded", "gauge", "1 while the queue cannot do all of its work.");
    line(&mut text, "millpond_degraded", "", u64::from(pond.degraded().is_some()));
    text.push_str("# EOF\n");
    Ok(text)
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
