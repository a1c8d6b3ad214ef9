//! Prints the table: floor and queue in turns, medians, and the median of the turns' ratios.

use std::time::Duration;

use crate::measure::Sample;
use crate::pond;
use crate::work::{Judged, WORK, Work};

pub fn print(args: &[String]) {
    let turns = value_of(args, "--turns").map_or(7, |turns| turns.parse().expect("a number of turns"));
    pond::listen(args.iter().any(|arg| arg == "--events"));
    let wanted: Vec<&String> = args.iter().filter(|arg| arg.starts_with('W')).collect();
    println!(
        "{:<40} {:>10} {:>10}  {:<18} {:>5}  {:>15}  {:>15}",
        "", "floor", "millpond", "ratio (min..max)", "goal", "bytes/job", "jobs/commit"
    );
    for work in
        WORK.iter().filter(|work| wanted.is_empty() || wanted.iter().any(|w| work.name.split(' ').next() == Some(w)))
    {
        line(work, turns);
    }
}

fn value_of<'a>(args: &'a [String], name: &str) -> Option<&'a String> {
    args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1))
}

fn line(work: &Work, turns: usize) {
    let (mut floors, mut ponds) = (Vec::new(), Vec::new());
    // The first turn warms up.
    for turn in 0..=turns {
        let (floor, pond) = ((work.floor)(work.jobs), (work.pond)(work.jobs));
        if turn > 0 {
            floors.push(floor);
            ponds.push(pond);
        }
    }
    match work.judged {
        Judged::Rate => {
            let rate = |sample: &Sample| work.jobs as f64 / sample.took.as_secs_f64();
            row(work.name, work, (&floors, &ponds), &rate, |rate| format!("{rate:.0}/s"));
        }
        Judged::Latency => {
            row(work.name, work, (&floors, &ponds), &|sample| micros(sample.latency(50)), |us| format!("{us:.0} us"));
        }
    }
    if work.name.starts_with("W5") {
        let p99 = |sample: &Sample| micros(sample.latency(99));
        row("W5 p99 to start", &Work { goal: 1.5, ..*work }, (&floors, &ponds), &p99, |us| format!("{us:.0} us"));
    }
}

fn row(
    name: &str,
    work: &Work,
    (floors, ponds): (&[Sample], &[Sample]),
    figure: &dyn Fn(&Sample) -> f64,
    show: impl Fn(f64) -> String,
) {
    let (floor, pond) = (floors.iter().map(figure), ponds.iter().map(figure));
    let mut ratios: Vec<f64> = floor.clone().zip(pond.clone()).map(|(floor, pond)| pond / floor).collect();
    ratios.sort_by(f64::total_cmp);
    let per_job = |samples: &[Sample]| median(samples.iter().map(|s| s.written as f64 / work.jobs as f64));
    let per_commit = |samples: &[Sample]| median(samples.iter().map(|s| work.jobs as f64 / s.commits.max(1) as f64));
    println!(
        "{name:<40} {:>10} {:>10}  {:<4.2} {:<13} {:>5}  {:>7.0} {:>7.0}  {:>7.1} {:>7.1}",
        show(median(floor)),
        show(median(pond)),
        ratios[ratios.len() / 2],
        format!("({:.2}..{:.2})", ratios[0], ratios[ratios.len() - 1]),
        work.goal,
        per_job(floors),
        per_job(ponds),
        per_commit(floors),
        per_commit(ponds),
    );
}

fn micros(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
