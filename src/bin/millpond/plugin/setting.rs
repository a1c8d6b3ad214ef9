//! What a plugin is registered with, as options.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use millpond::{Allow, Grant, Plugin, PluginLimits};

use crate::{Result, units};

pub fn file() -> Arg {
    Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help("The .wasm file")
}

pub fn options() -> [Arg; 7] {
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
        Arg::new("http")
            .long("http")
            .value_name("URL")
            .action(ArgAction::Append)
            .value_parser(host)
            .help("Lets it ask this host, as in https://api.example.org or https://*.example.org:8443; may be given several times"),
        Arg::new("private")
            .long("private")
            .action(ArgAction::SetTrue)
            .requires("http")
            .help("Also where these hosts are on this machine or in this network"),
        Arg::new("stdio").long("stdio").action(ArgAction::SetTrue).help("Logs what it prints"),
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
    for allow in matches.get_many::<Allow>("http").into_iter().flatten().cloned() {
        plugin = plugin.grant(Grant::http(if matches.get_flag("private") { allow.private() } else { allow }));
    }
    if matches.get_flag("stdio") {
        plugin = plugin.grant(Grant::stdio());
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

/// A URL less its path.
fn host(url: &str) -> std::result::Result<Allow, String> {
    let example = || format!("{url:?} is no scheme, host and port, as in `https://api.example.org:8443`");
    let (scheme, rest) = url.split_once("://").ok_or_else(example)?;
    let allow = match scheme {
        "https" => Allow::https,
        "http" => Allow::http,
        _ => return Err(example()),
    };
    // What stands in brackets is an address with colons of its own.
    match rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        None => Ok(allow(rest)),
        Some((host, port)) => Ok(allow(host).port(port.parse().map_err(|_| example())?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_granted_as_its_url_says() {
        assert_eq!(host("https://a.test"), Ok(Allow::https("a.test")));
        assert_eq!(host("http://*.a.test:81"), Ok(Allow::http("*.a.test").port(81)));
        assert_eq!(host("http://[::1]"), Ok(Allow::http("[::1]")));
        assert_eq!(host("http://[::1]:81"), Ok(Allow::http("[::1]").port(81)));
        for bad in ["a.test", "ftp://a.test", "https://a.test:x", "https://a.test:99999"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
