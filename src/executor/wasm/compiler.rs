//! Compiles components, and bounds how many threads and how many components do so at a time.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::sandbox::cpus;
use crate::sync::Mutex;

/// The most threads that compile. Each can take some hundred megabytes for the largest function that
/// [`scan`](super::scan) accepts.
const THREADS_MAX: usize = 4;

/// The stack of each of these threads in bytes: as large as the usual stack of a main thread.
const STACK_BYTES: usize = 8 << 20;

/// Compiles a component that was checked before, on threads that are started for it and end with it. The process
/// compiles one component at a time, which bounds the memory that compiling takes.
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
