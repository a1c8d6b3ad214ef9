//! What Linux says of this process; nothing elsewhere.

use std::fs::read_to_string;

/// The high-water mark of resident memory, in KiB.
pub fn peak_kib() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// Bytes that this process has caused to be written to the disk, in whole pages.
pub fn written_bytes() -> Option<u64> {
    field("/proc/self/io", "write_bytes:")
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// User and system time of all threads.
pub fn cpu_ms() -> Option<u64> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // After the name, which is in brackets; user and system time are the 14th and 15th field of all, in ticks of 10 ms.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some((fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?) * 10)
}
