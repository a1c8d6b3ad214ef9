//! Counts instructions, and compares them with the baseline.

use std::collections::BTreeMap;
use std::process::Command;

use crate::work::WORK;

/// The number of jobs in the smaller run.
const JOBS: u64 = 16_000;

/// How far a count is allowed to be above the baseline, in percent.
const TOLERANCE: f64 = 3.0;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/hot_path/baseline.txt");

/// The instructions of one job.
fn per_job(work: &str) -> u64 {
    let [few, many] = [JOBS, 2 * JOBS].map(|jobs| instructions(work, jobs));
    (many - few) / JOBS
}

fn instructions(work: &str, jobs: u64) -> u64 {
    let program = std::env::current_exe().expect("this very program");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = command.args(["run", work, &jobs.to_string()]).output();
    let output = output.unwrap_or_else(|error| panic!("valgrind is needed (Debian: apt install valgrind): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    line.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count in {said}"))
}

pub fn save() {
    let lines: Vec<String> = WORK.iter().map(|work| format!("{}\t{work}\n", per_job(work))).collect();
    std::fs::write(BASELINE, lines.concat()).expect("the baseline can be written");
    print!("{}", lines.concat());
}

/// Returns the exit code: 0 unless a count has grown too far.
pub fn compare() -> i32 {
    let text = std::fs::read_to_string(BASELINE).expect("a baseline: make it with --save");
    let baseline: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(count, work)| (work, count.parse().expect("a count")))
        .collect();
    println!("{:<24} {:>12} {:>12} {:>8}", "instructions per job", "baseline", "now", "");
    let mut grown = false;
    for work in WORK {
        let (before, now) = (baseline.get(work).copied().unwrap_or(u64::MAX), per_job(work));
        let percent = (now as f64 / before as f64 - 1.0) * 100.0;
        grown |= percent > TOLERANCE;
        println!("{work:<24} {before:>12} {now:>12} {percent:>+7.1}%");
    }
    if grown {
        println!("more than {TOLERANCE}% above the baseline: fix it, or give the reason and save a new one");
    }
    i32::from(grown)
}
