//! Names are resolved on threads of the queue, a few for each plugin, and never on the application's threads.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use millpond::{Allow, Grant, Millpond, NewJob, Plugin, PluginLimits, Retry, State};
use tokio::runtime::Runtime;

use super::built::hostile;
use crate::support::*;

/// The number of look-ups of one plugin at a time, as in `docs/guide/src/plugins.md`.
const OF_A_PLUGIN_MAX: usize = 4;

/// Attempts that ask at once: more than the blocking threads of the runtime below.
const ASKING: usize = 12;

const BLOCKING_THREADS: usize = 6;

const HANGS_AFTER: Duration = Duration::from_secs(20);

/// A resolver that does not answer until it is released.
#[derive(Clone, Default)]
struct Slow(Arc<(Mutex<Calls>, Condvar)>);

#[derive(Default)]
struct Calls {
    alive: usize,
    most: usize,
    may_end: bool,
}

impl Slow {
    fn look_up(&self) -> std::io::Result<Vec<IpAddr>> {
        let (calls, changed) = &*self.0;
        let mut calls = calls.lock().unwrap();
        calls.alive += 1;
        calls.most = calls.most.max(calls.alive);
        changed.notify_all();
        let mut calls = changed.wait_while(calls, |calls| !calls.may_end).unwrap();
        calls.alive -= 1;
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn wait_for(&self, alive: usize) {
        let (calls, changed) = &*self.0;
        let (calls, waited) =
            changed.wait_timeout_while(calls.lock().unwrap(), HANGS_AFTER, |calls| calls.alive < alive).unwrap();
        assert!(!waited.timed_out(), "{} of {alive}", calls.alive);
    }

    fn alive(&self) -> usize {
        self.0.0.lock().unwrap().alive
    }

    fn let_go(&self) {
        self.0.0.lock().unwrap().may_end = true;
        self.0.1.notify_all();
    }
}

/// Releases the look-ups when a test fails, so that the test does not wait for them.
struct LetGo(Slow);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

fn asking(resolve: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Plugin {
    let limits = PluginLimits::default().http_time(Duration::from_millis(50));
    hostile("fetch").limits(limits).grant(Grant::http(Allow::http("*.test").port(1).private())).resolver(resolve)
}

fn start(pond: &Millpond, queue: &str, plugin: Plugin) {
    pond.worker(queue).concurrency(ASKING).retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
}

/// The runtime has few blocking threads, so that it shows which code uses them.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn hanging_look_ups_of_a_plugin_do_not_block_the_applications_threads_or_other_plugins() {
    let (runtime, slow) = (runtime(), Slow::default());
    let pond = runtime.block_on(async { memory().1 });
    let _let_go = LetGo(slow.clone());
    let resolver = slow.clone();
    runtime.block_on(async { start(&pond, "slow", asking(move |_| resolver.look_up())) });
    let asked = Log::new();
    let noted = asked.clone();
    let other = asking(move |name| {
        noted.push(name.to_owned());
        Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
    });
    runtime.block_on(async { start(&pond, "other", other) });
    let url = |n: usize| NewJob::json("job", &format!("http://n{n}.test:1/"));

    // Each attempt gives up, and another one asks. The look-ups continue.
    let ids = runtime.block_on(pond.enqueue_many("slow", (0..ASKING).map(url))).unwrap();
    slow.wait_for(OF_A_PLUGIN_MAX);
    runtime.block_on(async {
        for id in ids {
            while pond.job(id).unwrap().state != State::Dead {
                tokio::task::yield_now().await;
            }
            assert_eq!(pond.job(id).unwrap().errors[0].message, "the request took too long");
        }
    });
    assert_eq!(slow.alive(), OF_A_PLUGIN_MAX, "they still run, and no others do");

    runtime.block_on(async {
        let own = tokio::task::spawn_blocking(|| 7);
        let own = tokio::time::timeout(HANGS_AFTER, own).await;
        assert_eq!(own.expect("the application's threads are in use").unwrap(), 7);
        let id = pond.enqueue("other", url(99)).await.unwrap();
        while pond.job(id).unwrap().state != State::Dead {
            tokio::task::yield_now().await;
        }
        // Nothing listens on this port.
        let message = pond.job(id).unwrap().errors[0].message.clone();
        assert!(message.starts_with("the connection failed"), "{message}");
    });
    assert_eq!(asked.all(), ["n99.test"]);

    slow.let_go();
    let again = runtime.block_on(pond.enqueue("slow", url(100))).unwrap();
    runtime.block_on(async {
        while pond.job(again).unwrap().state != State::Dead {
            tokio::task::yield_now().await;
        }
    });
    let message = pond.job(again).unwrap().errors[0].message.clone();
    assert!(message.starts_with("the connection failed"), "{message}");
    assert_eq!(slow.0.0.lock().unwrap().most, OF_A_PLUGIN_MAX);
}

#[test]
fn a_look_up_that_panics_fails_its_request_and_frees_its_place() {
    let runtime = runtime();
    let pond = runtime.block_on(async { memory().1 });
    // Without the panic hook: printing the first backtrace of a large program can take longer than a request may.
    runtime.block_on(async { start(&pond, "q", asking(|_| std::panic::resume_unwind(Box::new("no such resolver")))) });
    for n in 0..2 * OF_A_PLUGIN_MAX {
        let id = runtime.block_on(pond.enqueue("q", NewJob::json("job", &format!("http://n{n}.test:1/")))).unwrap();
        runtime.block_on(async {
            while pond.job(id).unwrap().state != State::Dead {
                tokio::task::yield_now().await;
            }
        });
        let message = pond.job(id).unwrap().errors[0].message.clone();
        assert!(message.starts_with("the connection failed"), "{n}: {message}");
    }
}
