//! One file per promise.

#[path = "../support/failing_disk.rs"]
mod failing_disk;
#[path = "../support/shared_memory.rs"]
mod shared_memory;
#[path = "../support/mod.rs"]
mod support;

mod after_a_crash;
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
mod groups;
mod guests;
mod healing;
mod inspect;
mod lone_callers;
mod on_complete;
mod open;
mod quarantine;
mod rates;
mod rates_in_the_file;
mod retention;
mod retries;
mod rooms;
mod running;
mod shutdown;
mod steering;
mod testing_helpers;
mod tracing;
mod transactions;
mod unique;
mod verify_on_open;
#[cfg(feature = "wasm")]
mod wasm;
