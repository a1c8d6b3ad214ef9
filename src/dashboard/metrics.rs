//! The metrics in the OpenMetrics text format.

use std::fmt::{Display, Write};

use super::api::Problem;
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
    family(&mut text, "millpond_degraded", "gauge", "1 while the queue cannot do all of its work.");
    line(&mut text, "millpond_degraded", "", u64::from(pond.degraded().is_some()));
    text.push_str("# EOF\n");
    Ok(text)
}

fn states(counts: &Counts) -> [(&'static str, u64); 8] {
    [
        ("pending", counts.pending),
        ("running", counts.running),
        ("ending", counts.ending),
        ("scheduled", counts.scheduled),
        ("retrying", counts.retrying),
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
