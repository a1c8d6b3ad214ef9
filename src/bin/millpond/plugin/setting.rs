//! The command line options for a plugin's limits, settings and grants.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use millpond::{Allow, Grant, Plugin, PluginLimits};

use crate::{Result, units};

pub fn file() -> Arg {
    Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help("The .wasm file")
}

pub fn options() -> [Arg; 10] {
    [
        Arg::new("timeout")
            .long("timeout")
            .value_name("TIME")
            .value_parser(units::duration)
            .help("The longest attempt, as in 500ms or 30s [default: 30s]"),
        Arg::new("memory")
            .long("memory")
            .value_name("SIZE")
            .value_parser(units::bytes)
            .help("The most memory of an attempt, as in 64MiB [default: 64MiB]"),
        Arg::new("config")
            .long("config")
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .value_parser(pair)
            .help("A setting that the plugin can read; can be given several times"),
        Arg::new("grant")
            .long("grant")
            .value_name("KIND[@QUEUE]")
            .action(ArgAction::Append)
            .help("Allows follow-up jobs of this kind; can be given several times"),
        Arg::new("append")
            .long("append")
            .value_name("KIND@STREAM")
            .action(ArgAction::Append)
            .value_parser(kind_and_name)
            .help("Allows entries of this kind in this stream; can be given several times"),
        Arg::new("publish")
            .long("publish")
            .value_name("KIND@TOPIC")
            .action(ArgAction::Append)
            .value_parser(kind_and_name)
            .help("Allows messages of this kind to this topic; can be given several times"),
        Arg::new("rate-limit")
            .long("rate-limit")
            .action(ArgAction::SetTrue)
            .help("Allows the plugin to hold the queue's other jobs back because a service has limited its rate"),
        Arg::new("http")
            .long("http")
            .value_name("URL")
            .action(ArgAction::Append)
            .value_parser(host)
            .help("Allows requests to this host, as in https://api.example.org or https://*.example.org:8443; can be given several times"),
        Arg::new("private")
            .long("private")
            .action(ArgAction::SetTrue)
            .requires("http")
            .help("Also allows addresses of this machine and this network for these hosts"),
        Arg::new("stdio").long("stdio").action(ArgAction::SetTrue).help("Logs what the plugin prints"),
    ]
}

/// The plugin in the file, with the settings of the options.
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
    for (kind, stream) in kinds_and_names(matches, "append") {
        plugin = plugin.grant(Grant::append(kind).to_stream(stream));
    }
    for (kind, topic) in kinds_and_names(matches, "publish") {
        plugin = plugin.grant(Grant::publish(kind).to_topic(topic));
    }
    if matches.get_flag("rate-limit") {
        plugin = plugin.grant(Grant::rate_limit());
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

/// The kinds that are granted by this option, each with the stream or the topic.
fn kinds_and_names<'m>(matches: &'m ArgMatches, option: &str) -> impl Iterator<Item = &'m (String, String)> {
    matches.get_many(option).into_iter().flatten()
}

/// The streams or the topics that are granted by this option.
pub fn granted(matches: &ArgMatches, option: &str) -> BTreeSet<String> {
    kinds_and_names(matches, option).map(|(_, name)| name.clone()).collect()
}

fn kind_and_name(text: &str) -> std::result::Result<(String, String), String> {
    let (kind, name) = text.split_once('@').ok_or("a kind, `@` and a name, as in `total@totals`")?;
    Ok((kind.to_owned(), name.to_owned()))
}

/// Parses a URL without a path.
fn host(url: &str) -> std::result::Result<Allow, String> {
    let example = || format!("{url:?} is not a scheme, host and port, as in `https://api.example.org:8443`");
    let (scheme, rest) = url.split_once("://").ok_or_else(example)?;
    let allow = match scheme {
        "https" => Allow::https,
        "http" => Allow::http,
        _ => return Err(example()),
    };
    // Colons in brackets belong to an IPv6 address.
    match rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        None => Ok(allow(rest)),
        Some((host, port)) => Ok(allow(host).port(port.parse().map_err(|_| example())?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_as_a_grant_for_its_host() {
        assert_eq!(host("https://a.test"), Ok(Allow::https("a.test")));
        assert_eq!(host("http://*.a.test:81"), Ok(Allow::http("*.a.test").port(81)));
        assert_eq!(host("http://[::1]"), Ok(Allow::http("[::1]")));
        assert_eq!(host("http://[::1]:81"), Ok(Allow::http("[::1]").port(81)));
        for bad in ["a.test", "ftp://a.test", "https://a.test:x", "https://a.test:99999"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
