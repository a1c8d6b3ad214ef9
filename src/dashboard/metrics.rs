//! The metrics in the OpenMetrics text format.

use std::fmt::Write;

use crate::{Counts, Millpond};

/// The metrics of the queue. The names of queues have no characters that need an escape in a label.
pub(super) fn open_metrics(pond: &Millpond) -> String {
    let queues: Vec<_> = pond.queues().into_iter().map(|queue| (queue.name().to_owned(), queue.counts())).collect();
    let mut text = String::new();
    family(&mut text, "millpond_jobs", "gauge", "Jobs, by queue and state.");
    for (queue, counts) in &queues {
        for (state, jobs) in states(counts) {
            line(&mut text, "millpond_jobs", &format!("queue=\"{queue}\",state=\"{state}\""), jobs);
        }
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
    family(&mut text, "millpond_degraded", "gauge", "1 while the queue cannot do all of its work.");
    line(&mut text, "millpond_degraded", "", u64::from(pond.degraded().is_some()));
    text.push_str("# EOF\n");
    text
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

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    let _ = match labels {
        "" => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{labels}}} {value}"),
    };
}
