//! `millpond limits`: what an operator sets in place of the limits of the code.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use millpond::dashboard::api::{Action, Overrides, Rate, RateChange};

use super::{act, queues, text, verb};
use crate::Result;
use crate::at::At;
use crate::output;
use crate::units::duration;

pub fn command() -> Command {
    let queue = || Arg::new("queue").value_name("QUEUE").required(true).help("The queue");
    let limits = ["concurrency", "rate", "group-rate"];
    let rate = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("RATE").value_parser(rate_change).help(help)
    };
    let back = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("limits")
        .about("The limits of a queue: show, set, reset; the units of a shared limit")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            verb("show", "Shows the limits of a queue: the code's, those that are set, what holds").arg(queue()),
        )
        .subcommand(
            verb("set", "Sets limits in place of the code's own; the others stay as they are")
                .arg(queue())
                .arg(
                    Arg::new("concurrency")
                        .long("concurrency")
                        .value_name("JOBS")
                        .value_parser(value_parser!(u32).range(1..))
                        .help("How many jobs run at a time"),
                )
                .arg(rate("rate", "How many jobs start: 100/s, 500/10s, 30/1m, or `unlimited`"))
                .arg(rate("group-rate", "How many jobs of each group start"))
                .group(ArgGroup::new("what").args(limits).required(true).multiple(true)),
        )
        .subcommand(
            verb("reset", "Takes back the limits that were set, so that those of the code hold; all, if none is named")
                .arg(queue())
                .arg(back("concurrency", "Only the concurrency"))
                .arg(back("rate", "Only the rate"))
                .arg(back("group-rate", "Only the rate of groups")),
        )
        .subcommand(
            verb("units", "Sets how many units a limit has that queues share, until the process ends")
                .arg(Arg::new("name").value_name("LIMIT").required(true).help("The limit"))
                .arg(
                    Arg::new("units")
                        .value_name("UNITS")
                        .required(true)
                        .value_parser(value_parser!(u32).range(1..))
                        .help("The units"),
                ),
        )
}

/// `100/s`, `500/10s`, `30/1m` or `unlimited`.
fn rate_change(text: &str) -> std::result::Result<RateChange, String> {
    if text == "unlimited" {
        return Ok(RateChange::Unlimited);
    }
    let help = || format!("{text:?} is no rate: write it as 100/s, 500/10s, 30/1m, or `unlimited`");
    let (count, period) = text.split_once('/').ok_or_else(help)?;
    let count = count.parse().map_err(|_| help())?;
    let is_unit = period.starts_with(|c: char| c.is_ascii_alphabetic());
    let period = if is_unit { duration(&format!("1{period}")) } else { duration(period) }.map_err(|_| help())?;
    Ok(RateChange::Limited(Rate { count, period_seconds: period.as_secs_f64(), burst: None }))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("show", matches)) => show(matches).await,
        Some(("set", matches)) => change(matches, set).await,
        Some(("reset", matches)) => change(matches, reset).await,
        Some(("units", matches)) => {
            let name = text(matches, "name");
            let units = matches.get_one::<u32>("units").copied().unwrap_or(1);
            act(matches, At::open(matches).await?, vec![Action::SetLimit { name, units }]).await
        }
        _ => unreachable!("a subcommand is required"),
    }
}

async fn show(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let detail = at.source.queue(&text(matches, "queue")).await?;
    match matches.get_flag("json") {
        true => output::json(&serde_json::json!({
            "worker": detail.worker,
            "overrides": detail.overrides,
            "effective": detail.effective,
        }))?,
        false => queues::limit_fields(&detail).print()?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// Sets all limits of a queue anew, because that is what the action does.
async fn change(matches: &ArgMatches, made: fn(&ArgMatches, Overrides) -> Overrides) -> Result<ExitCode> {
    let (at, queue) = (At::open(matches).await?, text(matches, "queue"));
    let overrides = made(matches, at.source.queue(&queue).await?.overrides);
    act(matches, at, vec![Action::SetOverrides { queue, overrides }]).await
}

fn set(matches: &ArgMatches, now: Overrides) -> Overrides {
    let rate = |name: &str| matches.get_one::<RateChange>(name).copied();
    Overrides {
        concurrency: matches.get_one::<u32>("concurrency").copied().or(now.concurrency),
        rate: rate("rate").or(now.rate),
        group_rate: rate("group-rate").or(now.group_rate),
    }
}

fn reset(matches: &ArgMatches, now: Overrides) -> Overrides {
    let is_named = |name: &str| matches.get_flag(name);
    let is_all = !["concurrency", "rate", "group-rate"].into_iter().any(is_named);
    Overrides {
        concurrency: now.concurrency.filter(|_| !is_all && !is_named("concurrency")),
        rate: now.rate.filter(|_| !is_all && !is_named("rate")),
        group_rate: now.group_rate.filter(|_| !is_all && !is_named("group-rate")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_of_jobs_in_a_time() {
        let rate = |text| match rate_change(text) {
            Ok(RateChange::Limited(rate)) => (rate.count, rate.period_seconds),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!([rate("100/s"), rate("500/10s"), rate("30/1m")], [(100, 1.0), (500, 10.0), (30, 60.0)]);
        assert_eq!(rate_change("unlimited"), Ok(RateChange::Unlimited));
        for wrong in ["", "100", "/s", "100/", "-1/s", "1.5/s", "100/s/s", "none"] {
            assert!(rate_change(wrong).is_err(), "{wrong}");
        }
    }
}
