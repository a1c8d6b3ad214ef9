//! `millpond act`: any change that the API knows, as JSON.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use millpond::dashboard::api::Action;

use super::verb;
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::exit::{Exit, Failed};

pub fn command() -> Command {
    verb("act", "Makes any change that the API of the dashboard knows")
        .arg(
            Arg::new("action")
                .value_name("JSON")
                .required(true)
                .help("The action: '{\"action\":\"close_circuit\",\"queue\":\"mail\"}'"),
        )
        .arg(yes())
        .after_help("The actions are described in `/api/openapi.json` of a dashboard, as `Action`.")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let json = matches.get_one::<String>("action").map(String::as_str).unwrap_or_default();
    let action: Action = serde_json::from_str(json)
        .map_err(|error| Failed::new(Exit::Usage, format!("the action cannot be read: {error}")))?;
    let at = At::open(matches).await?;
    if action.is_destructive() {
        confirm(matches, &action.name().replace('_', " "))?;
    }
    super::act(matches, at, vec![action]).await
}
