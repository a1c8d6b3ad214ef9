//! Prints the figures as markdown.

use crate::machine;
use crate::systems::{Line, Shows, Work};
use crate::work::Figures;

/// Prints the lines that were run, how durable each is and how it is used.
pub fn systems(lines: &[&Line]) {
    println!("| | versions | an acknowledged job survives a power cut | used how |\n|---|---|---|---|");
    for line in lines {
        let told = |name: &&str| {
            format!("{} {}", name.split(' ').next().unwrap_or(name), machine::version(name).unwrap_or("?"))
        };
        let versions: Vec<String> = line.crates.iter().map(told).collect();
        println!("| {} | {} | {} | {} |", line.name, versions.join(", "), line.durable, line.note);
    }
}

/// Prints the table of one work: a row for each line, with the medians of its turns.
pub fn work(work: &Work, rows: &[(&Line, Vec<Figures>)]) {
    println!("\n**{}: {}**\n", work.id, work.title);
    let (columns, rule) = match work.shows {
        Shows::Rate => ("jobs/s | min..max | of the floor", "---:|---:|---:"),
        Shows::RateAndP99 => {
            ("jobs/s | min..max | of the floor | p99 to start, ms | min..max", "---:|---:|---:|---:|---:")
        }
        Shows::Latency => ("p50 to start, ms | min..max | p99, ms", "---:|---:|---:"),
    };
    println!("| | {columns} | jobs per turn |\n|---|{rule}|---:|");
    let floor = rows.iter().find(|(line, _)| line.system == "redb").map(|(_, turns)| of(turns, |f| f.rate).median);
    for (line, turns) in rows {
        if line.skips.contains(&work.id) {
            continue;
        }
        if turns.is_empty() {
            println!("| {} | failed |", line.name);
            continue;
        }
        let (rate, p50, p99) = (of(turns, |f| f.rate), of(turns, |f| f.p50 / 1e3), of(turns, |f| f.p99 / 1e3));
        let of_floor = floor.map_or("".into(), |floor| ratio(rate.median / floor));
        let cells = match work.shows {
            Shows::Rate => format!("{} | {of_floor}", rate.counts()),
            Shows::RateAndP99 => format!("{} | {of_floor} | {}", rate.counts(), p99.millis()),
            Shows::Latency => format!("{} | {:.2}", p50.millis(), p99.median),
        };
        println!("| {} | {cells} | {} |", line.name, grouped(of(turns, |f| f.jobs as f64).median));
    }
}

struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

fn of(turns: &[Figures], figure: impl Fn(&Figures) -> f64) -> Spread {
    let mut values: Vec<f64> = turns.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Spread { median, low: values[0], high: values[values.len() - 1] }
}

impl Spread {
    fn counts(&self) -> String {
        format!("{} | {}..{}", grouped(self.median), grouped(self.low), grouped(self.high))
    }

    fn millis(&self) -> String {
        format!("{:.2} | {:.2}..{:.2}", self.median, self.low, self.high)
    }
}

/// Formats a ratio with two significant digits, however small it is.
fn ratio(ratio: f64) -> String {
    let decimals = if ratio >= 0.1 { 2 } else { 1 + (-ratio.max(1e-6).log10()).ceil() as usize };
    format!("{ratio:.decimals$}")
}

/// Formats 12345.6 as 12,346.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}
