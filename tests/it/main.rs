//! The integration tests: one binary, with one file for each promise.

#[path = "../support/all_jobs.rs"]
mod all_jobs;
#[path = "../support/mod.rs"]
mod support;

mod after_a_crash;
mod ages;
mod at_most_once;
mod backup;
mod bounded;
mod bulk_in_transactions;
mod callbacks;
mod cancelling;
mod capacity;
mod circles;
mod clock;
mod commit_bounds;
mod compaction;
mod config;
mod dead_letters;
mod default_retention;
mod durable;
mod enqueue;
mod error_texts;
mod events;
mod expiry;
mod file_kinds;
mod filtered_events;
mod finished;
mod floors;
mod groups;
mod guests;
mod handles;
mod healing;
mod held;
mod inspect;
mod interface;
mod kinds;
mod listed;
mod logs;
mod lone_callers;
mod mistakes;
mod names;
mod on_complete;
mod on_dead;
mod open;
mod opened_by_several;
mod package;
#[cfg(unix)]
mod panic_abort;
mod panics;
mod payload_codec;
mod payloads;
mod process_limits;
mod quarantine;
mod queue_wide_rate;
mod rates;
mod rates_in_the_file;
mod readme;
mod retention;
mod retries;
mod rooms;
mod run_numbers;
mod running;
mod runtimes;
mod savepoints;
#[cfg(feature = "cron")]
mod schedules;
mod selection;
mod shutdown;
mod slow_polls;
mod steering;
mod testing_helpers;
mod texts;
mod timeouts;
mod tracing;
mod transactions;
mod undone;
mod undone_together;
mod unique;
mod unserved;
mod verification;
mod verify_on_open;
mod waiting_handlers;
#[cfg(feature = "wasm")]
mod wasm;
