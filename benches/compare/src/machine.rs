//! Where, when and with which versions the figures were made.

use std::fs;
use std::path::Path;
use std::process::Command;

const LOCKS: [&str; 2] = [include_str!("../Cargo.lock"), include_str!("../effectum/Cargo.lock")];

/// The version of a crate, from the lock files of this build. `redb 2` is the redb whose version begins with 2.
pub fn version(name: &str) -> Option<&'static str> {
    let (name, major) = name.split_once(' ').unwrap_or((name, ""));
    let header = format!("name = \"{name}\"");
    let mut entries = LOCKS.iter().flat_map(|lock| lock.split("[[package]]"));
    entries.find_map(|entry| {
        let mut lines = entry.lines().skip_while(|line| *line != header);
        let version = lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?;
        version.starts_with(major).then_some(version)
    })
}

/// Date, processor, kernel and the file system of `dir`, in one line.
pub fn describe(dir: &Path) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]);
    let kernel = output("uname", &["-sr"]);
    let file_system = file_system(dir).unwrap_or_else(|| "unknown".into());
    format!("{date}; {}, {cores} cores; {kernel}; {file_system}", model.unwrap_or("an unknown processor"))
}

/// The type of the file system of `dir`, if the system tells it.
pub fn file_system(dir: &Path) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holds = mounts.filter(|(point, _)| dir.starts_with(point));
    // Of two mounts on the same point the later one counts.
    holds.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
