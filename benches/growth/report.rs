//! Writes the table on the terminal, and the files.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::axis::{Axis, thousands};
use crate::measured::Measured;
use crate::plot;
use crate::svg::short;

type Column = (&'static str, fn(&Measured) -> f64);

/// The columns after the value along the axis.
const COLUMNS: [Column; 8] = [
    ("jobs/s", Measured::jobs_per_second),
    ("CPU us/job", Measured::cpu_micros_per_job),
    ("peak MiB", Measured::peak_mib),
    ("mem B/waiting", Measured::memory_bytes_per_waiting_job),
    ("disk B/waiting", Measured::disk_bytes_per_waiting_job),
    ("written B/job", Measured::written_bytes_per_job),
    ("commits/s", Measured::commits_per_second),
    ("jobs/commit", |m| m.raw.jobs as f64 / m.raw.commits.max(1) as f64),
];

pub fn table(axis: &Axis, measured: &[Measured]) -> String {
    let mut table = format!("{}: {}\n{:>12}", axis.title, axis.base, axis.name);
    for (name, _) in COLUMNS {
        write!(table, "{name:>16}").expect("a string can be written to");
    }
    for ((value, _), measured) in axis.points.iter().zip(measured) {
        write!(table, "\n{:>12}", short(*value as f64, axis.is_bytes)).expect("a string can be written to");
        for (_, figure) in COLUMNS {
            write!(table, "{:>16}", number(figure(measured))).expect("a string can be written to");
        }
    }
    table
}

fn number(value: f64) -> String {
    if value >= 100.0 { thousands(value.round() as u64) } else { format!("{value:.1}") }
}

pub fn write(dir: &Path, axis: &Axis, measured: &[Measured], made: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(format!("growth-{}.csv", axis.name)), csv(axis, measured, made))?;
    fs::write(dir.join(format!("growth-{}.svg", axis.name)), plot::plot(axis, measured, made))
}

/// The raw counts, from which every figure of the plot can be computed again.
fn csv(axis: &Axis, measured: &[Measured], made: &str) -> String {
    let mut csv = format!("# {}: {}\n# {made}\n", axis.title, axis.base);
    csv += "value,waiting,queues,groups,concurrency,payload_bytes,jobs,micros,cpu_ms,written_bytes,commits,peak_kib,\
            empty_kib,file_bytes,jobs_per_second,jobs_per_second_slowest,jobs_per_second_fastest\n";
    for ((value, point), measured) in axis.points.iter().zip(measured) {
        let (raw, (slowest, fastest)) = (measured.raw, measured.spread);
        let counts = [
            *value,
            point.backlog,
            point.queues,
            point.groups,
            point.concurrency,
            point.payload_bytes,
            raw.jobs,
            raw.micros,
            raw.cpu_ms,
            raw.written_bytes,
            raw.commits,
            raw.peak_kib,
            measured.empty_kib,
            measured.disk_bytes,
        ];
        let counts = counts.map(|count| count.to_string()).join(",");
        let rate = measured.jobs_per_second();
        writeln!(csv, "{counts},{rate:.0},{slowest:.0},{fastest:.0}").expect("a string can be written to");
    }
    csv
}
