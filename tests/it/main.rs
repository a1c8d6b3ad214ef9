//! One file per promise.

#[path = "../support/failing_disk.rs"]
mod failing_disk;
#[path = "../support/shared_memory.rs"]
mod shared_memory;
#[path = "../support/mod.rs"]
mod support;

mod ages;
mod backup;
mod bounded;
mod callbacks;
mod capacity;
mod clock;
mod compaction;
mod config;
mod dead_letters;
mod durable;
mod enqueue;
mod events;
mod expiry;
mod file_kinds;
mod groups;
mod guests;
mod handles;
mod healing;
mod held;
mod inspect;
mod lone_callers;
mod names;
mod on_complete;
mod open;
mod opened_by_several;
mod payloads;
mod quarantine;
mod rates;
mod retention;
mod retries;
mod rooms;
mod running;
mod runtimes;
mod savepoints;
mod shutdown;
mod steering;
mod testing_helpers;
mod texts;
mod tracing;
mod transactions;
mod undone;
mod unique;
mod verification;
mod verify_on_open;
#[cfg(feature = "wasm")]
mod wasm;
