//! Whatever a stream of operations does, the queue and its model agree after each of them.

#![no_main]

#[path = "../../tests/support/all_jobs.rs"]
mod all_jobs;
#[path = "../../tests/model/check.rs"]
mod check;
#[path = "../../tests/model/engine.rs"]
mod engine;
#[path = "../../tests/support/made.rs"]
mod made;
#[path = "../../tests/model/model/mod.rs"]
mod model;
#[path = "../../tests/model/ops.rs"]
mod ops;
#[path = "../../tests/support/scrambled.rs"]
mod scrambled;
#[path = "../../tests/model/stream.rs"]
mod stream;
#[path = "../../tests/model/streams.rs"]
mod streams;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(why) = stream::run_bytes(data) {
        panic!("{why}");
    }
});
