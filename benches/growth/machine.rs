//! Describes the machine, for the foot of a plot.

use std::fs::read_to_string;
use std::process::Command;

/// Where and when the figures were made.
pub fn made() -> String {
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().map(|output| output.stdout).unwrap_or_default();
    let date = String::from_utf8_lossy(&date);
    let version = env!("CARGO_PKG_VERSION");
    format!("millpond {version}; {cores} cores of {model}, Linux {}; {}", kernel.trim(), date.trim())
}
