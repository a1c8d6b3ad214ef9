//! What publishing to a topic costs beside plain enqueues, in turns of one run.
//!
//! ```text
//! cargo bench --bench topics             # two minutes
//! cargo bench --bench topics -- --only 1 # one line many times, counted from 0, for a profiler
//! ```

#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/turns.rs"]
mod turns;

use std::path::Path;
use std::time::{Duration, Instant};

use millpond::{Binding, Millpond, NewJob, Topic};
use tokio::runtime::Runtime;

use turns::median;

/// Jobs of one turn.
const JOBS: u64 = 30_000;
const TURNS: usize = 7;
const CALLERS: u64 = 64;
/// Messages in one transaction.
const AT_ONCE: u64 = 1_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// How jobs are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By this many callers that wait, each for its own call.
    Calls,
    /// Many in one transaction.
    Transactions,
}

/// What is measured.
struct Line {
    name: &'static str,
    way: Way,
    /// The queues that one message reaches; 0 for plain enqueues.
    queues: u64,
    /// Other bindings, which no message matches.
    others: u64,
}

const fn line(name: &'static str, way: Way, queues: u64, others: u64) -> Line {
    Line { name, way, queues, others }
}

const LINES: [Line; 9] = [
    line("enqueue, 64 callers", Way::Calls, 0, 0),
    line("publish to 1 queue, 64 callers", Way::Calls, 1, 9),
    line("publish to 1 queue, 10,000 bindings, 64 callers", Way::Calls, 1, 9_999),
    line("publish to 3 queues, 64 callers", Way::Calls, 3, 7),
    line("publish to 100 queues, 64 callers", Way::Calls, 100, 0),
    line("enqueue, 1,000 in a transaction", Way::Transactions, 0, 0),
    line("publish to 1 queue, 1,000 in a transaction", Way::Transactions, 1, 9),
    line("publish to 1 queue, 10,000 bindings, 1,000 in a transaction", Way::Transactions, 1, 9_999),
    line("publish to 100 queues, 10 in a transaction", Way::Transactions, 100, 0),
];

fn noop() -> NewJob {
    NewJob::raw("noop", vec![7; 128])
}

fn bind(pond: &Millpond, queues: u64, others: u64) -> Topic {
    let topic = pond.topic("topic").expect("a good name");
    let bound = pond.transaction(move |tx| {
        for n in 0..queues {
            tx.bind("topic", Binding::to(format!("bench-{n}")).key("order.created.*"))?;
        }
        for n in 0..others {
            tx.bind("topic", Binding::to(format!("other-{}", n % 100)).key(format!("customer.{n}.#")))?;
        }
        Ok(())
    });
    bound.wait().expect("they are bound");
    topic
}

/// Runs one turn. Returns the jobs per second.
async fn turn(dir: &Path, what: usize) -> f64 {
    let file = dir.join(format!("{what}.redb"));
    let _ = std::fs::remove_file(&file);
    let pond = Millpond::open(&file).expect("a queue");
    let Line { way, queues, others, .. } = LINES[what];
    let opened = pond.clone();
    let topic = tokio::task::spawn_blocking(move || bind(&opened, queues, others)).await.expect("it does not panic");
    // Each queue, and the kind, is in the file before anything is measured.
    match queues {
        0 => drop(pond.enqueue("bench-0", noop()).await.expect("it is stored")),
        _ => drop(topic.publish("order.created.eu", noop()).await.expect("it is stored")),
    }
    let messages = JOBS / queues.max(1);
    let begun = Instant::now();
    match way {
        Way::Calls => {
            let callers = (0..CALLERS).map(|caller| {
                let (pond, topic) = (pond.clone(), topic.clone());
                let own = messages / CALLERS + u64::from(caller < messages % CALLERS);
                tokio::spawn(async move {
                    for _ in 0..own {
                        match queues {
                            0 => drop(pond.enqueue("bench-0", noop()).await.expect("it is stored")),
                            _ => drop(topic.publish("order.created.eu", noop()).await.expect("it is stored")),
                        }
                    }
                })
            });
            for caller in callers.collect::<Vec<_>>() {
                caller.await.expect("it does not panic");
            }
        }
        Way::Transactions => {
            let at_once = AT_ONCE / queues.max(1);
            for _ in 0..messages / at_once {
                let stored = pond.transaction(move |tx| {
                    for _ in 0..at_once {
                        match queues {
                            0 => drop(tx.enqueue("bench-0", noop())?),
                            _ => drop(tx.publish("topic", "order.created.eu", noop())?),
                        }
                    }
                    Ok(())
                });
                stored.await.expect("they are stored");
            }
        }
    }
    let took = begun.elapsed();
    let stored: u64 = pond.queues().iter().map(|queue| queue.counts().pending).sum();
    assert!(stored >= JOBS / 100 * 99, "{stored} jobs were stored");
    pond.shutdown(HOUR).await.expect("it closes");
    (stored - queues.max(1)) as f64 / took.as_secs_f64()
}

/// How long it takes to find the queues of a message, and to change the bindings, without and with many others.
fn without_jobs(dir: &Path, others: u64) {
    let file = dir.join("matches.redb");
    let _ = std::fs::remove_file(&file);
    let pond = Millpond::open(&file).expect("a queue");
    let topic = bind(&pond, 1, others);
    let times = 100_000;
    let begun = Instant::now();
    for _ in 0..times {
        assert_eq!(topic.matches("order.created.eu", &[]).expect("a topic").queues.len(), 1);
    }
    let one = begun.elapsed() / times;
    let begun = Instant::now();
    for n in 0..20 {
        topic.bind(Binding::to("bench-0").key(format!("late.{n}"))).wait().expect("it is bound");
    }
    let change = begun.elapsed() / 20;
    println!("{:>6} bindings: a match takes {one:?}, a binding with its commit {change:?}", others + 1);
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let arguments: Vec<String> = std::env::args().collect();
    let only = arguments.iter().position(|argument| argument == "--only");
    if let Some(what) = only.and_then(|at| arguments.get(at + 1)?.parse().ok()) {
        for _ in 0..100 {
            println!("{:.0} jobs/s", runtime.block_on(turn(dir.path(), what)));
        }
        return;
    }
    let mut rates = vec![Vec::new(); LINES.len()];
    for _ in 0..TURNS {
        for (what, rates) in rates.iter_mut().enumerate() {
            rates.push(runtime.block_on(turn(dir.path(), what)));
        }
    }
    let medians: Vec<f64> = rates.iter().cloned().map(|rates| median(rates).0).collect();
    for (what, line) in LINES.iter().enumerate() {
        let plain = LINES.iter().position(|plain| plain.queues == 0 && plain.way == line.way).expect("it is there");
        let of_turns: Vec<_> = rates[what].iter().map(|rate| format!("{rate:.0}")).collect();
        println!(
            "{:<60} {:>9.0} jobs/s, {:.2} of plain enqueues; turns: {}",
            line.name,
            medians[what],
            medians[what] / medians[plain],
            of_turns.join(" ")
        );
    }
    let _in_runtime = runtime.enter();
    [9, 999, 9_999].into_iter().for_each(|others| without_jobs(dir.path(), others));
}
