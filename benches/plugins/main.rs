//! Plugins beside what they are made of: a bare loop of wasmtime that instantiates and calls the same component, with
//! the same settings, on as many threads; and beside the same work done by a Rust function. In turns, in one process.
//!
//! ```text
//! cargo bench --features wasm --bench plugins                # jobs/s, medians of 5 turns, and ratios
//! cargo bench --features wasm --bench plugins -- 9 50000     # so many turns, so many jobs in each
//! ```

mod bare;
#[path = "../../tests/it/wasm/guest.rs"]
mod guest;
mod pond;

/// Jobs a second.
type Rate = f64;

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let (turns, jobs) = (numbers.next().unwrap_or(5), numbers.next().unwrap_or(50_000) as u64);
    let module = guest::module(guest::NOTHING);
    let bare = bare::Bare::new(&guest::component(&module));
    println!("no-op guest, {jobs} jobs a turn, medians of {turns} turns");
    println!(
        "{:>8} {:>12} {:>12} {:>6} {:>12} {:>6} {:>12}",
        "threads", "bare", "fresh", "ratio", "reused", "ratio", "rust"
    );
    for threads in [1, 2] {
        let mut rates = [const { Vec::new() }; 4];
        for _ in 0..turns {
            rates[0].push(bare.run(threads, jobs));
            rates[1].push(pond::drain(threads, jobs, |worker| pond::plugin(worker, &module, 1)));
            rates[2].push(pond::drain(threads, jobs, |worker| pond::plugin(worker, &module, 1_000_000)));
            rates[3].push(pond::drain(threads, jobs, pond::function));
        }
        let [bare, fresh, reused, rust] = rates.map(median);
        let (of_bare, of_rust) = (fresh / bare, reused / rust);
        println!("{threads:>8} {bare:>12.0} {fresh:>12.0} {of_bare:>6.2} {reused:>12.0} {of_rust:>6.2} {rust:>12.0}");
    }
}

fn median(mut rates: Vec<Rate>) -> Rate {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
