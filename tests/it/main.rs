//! One file per promise.

#[path = "../support/failing_disk.rs"]
mod failing_disk;
#[path = "../support/shared_memory.rs"]
mod shared_memory;
#[path = "../support/mod.rs"]
mod support;

mod at_most_once;
mod backup;
mod bounded;
mod capacity;
mod clock;
mod compaction;
mod config;
mod dead_letters;
mod durable;
mod enqueue;
mod events;
mod floors;
mod groups;
mod guests;
mod healing;
mod inspect;
mod lone_callers;
mod on_complete;
mod open;
mod panics;
mod process_limits;
mod quarantine;
mod rates;
mod retention;
mod retries;
mod rooms;
mod run_numbers;
mod running;
mod shutdown;
mod steering;
mod testing_helpers;
mod timeouts;
mod tracing;
mod transactions;
mod unique;
mod verify_on_open;
mod waiting_handlers;
#[cfg(feature = "wasm")]
mod wasm;
