//! What the kernel says of this process and of the machine. Linux only.

use std::fs::read_to_string;
use std::time::SystemTime;

use crate::civil;

/// The high-water mark of resident memory.
pub fn peak_kib() -> u64 {
    field("/proc/self/status", "VmHWM:")
}

/// Bytes that this process has caused to be written to the disk.
pub fn written_bytes() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

fn field(file: &str, name: &str) -> u64 {
    let text = read_to_string(file).expect("the kernel says");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
    line.split_whitespace().next().expect("a number").parse().expect("a number")
}

/// User and system time of all threads.
pub fn cpu_ms() -> u64 {
    let stat = read_to_string("/proc/self/stat").expect("the kernel says");
    // After the name, which is in brackets; user and system time are the 14th and 15th field of all, in ticks of 10 ms.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12].iter().map(|&field| fields[field].parse::<u64>().expect("a number") * 10).sum()
}

/// Where and when, for the foot of a plot.
pub fn made() -> String {
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    format!("millpond {version}; {cores} cores of {model}, Linux {}; {}", kernel.trim(), civil::date(SystemTime::now()))
}
