//! What a plugin is registered with, as options.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use millpond::{Grant, Plugin, PluginLimits};

use crate::{Result, units};

pub fn file() -> Arg {
    Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help("The .wasm file")
}

pub fn options() -> [Arg; 4] {
    [
        Arg::new("timeout")
            .long("timeout")
            .value_name("TIME")
            .value_parser(units::duration)
            .help("Longest attempt, as in 500ms or 30s [default: 30s]"),
        Arg::new("memory")
            .long("memory")
            .value_name("SIZE")
            .value_parser(units::bytes)
            .help("Most memory of an attempt, as in 64MiB [default: 64MiB]"),
        Arg::new("config")
            .long("config")
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .value_parser(pair)
            .help("A setting that it can ask for; may be given several times"),
        Arg::new("grant")
            .long("grant")
            .value_name("KIND[@QUEUE]")
            .action(ArgAction::Append)
            .help("Lets it enqueue follow-up jobs of this kind; may be given several times"),
    ]
}

/// The plugin in the file, set up as the options say.
pub fn plugin(matches: &ArgMatches) -> Result<Plugin> {
    let file: &PathBuf = matches.get_one("file").expect("required");
    let mut plugin = Plugin::from_file(file)?.limits(limits(matches));
    for (key, value) in matches.get_many::<(String, String)>("config").into_iter().flatten() {
        plugin = plugin.config(key, value);
    }
    for grant in matches.get_many::<String>("grant").into_iter().flatten() {
        plugin = plugin.grant(match grant.split_once('@') {
            Some((kind, queue)) => Grant::enqueue(kind).to_queue(queue),
            None => Grant::enqueue(grant),
        });
    }
    Ok(plugin)
}

fn limits(matches: &ArgMatches) -> PluginLimits {
    let mut limits = PluginLimits::default();
    if let Some(time) = matches.get_one::<Duration>("timeout") {
        limits = limits.time(*time);
    }
    if let Some(bytes) = matches.get_one::<usize>("memory") {
        limits = limits.memory_bytes(*bytes);
    }
    limits
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a key, `=` and a value, as in `width=320`")?;
    Ok((key.to_owned(), value.to_owned()))
}
