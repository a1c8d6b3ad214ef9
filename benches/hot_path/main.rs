//! Instructions on the hot path, under callgrind: a fixed piece of work on one thread, in memory, with
//! a clock that stands still, so that the count depends on the code alone.
//!
//! ```text
//! cargo bench --bench hot_path              # counts and compares with benches/hot_path/baseline.txt
//! cargo bench --bench hot_path -- --save    # writes the baseline
//! ```
//!
//! Each piece is run with n and with 2n jobs in a process of its own; the difference is what n jobs
//! cost, whatever the process does besides. `redb` is the same by the storage engine alone. Needs `valgrind`.

mod callgrind;
mod work;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("run") => work::run(&args[1], args[2].parse().expect("a number of jobs")),
        Some("--save") => callgrind::save(),
        _ => std::process::exit(callgrind::compare()),
    }
}
