//! The costs of a plugin before its first job: to compile it, to load it from the cache, and to keep it idle.

use std::time::{Duration, Instant};

use millpond::{Millpond, Plugin};
use redb::backends::InMemoryBackend;
use tokio::runtime::{Builder, Runtime};

use crate::{median, wasm_of};

const GUESTS: [&str; 4] =
    ["rust-noop/noop.wasm", "rust-thumbnail/thumbnail.wasm", "c-crc32/crc32.wasm", "js-noop/noop.wasm"];

/// The number of idle plugins, each with code of its own.
const IDLE: usize = 50;

pub fn print(turns: usize) {
    println!("\n{:<32} {:>10} {:>12} {:>12} {:>16}", "", "KiB", "compiled", "from cache", "KiB when idle");
    for file in GUESTS {
        let wasm = wasm_of(file);
        let cache = tempfile::tempdir().expect("a directory for compiled code");
        let start = |wasm: &[u8], cached: bool| {
            let plugin = Plugin::from_bytes("it", wasm.to_vec()).expect("a guest");
            let plugin = if cached { plugin.cache(cache.path().join("code")) } else { plugin };
            registered(plugin)
        };
        start(&wasm, true);
        let compiled = median((0..turns).map(|_| millis(start(&wasm, false))));
        let loaded = median((0..turns).map(|_| millis(start(&wasm, true))));
        let kib = wasm.len() >> 10;
        println!("{file:<32} {kib:>10} {compiled:>9.2} ms {loaded:>9.2} ms {:>16}", idle_kib(&wasm));
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn opened() -> (Runtime, Millpond) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let pond = Millpond::builder().runtime(runtime.handle().clone()).open_backend(InMemoryBackend::new());
    (runtime, pond.expect("a file"))
}

/// How long `start` takes, less the time to open the queue.
fn registered(plugin: Plugin) -> Duration {
    let (_runtime, pond) = opened();
    let before = Instant::now();
    let worker = pond.worker("q").handle_wasm("job", plugin).start().expect("a plugin");
    let took = before.elapsed();
    drop(worker);
    pond.shutdown(Duration::from_secs(10)).wait().expect("it ends");
    took
}

/// The memory that one more plugin adds to the process while no job of it runs.
fn idle_kib(wasm: &[u8]) -> usize {
    let (_runtime, pond) = opened();
    let register = |number: usize| {
        let mut wasm = wasm.to_vec();
        // An empty custom section makes it another version.
        wasm.extend([0, 4, 2, b'n', b'o', number as u8]);
        let plugin = Plugin::from_bytes(format!("plugin-{number}"), wasm).expect("a guest");
        pond.worker(&format!("q-{number}")).handle_wasm("job", plugin).start().expect("a plugin")
    };
    let mut workers = vec![register(0)];
    let before = resident_kib();
    workers.extend((1..=IDLE).map(register));
    let after = resident_kib();
    drop(workers);
    pond.shutdown(Duration::from_secs(10)).wait().expect("it ends");
    after.saturating_sub(before) / IDLE
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line for it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
