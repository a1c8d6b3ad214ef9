//! Compares plugins with a bare loop of wasmtime that instantiates and calls the same component, with the same settings, on as
//! many threads; and with the same work done by a Rust function. In turns, in one process.
//!
//! ```text
//! cargo bench --features wasm --bench plugins                      # all: jobs/s as medians of 5 turns, and ratios
//! cargo bench --features wasm --bench plugins -- --turns 9 noop    # so many turns, lines of this name only
//! cargo bench --features wasm --bench plugins -- neighbours        # what the application feels of guests that compute
//! ```

mod bare;
mod cost;
#[path = "../../tests/plugins/guest.rs"]
mod guest;
mod neighbours;
mod pond;

use std::path::Path;

/// Jobs per second.
type Rate = f64;

/// What is run: a plugin, the payload of its jobs, and how many jobs make a turn.
struct Line {
    name: &'static str,
    file: &'static str,
    payload: fn() -> Vec<u8>,
    jobs: u64,
}

const LINES: [Line; 4] = [
    Line { name: "noop, 7 B", file: "rust-noop/noop.wasm", payload: || b"payload".to_vec(), jobs: 50_000 },
    Line { name: "noop, 1 KiB", file: "rust-noop/noop.wasm", payload: || vec![7; 1 << 10], jobs: 50_000 },
    Line { name: "noop, 64 KiB", file: "rust-noop/noop.wasm", payload: || vec![7; 64 << 10], jobs: 2_000 },
    Line { name: "QuickJS, 7 B", file: "js-noop/noop.wasm", payload: || b"payload".to_vec(), jobs: 5_000 },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let turns = match args.iter().position(|arg| arg == "--turns") {
        Some(at) => args[at + 1].parse().expect("a number of turns"),
        None => 5,
    };
    let wanted = |name: &str| match args.last() {
        Some(filter) if !filter.starts_with("--") && filter.parse::<u32>().is_err() => name.contains(filter.as_str()),
        _ => true,
    };
    println!("jobs/s, medians of {turns} turns; fresh of bare, reused of rust (min..max)");
    println!(
        "{:<16} {:>7} {:>9} {:>9} {:<18} {:>9} {:>9} {:<18}",
        "", "threads", "bare", "fresh", "", "rust", "reused", ""
    );
    for line in LINES.iter().filter(|line| wanted(line.name)) {
        for threads in [1, 2] {
            line.print(threads, turns);
        }
    }
    if wanted("cost") {
        cost::print(turns);
    }
    if wanted("neighbours") {
        neighbours::print();
    }
}

impl Line {
    fn print(&self, threads: usize, turns: usize) {
        let (wasm, payload) = (wasm_of(self.file), (self.payload)());
        let bare = bare::Bare::new(&wasm);
        let plugin = |reuse| pond::drain(threads, self.jobs, &payload, |worker| pond::plugin(worker, &wasm, reuse));
        let (mut fresh, mut reused) = (Beside::default(), Beside::default());
        // The first turn warms up.
        for turn in 0..=turns {
            let rates = [
                bare.run(threads, self.jobs, &payload),
                plugin(0),
                pond::drain(threads, self.jobs, &payload, pond::function),
                plugin(1_000_000),
            ];
            if turn > 0 {
                fresh.0.push([rates[0], rates[1]]);
                reused.0.push([rates[2], rates[3]]);
            }
        }
        println!("{:<16} {threads:>7} {fresh} {reused}", self.name);
    }
}

fn wasm_of(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-examples").join(file)).expect("a committed guest")
}

/// The rates of a floor and of what is compared with it, turn by turn.
#[derive(Default)]
struct Beside(Vec<[Rate; 2]>);

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ratios = sorted(self.0.iter().map(|[floor, ours]| ours / floor));
        let [floor, ours] = [0, 1].map(|at| median(self.0.iter().map(|rates| rates[at])));
        let ratio = format!("{:.2} ({:.2}..{:.2})", ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1]);
        write!(f, "{floor:>9.0} {ours:>9.0} {ratio:<18}")
    }
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let figures = sorted(figures);
    figures[figures.len() / 2]
}
