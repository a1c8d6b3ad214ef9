//! What streams cost beside their floor, which is redb alone, and beside jobs, in turns of one run.
//!
//! ```text
//! cargo bench --bench streams                        # five minutes
//! cargo bench --bench streams -- --turns 3 consume   # only the lines that have this in their name
//! cargo bench --bench streams -- --growth 10000000   # also the memory and the opening of a file with so many entries
//! ```

#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/floor.rs"]
mod floor;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/kernel.rs"]
mod kernel;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/measure.rs"]
mod measure;
#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/turns.rs"]
mod turns;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use floor::PAYLOAD;
use millpond::{EntryOrder, Job, Millpond, NewJob};
use tokio::runtime::Runtime;

use turns::median;

const TURNS: usize = 7;
const HOUR: Duration = Duration::from_secs(3_600);

/// Entries in one call of the bulk lines.
const AT_ONCE: u64 = 1_000;
const BULK: u64 = 200_000;
const PRODUCERS: u64 = 64;
const EACH: u64 = 300;
const CONSUMED: u64 = 100_000;

fn entry() -> NewJob {
    NewJob::raw("noop", Bytes::from_static(&[7; PAYLOAD]))
}

fn keyed(n: u64) -> NewJob {
    entry().group((n % 1_000).to_string())
}

/// The same work by redb alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// 1,000 rows inserted in a commit: that of W3 of the queue's bench.
    Bulk,
    /// 64 threads, one row in each call, commits shared: that of W2.
    Producers,
    /// 1,000 rows read and removed in a commit: that of W4.
    Drain,
}

const FLOORS: [Floor; 3] = [Floor::Bulk, Floor::Producers, Floor::Drain];

impl Floor {
    fn name(self) -> &'static str {
        match self {
            Self::Bulk => "redb: 1,000 rows inserted in a commit",
            Self::Producers => "redb: 64 producers, a row in a call",
            Self::Drain => "redb: 1,000 rows read, removed in a commit",
        }
    }

    fn per_second(self) -> f64 {
        let (count, sample) = match self {
            Self::Bulk => (BULK, floor::bulk(BULK, PAYLOAD)),
            Self::Producers => (PRODUCERS * EACH, floor::enqueue(PRODUCERS, PRODUCERS * EACH)),
            Self::Drain => (CONSUMED, floor::drain(CONSUMED)),
        };
        count as f64 / sample.took.as_secs_f64()
    }
}

/// What is measured: how many per second, beside its floor.
type Line = (&'static str, Floor, fn(&Runtime, &Path) -> f64);

const LINES: [Line; 11] = [
    ("enqueue, 1,000 in a call", Floor::Bulk, |runtime, dir| runtime.block_on(enqueue_bulk(dir))),
    ("append, 1,000 in a call", Floor::Bulk, |runtime, dir| runtime.block_on(append_bulk(dir, |_| entry()))),
    ("append, 1,000 in a call, keys", Floor::Bulk, |runtime, dir| runtime.block_on(append_bulk(dir, keyed))),
    ("enqueue, 64 producers", Floor::Producers, |runtime, dir| runtime.block_on(from_producers(dir, false))),
    ("append, 64 producers", Floor::Producers, |runtime, dir| runtime.block_on(from_producers(dir, true))),
    ("run jobs, concurrency 100", Floor::Drain, |runtime, dir| runtime.block_on(run_jobs(dir))),
    ("consume, no key, concurrency 100", Floor::Drain, |runtime, dir| {
        runtime.block_on(consume(dir, 1, EntryOrder::ByKey, |_| entry()))
    }),
    ("consume, 1,000 keys, concurrency 100", Floor::Drain, |runtime, dir| {
        runtime.block_on(consume(dir, 1, EntryOrder::ByKey, keyed))
    }),
    ("consume, no order, concurrency 100", Floor::Drain, |runtime, dir| {
        runtime.block_on(consume(dir, 1, EntryOrder::None, keyed))
    }),
    ("consume, 10 consumers, no order", Floor::Drain, |runtime, dir| {
        runtime.block_on(consume(dir, 10, EntryOrder::None, keyed))
    }),
    ("read, 1,000 in a page", Floor::Drain, |runtime, dir| runtime.block_on(read(dir))),
];

fn per_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

fn open(dir: &Path) -> Millpond {
    Millpond::builder().max_running(128).open(dir.join("streams.redb")).expect("a queue")
}

async fn close(pond: Millpond) {
    pond.shutdown(HOUR).await.expect("it closes");
}

async fn enqueue_bulk(dir: &Path) -> f64 {
    let pond = open(dir);
    let begun = Instant::now();
    for _ in 0..BULK / AT_ONCE {
        pond.enqueue_many("bench", (0..AT_ONCE).map(|_| entry())).await.expect("they are stored");
    }
    let rate = per_second(BULK, begun);
    close(pond).await;
    rate
}

async fn append_bulk(dir: &Path, make: fn(u64) -> NewJob) -> f64 {
    let pond = open(dir);
    let stream = pond.stream("bench").expect("a good name");
    let begun = Instant::now();
    for _ in 0..BULK / AT_ONCE {
        stream.append_many((0..AT_ONCE).map(make)).await.expect("they are stored");
    }
    let rate = per_second(BULK, begun);
    close(pond).await;
    rate
}

async fn from_producers(dir: &Path, is_stream: bool) -> f64 {
    let pond = open(dir);
    let begun = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let pond = pond.clone();
            tokio::spawn(async move {
                let stream = pond.stream("bench").expect("a good name");
                for _ in 0..EACH {
                    match is_stream {
                        true => drop(stream.append(entry()).await.expect("it is stored")),
                        false => drop(pond.enqueue("bench", entry()).await.expect("it is stored")),
                    }
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.expect("it ends");
    }
    let rate = per_second(PRODUCERS * EACH, begun);
    close(pond).await;
    rate
}

/// The ends of all jobs, or entries, of a queue are durable.
async fn ended(pond: &Millpond, queue: &str, count: u64) {
    let queue = pond.queue(queue).expect("a queue");
    while queue.counts().completed_total < count {
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

async fn run_jobs(dir: &Path) -> f64 {
    let pond = open(dir);
    for _ in 0..CONSUMED / AT_ONCE {
        pond.enqueue_many("bench", (0..AT_ONCE).map(|_| entry())).await.expect("they are stored");
    }
    let begun = Instant::now();
    let worker = pond.worker("bench").concurrency(100);
    worker.handle_raw("noop", |_: Job<Bytes>| async { Ok(()) }).start().expect("a worker");
    ended(&pond, "bench", CONSUMED).await;
    let rate = per_second(CONSUMED, begun);
    close(pond).await;
    rate
}

async fn consume(dir: &Path, consumers: u64, order: EntryOrder, make: fn(u64) -> NewJob) -> f64 {
    let pond = open(dir);
    let stream = pond.stream("bench").expect("a good name");
    for chunk in 0..CONSUMED / AT_ONCE {
        stream.append_many((0..AT_ONCE).map(|n| make(chunk * AT_ONCE + n))).await.expect("they are stored");
    }
    let begun = Instant::now();
    for consumer in 0..consumers {
        let consumer = pond.consumer("bench", &format!("c{consumer}")).order(order).concurrency(100);
        let consumer = consumer.worker(|worker| worker.handle_raw("noop", |_: Job<Bytes>| async { Ok(()) }));
        consumer.start().await.expect("a consumer");
    }
    for consumer in 0..consumers {
        ended(&pond, &format!("bench:c{consumer}"), CONSUMED).await;
    }
    let rate = per_second(consumers * CONSUMED, begun);
    close(pond).await;
    rate
}

async fn read(dir: &Path) -> f64 {
    let pond = open(dir);
    let stream = pond.stream("bench").expect("a good name");
    for _ in 0..CONSUMED / AT_ONCE {
        stream.append_many((0..AT_ONCE).map(|_| entry())).await.expect("they are stored");
    }
    let begun = Instant::now();
    let mut from = 0;
    loop {
        let page = stream.read(from, 1_000).expect("a page");
        let Some(last) = page.last() else { break };
        from = last.offset + 1;
    }
    let rate = per_second(CONSUMED, begun);
    close(pond).await;
    rate
}

fn growth(runtime: &Runtime, dir: &Path, count: u64) {
    let begun = Instant::now();
    runtime.block_on(async {
        let pond = open(dir);
        let stream = pond.stream("bench").expect("a good name");
        for _ in 0..count / 10_000 {
            stream.append_many((0..10_000).map(|_| entry())).await.expect("they are stored");
        }
        close(pond).await;
    });
    println!("append {count} entries, 10,000 in a call: {:.0} per second", per_second(count, begun));
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    let output = child.arg("--open").arg(dir).output().expect("it runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

fn reopen(dir: &Path) {
    let before = kernel::peak_kib();
    let begun = Instant::now();
    let pond = open(dir);
    let took = begun.elapsed();
    let more = kernel::peak_kib().zip(before).map(|(after, before)| (after - before) / 1_024);
    let info = pond.stream("bench").expect("a good name").info().expect("it is there");
    println!("open a file with {} entries: {took:.1?}, {more:?} MiB more memory", info.entries);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    if let Some(dir) = value("--open") {
        return reopen(Path::new(dir));
    }
    let runtime = Runtime::new().expect("a runtime");
    let turns = value("--turns").map_or(TURNS, |turns| turns.parse().expect("a number"));
    let only = args.iter().find(|arg| !arg.starts_with("--") && arg.parse::<u64>().is_err());
    let lines: Vec<Line> =
        LINES.into_iter().filter(|(name, ..)| only.is_none_or(|only| name.contains(&**only))).collect();
    let mut floors = vec![Vec::new(); FLOORS.len()];
    let mut rates = vec![Vec::new(); lines.len()];
    for _ in 0..turns {
        for (floor, rates) in FLOORS.iter().zip(&mut floors) {
            if lines.iter().any(|(_, of, _)| of == floor) {
                rates.push(floor.per_second());
            }
        }
        for ((.., measure), rates) in lines.iter().zip(&mut rates) {
            let dir = tempfile::tempdir().expect("a directory for the bench");
            rates.push(measure(&runtime, dir.path()));
        }
    }
    println!(
        "{:<44} {:>10} {:>22} {:>16}",
        format!("median of {turns} turns"),
        "per second",
        "min..max",
        "of the floor"
    );
    for (at, (floor, of_floor)) in FLOORS.iter().zip(&floors).enumerate().filter(|(_, (_, rates))| !rates.is_empty()) {
        row(floor.name(), of_floor, of_floor);
        for ((name, ..), rates) in lines.iter().zip(&rates).filter(|((_, of, _), _)| *of == FLOORS[at]) {
            row(name, rates, of_floor);
        }
    }
    if let Some(count) = value("--growth") {
        let dir = tempfile::tempdir().expect("a directory for the bench");
        growth(&runtime, dir.path(), count.parse().expect("a number"));
    }
}

/// Prints the medians of the rates and of what they are of the floor in the same turn.
fn row(name: &str, rates: &[f64], floors: &[f64]) {
    let (rate, least, most) = median(rates.to_vec());
    let (ratio, low, high) = median(rates.iter().zip(floors).map(|(rate, floor)| rate / floor).collect());
    let (range, ratio) = (format!("{least:.0}..{most:.0}"), format!("{ratio:.2} ({low:.2}..{high:.2})"));
    println!("{name:<44} {rate:>10.0} {range:>22} {ratio:>16}");
}
