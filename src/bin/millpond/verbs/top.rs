//! `millpond top`: a live view of the whole screen.

mod keys;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;

use super::verb;
use crate::Result;
use crate::at::At;
use crate::exit::{Exit, Failed};
use crate::output::{is_coloured, line};
use crate::shown::shown_json;
use keys::{Key, keys};
use view::View;

pub fn command() -> Command {
    verb("top", "Shows live what the queues do, on the whole screen; q ends it")
        .arg(
            Arg::new("every")
                .long("every")
                .value_name("TIME")
                .value_parser(crate::units::duration)
                .default_value("1s")
                .help("The time between two looks, as in 500ms or 2s"),
        )
        .arg(
            Arg::new("times")
                .long("times")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("Ends after so many looks"),
        )
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let is_json = matches.get_flag("json");
    if !is_json && !std::io::stdout().is_terminal() {
        let help = "`top` needs a terminal: use `stats` or `queues`, or `--json` for a line of JSON at each look";
        return Err(Failed::new(Exit::Usage, help).into());
    }
    let at = At::open(matches).await?;
    let every = matches.get_one::<Duration>("every").copied().unwrap_or(Duration::from_secs(1));
    let looks = matches.get_one::<u64>("times").copied().unwrap_or(u64::MAX);
    if is_json {
        print(&at, every, looks).await?;
    } else {
        let mut terminal = ratatui::try_init()?;
        let shown = show(&at, every, looks, &mut terminal).await;
        ratatui::restore();
        shown?;
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn print(at: &At, every: Duration, looks: u64) -> Result<()> {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    for _ in 0..looks {
        ticks.tick().await;
        line(&shown_json(&serde_json::to_string(&at.source.overview().await?)?))?;
    }
    Ok(())
}

async fn show(at: &At, every: Duration, looks: u64, terminal: &mut DefaultTerminal) -> Result<()> {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(100)));
    let mut events = at.source.events();
    let mut are_told = true;
    let mut keys = keys();
    let mut view = View::new(is_coloured());
    let mut looked = 0;
    while looked < looks {
        tokio::select! {
            _ = ticks.tick() => {
                looked += 1;
                match at.source.overview().await {
                    Ok(overview) => view.look(overview),
                    Err(problem) => view.lose(&problem),
                }
            }
            event = events.next(), if are_told => match event {
                // It is shown at the next look: a busy queue tells thousands in a second.
                Some(event) => { view.hear(event); continue }
                None => are_told = false,
            },
            key = keys.recv() => match key {
                Some(Key::Quit) | None => return Ok(()),
                Some(Key::Up) => view.scroll(-1),
                Some(Key::Down) => view.scroll(1),
                Some(Key::Redraw) => {}
            },
        }
        terminal.draw(|frame| view.draw(frame))?;
    }
    Ok(())
}
