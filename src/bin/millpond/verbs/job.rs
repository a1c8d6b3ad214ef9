//! `millpond job ID`: a job with everything about it, and the reason why it does not run.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use millpond::dashboard::api::{Attempt, Body, Format, Job, Step, Time};

use super::verb;
use crate::Result;
use crate::at::At;
use crate::output::{self, Fields, moment, seconds};

pub fn command() -> Command {
    verb("job", "Shows a job with everything about it, and why it does not run").arg(id())
}

pub fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The id of the job")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let id = matches.get_one::<String>("id").map(String::as_str).unwrap_or_default();
    let job = at.source.job(id).await?;
    match matches.get_flag("json") {
        true => output::json(&job)?,
        false => show(&job)?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn show(job: &Job) -> Result<()> {
    let (row, now) = (&job.row, Time::now());
    let mut fields = Fields::default();
    fields
        .add("job", format!("{}, kind {}, in queue {}", row.id, row.kind, row.queue))
        .add("state", &*row.state)
        .add("why", &*job.why.sentence)
        .add("priority", row.priority.to_string())
        .add(
            "attempts",
            match row.max_attempts {
                Some(most) => format!("{} of {most}", row.attempts),
                None => row.attempts.to_string(),
            },
        )
        .add("enqueued", moment(row.enqueued_at, now))
        .maybe("due", row.run_at.map(|at| moment(at, now)))
        .maybe("started", row.started_at.map(|at| moment(at, now)))
        .maybe("ended", row.ended_at.map(|at| moment(at, now)))
        .maybe("expires", job.expires_at.map(|at| moment(at, now)))
        .maybe("undoes its steps", job.undoing.as_ref().map(|state| format!("and is {state} then")))
        .maybe("reason", job.reason.clone())
        .maybe("flow", row.flow.clone())
        .maybe("group", row.group.clone())
        .maybe("unique key", row.key.clone())
        .maybe("key is held", job.unique.clone())
        .maybe("idempotency", job.idempotency_key.clone());
    if !row.tags.is_empty() {
        fields.add("tags", row.tags.join(", "));
    }
    for (name, value) in &job.headers {
        fields.add("header", format!("{name}: {value}"));
    }
    fields.maybe("schedule", job.scheduled_for.as_ref().map(|run| format!("{}, for {}", run.schedule, run.at)));
    fields.maybe("entry", job.entry.as_ref().map(|entry| format!("{} of stream {}", entry.offset, entry.stream)));
    if let Some(progress) = &row.progress {
        let total = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
        fields.add("progress", format!("{}{total} {}", progress.done, progress.message));
    }
    for step in &job.steps {
        fields.add("step", step_told(step, now));
    }
    for attempt in &job.timeline {
        fields.add("attempt", told(attempt, now));
    }
    fields.add("payload", body(&job.payload));
    fields.maybe("result", job.result.as_ref().map(body));
    fields.maybe("codec", job.codec_error.clone());
    fields.print()
}

fn told(attempt: &Attempt, now: Time) -> String {
    let took = attempt.ended_at.map(|ended| seconds(ended.seconds_since(attempt.started_at)));
    let mut text = format!("{} at {}", attempt.number, moment(attempt.started_at, now));
    if let Some(took) = took {
        text.push_str(&format!(", took {took}"));
    }
    if let Some(error) = &attempt.error {
        text.push_str(&format!("\n{}: {error}", attempt.failure.as_deref().unwrap_or("Error")));
    }
    for line in &attempt.lines {
        text.push_str(&format!("\n| {}", line.text));
    }
    if attempt.dropped_lines > 0 {
        text.push_str(&format!("\n| … {} lines were not kept", attempt.dropped_lines));
    }
    text
}

fn step_told(step: &Step, now: Time) -> String {
    let until = step.until.map(|until| format!(" until {}", moment(until, now))).unwrap_or_default();
    let undone = step.undone_at.map(|at| format!(" at {}", moment(at, now))).unwrap_or_default();
    let result = step.result.as_ref().map(|result| format!("\n{}", body(result))).unwrap_or_default();
    format!("{} at {}, {}{until}{undone}{result}", step.name, moment(step.at, now), step.state)
}

/// A payload or a result, with its format if it is not JSON.
fn body(body: &Body) -> String {
    let format = match body.format {
        Format::Json | Format::Text => String::new(),
        Format::Postcard => format!("postcard, {} bytes: ", body.bytes),
        _ => format!("{} bytes: ", body.bytes),
    };
    let end = if body.is_cut { format!("… ({} bytes)", body.bytes) } else { String::new() };
    format!("{format}{}{end}", body.text)
}
