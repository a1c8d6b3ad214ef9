//! `millpond bench`: how fast a queue is on this disk, in about ten seconds.

mod disk;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use serde::Serialize;

use super::json;
use crate::Result;
use crate::output::{self, Fields, Progress, count, seconds};
use disk::Syncs;

/// Below this, what an fsync has written is probably not on the medium yet.
const FSYNC_PLAUSIBLE_MIN: Duration = Duration::from_micros(50);

pub fn command() -> Command {
    Command::new("bench")
        .about("Measures how fast this disk is for a queue, in a temporary file that is removed")
        .arg(
            Arg::new("directory")
                .value_name("DIRECTORY")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .default_value(".")
                .help("A directory on the disk: the one of the file"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=600))
                .default_value("10")
                .help("For how long it measures"),
        )
        .arg(json())
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    /// The time of one fsync of 4 KiB.
    fsync_seconds_median: f64,
    fsync_seconds_p99: f64,
    fsyncs_per_second: f64,
    /// One caller that waits for each job.
    enqueue_alone_per_second: f64,
    /// 64 callers, each of which waits for its job (W2).
    enqueue_by_64_per_second: f64,
    /// 100 jobs at a time that do nothing, until their ends are durable (W4).
    drain_per_second: f64,
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let directory = matches.get_one::<PathBuf>("directory").cloned().unwrap_or_default();
    let all = Duration::from_secs(matches.get_one::<u64>("seconds").copied().unwrap_or(10));
    let folder = tempfile::Builder::new().prefix(".millpond-bench-").tempdir_in(&directory)?;
    let progress = Progress::of("measuring", None);
    let (path, part) = (folder.path().join("fsync"), all / 5);
    let Syncs { median, p99, per_second } = tokio::task::spawn_blocking(move || disk::sync(&path, part)).await??;
    let alone = work::enqueue(&folder.path().join("alone.redb"), 1, part).await?;
    let (by_64, drained) = work::enqueue_and_drain(&folder.path().join("many.redb"), part, 2 * part).await?;
    drop(progress);
    let measured = Measured {
        fsync_seconds_median: median.as_secs_f64(),
        fsync_seconds_p99: p99.as_secs_f64(),
        fsyncs_per_second: per_second,
        enqueue_alone_per_second: alone,
        enqueue_by_64_per_second: by_64,
        drain_per_second: drained,
    };
    match matches.get_flag("json") {
        true => output::json(&measured)?,
        false => show(&measured)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(measured: &Measured) -> Result<()> {
    let rate = |per_second: f64| format!("{}/s", count(per_second as u64));
    let mut fields = Fields::default();
    fields
        .add(
            "fsync",
            format!(
                "{} at the median, {} at p99, {}",
                seconds(measured.fsync_seconds_median),
                seconds(measured.fsync_seconds_p99),
                rate(measured.fsyncs_per_second)
            ),
        )
        .add("enqueue, 1 caller", rate(measured.enqueue_alone_per_second))
        .add("enqueue, 64 callers", rate(measured.enqueue_by_64_per_second))
        .add("run, 100 at a time", rate(measured.drain_per_second));
    fields.print()?;
    output::line("")?;
    expectations(measured).iter().try_for_each(|text| output::line(text))
}

/// What these numbers mean for an application.
fn expectations(measured: &Measured) -> Vec<String> {
    let shared = measured.enqueue_by_64_per_second / measured.enqueue_alone_per_second.max(1.0);
    let mut told = vec![
        format!(
            "An enqueue is answered in about {}: a commit is at least one fsync.",
            seconds(1.0 / measured.enqueue_alone_per_second.max(0.001))
        ),
        format!("Callers share commits: 64 of them store {shared:.0} times as many jobs as one that waits for each."),
        "Handlers that do something are slower than these: then the disk is not the limit.".to_owned(),
    ];
    if measured.fsync_seconds_median < FSYNC_PLAUSIBLE_MIN.as_secs_f64() {
        told.push(
            "An fsync this fast is probably answered by a cache: what is committed can be lost when the power fails, \
             unless the cache has a battery."
                .to_owned(),
        );
    } else if measured.fsync_seconds_median > 0.02 {
        told.push(
            "An fsync this slow is usual for hard disks and SD cards: enqueue many jobs in one call or transaction."
                .to_owned(),
        );
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_answers_too_fast_or_slowly_is_told_so() {
        let of = |median| {
            let measured = Measured {
                fsync_seconds_median: median,
                fsync_seconds_p99: median,
                fsyncs_per_second: 1.0 / median,
                enqueue_alone_per_second: 500.0,
                enqueue_by_64_per_second: 20_000.0,
                drain_per_second: 100_000.0,
            };
            expectations(&measured).join("\n")
        };
        assert!(of(0.000_01).contains("power fails") && of(0.05).contains("hard disks"));
        let usual = of(0.002);
        assert!(
            usual.contains("in about 2.0ms") && usual.contains("40 times") && usual.lines().count() == 3,
            "{usual}"
        );
    }
}
