//! `millpond plugin check`: checks a plugin with the code that registers it, and prints what the plugin contains and
//! needs.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond::{Plugin, PluginInfo, printable};
use serde_json::{Value, json};

use super::setting;
use crate::shown::shown_json;
use crate::units::size;
use crate::{Result, sentence};

pub fn command() -> Command {
    Command::new("check")
        .about("Prints what a plugin contains and needs, or why it would be refused")
        .arg(setting::file())
        .args(setting::options())
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON"))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let begun = Instant::now();
    let checked = setting::plugin(matches).and_then(|plugin| Ok(plugin.check()?));
    if !matches.get_flag("json") {
        show(&checked?, begun.elapsed());
        return Ok(ExitCode::SUCCESS);
    }
    let (told, code) = match checked {
        Ok(info) => (json!({ "accepted": info, "compiled_in_ms": milliseconds(begun.elapsed()) }), ExitCode::SUCCESS),
        Err(error) => (json!({ "refused": sentence(&*error) }), ExitCode::FAILURE),
    };
    println!("{}", shown_json(&format!("{told:#}")));
    Ok(code)
}

/// Checks a plugin that was just built.
pub fn built(plugin: &Plugin) -> Result<()> {
    let begun = Instant::now();
    show(&plugin.check()?, begun.elapsed());
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn show(info: &PluginInfo, compiled_in: Duration) {
    let made = if info.is_component { "a component" } else { "a core module that describes its interfaces" };
    println!("{} would be registered: {made}", info.name);
    println!("  version   {}", info.hash);
    println!("  size      {}, compiled in {compiled_in:.1?}", size(info.bytes as u64));
    println!(
        "  starts    with {} of memory in {}, {} table elements in {}",
        size(info.memory_bytes),
        info.memories,
        info.table_elements,
        info.tables
    );
    println!("  exports   {}", words(&info.exports));
    println!("  imports{}", if info.imports.is_empty() { "   nothing" } else { "" });
    for import in &info.imports {
        let grant = import.grant.map_or(String::new(), |grant| format!(" (needs {grant} for each kind)"));
        let functions = if import.functions.is_empty() { "types only".into() } else { words(&import.functions) };
        println!("    {}: {functions}{grant}", printable(&import.interface));
    }
    println!("  limits");
    if let Ok(Value::Object(limits)) = serde_json::to_value(&info.limits) {
        limits.iter().for_each(|(name, limit)| println!("    {name} {limit}"));
    }
}

fn words(names: &[String]) -> String {
    names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", ")
}
