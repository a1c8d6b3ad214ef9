//! Compiles, with bounds on what that takes at a time.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::sandbox::cpus;
use crate::sync::Mutex;

/// Threads that compile, at most: each may take some hundred megabytes for the largest function that is compiled at all.
const THREADS_MAX: usize = 4;

/// Their stacks in bytes, as those of a program's first thread.
const STACK_BYTES: usize = 8 << 20;

/// Compiles a component that was looked at, on threads of its own that end with it. One is compiled at a time in the process, so that
/// many that come at once do not take the memory of many.
pub(super) fn compile(engine: &Engine, component: &[u8]) -> wasmtime::Result<Component> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(cpus().min(THREADS_MAX))
        .stack_size(STACK_BYTES)
        .thread_name(|_| "millpond-compiler".to_owned())
        .build();
    threads?.install(|| Component::from_binary(engine, component))
}
