//! How guests that compute without end slow down the application: the time that an echo over TCP takes on the runtime on
//! which they were started.

use std::time::{Duration, Instant};

use millpond::{Millpond, NewJob, Plugin, PluginLimits};
use redb::backends::InMemoryBackend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::guest;

const THREADS: usize = 2;
const ECHOES: usize = 500;

/// The median that an application should not exceed.
const MEDIAN_MAX: Duration = Duration::from_millis(5);

/// Iterations of an empty loop that take about a millisecond.
const MILLISECOND: u64 = 2_000_000;

/// Guests that run on the same runtime as the application.
#[derive(Clone, Copy)]
enum Busy {
    /// So many guests that never end.
    Forever(usize),
    /// So many guests at a time, one after another, each with so many iterations of a loop.
    Turns(usize, u64),
}

pub fn print() {
    println!("\n{:<40} {:>10} {:>10} {:>10}", "echo over TCP, 2 threads", "median", "p99", "max");
    for (busy, name) in [
        (Busy::Forever(0), "no guest"),
        (Busy::Forever(2), "2 guests that never end"),
        (Busy::Forever(100), "100 guests that never end"),
        (Busy::Turns(16, MILLISECOND / 10), "16 at a time of about 0.1 ms"),
        (Busy::Turns(16, MILLISECOND / 2), "16 at a time of about 0.5 ms"),
        (Busy::Turns(16, 5 * MILLISECOND), "16 at a time of about 5 ms"),
    ] {
        let took = echoes(busy);
        let [median, p99, max] = [took[ECHOES / 2], took[ECHOES * 99 / 100], took[ECHOES - 1]];
        println!("{name:<40} {:>7} us {:>7} us {:>7} us", median.as_micros(), p99.as_micros(), max.as_micros());
        assert!(median < MEDIAN_MAX, "the guests slow the application down too much");
    }
}

fn start(pond: &Millpond, busy: Busy) {
    let plugin = |name: String, code: &str| {
        let plugin = Plugin::from_bytes(name, guest::module(code)).expect("a guest");
        plugin.limits(PluginLimits::default().time(Duration::from_secs(600)))
    };
    match busy {
        // Each is a plugin of its own, because a plugin has a limited number of places for running guests.
        Busy::Forever(guests) => {
            for number in 0..guests {
                let (queue, spins) = (format!("q-{number}"), plugin(format!("busy-{number}"), guest::SPIN));
                pond.worker(&queue).concurrency(1).no_timeout().handle_wasm("job", spins).start().expect("a worker");
                pond.enqueue(&queue, NewJob::raw("job", "")).wait().expect("a job");
            }
        }
        Busy::Turns(at_a_time, turns) => {
            let code = format!(
                "(loop $again (local.set $j (i64.add (local.get $j) (i64.const 1)))
                    (br_if $again (i64.lt_u (local.get $j) (i64.const {turns})))) {}",
                guest::NOTHING
            );
            let turns = plugin("turns".to_owned(), &code);
            for _ in 0..10 {
                pond.enqueue_many("q", (0..5_000).map(|_| NewJob::raw("job", ""))).wait().expect("jobs");
            }
            pond.worker("q").concurrency(at_a_time).handle_wasm("job", turns).start().expect("a worker");
        }
    }
}

/// The times of the echoes while guests are busy, in order.
fn echoes(busy: Busy) -> Vec<Duration> {
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().expect("a runtime");
    let pond = Millpond::builder().runtime(runtime.handle().clone()).open_backend(InMemoryBackend::new());
    let pond = pond.expect("a queue");
    start(&pond, busy);
    std::thread::sleep(Duration::from_millis(500));
    let mut took = runtime.block_on(async {
        let task = tokio::spawn(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let mut client = TcpStream::connect(listener.local_addr()?).await?;
            let (mut server, _) = listener.accept().await?;
            tokio::spawn(async move {
                while let Ok(byte) = server.read_u8().await {
                    if server.write_u8(byte).await.is_err() {
                        break;
                    }
                }
            });
            let mut took = Vec::new();
            for _ in 0..ECHOES {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let start = Instant::now();
                client.write_u8(7).await?;
                client.read_u8().await?;
                took.push(start.elapsed());
            }
            std::io::Result::Ok(took)
        });
        task.await.expect("it ends").expect("a connection to this machine")
    });
    pond.shutdown(Duration::ZERO).wait().ok();
    took.sort();
    took
}
