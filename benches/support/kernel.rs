//! What Linux reports about this process; `None` on other systems.

use std::fs::read_to_string;

/// The high-water mark of resident memory, in KiB.
pub fn peak_kib() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// The bytes that this process has caused to be written to the disk, in whole pages.
pub fn written_bytes() -> Option<u64> {
    field("/proc/self/io", "write_bytes:")
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// User and system time of all threads, in milliseconds.
pub fn cpu_ms() -> Option<u64> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // The fields after the name, which is in brackets; user and system time are fields 14 and 15 of all, in ticks of 10 ms.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some((fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?) * 10)
}
