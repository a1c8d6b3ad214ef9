//! Counts the instructions of the hot path with callgrind: a fixed piece of work on one thread, in memory, with a clock that
//! does not move, so that the count depends only on the code.
//!
//! ```text
//! cargo bench --bench hot_path              # counts and compares with benches/hot_path/baseline.txt
//! cargo bench --bench hot_path -- --save    # writes the baseline
//! ```
//!
//! Each piece runs with n and with 2n jobs in a process of its own; the difference is the cost of n jobs, whatever
//! else the process does. `redb` is the same work by the storage engine alone. Needs `valgrind`.

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
