//! Compares the public interface with a plain model, on the real storage: runs random operations, and
//! after each of them compares the states of all jobs, the counts, the starts, the application's rows
//! and `verify()`.
//!
//! 256 sequences unless `PROPTEST_CASES` says otherwise. Each has a number, which a failure prints
//! with the shortest sequence found: `MODEL_SEED=<number> PROPTEST_CASES=1 cargo test --test model`
//! runs it again.

// Tests run with the newest stable Rust.
#![allow(clippy::incompatible_msrv)]

#[path = "../support/all_jobs.rs"]
mod all_jobs;
mod check;
mod engine;
#[path = "../support/made.rs"]
mod made;
mod model;
mod ops;
mod rates;
mod scenarios;
mod schedules;
#[path = "../support/scrambled.rs"]
mod scrambled;
mod stream;
mod streams;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

pub use crate::stream::be_quiet_about_panics_on_purpose;
use crate::stream::{STEPS_MAX, run, run_bytes};

const CASES_DEFAULT: u64 = 256;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn the_queue_does_what_the_model_says() {
    be_quiet_about_panics_on_purpose();
    let first = number("MODEL_SEED", 0);
    for seed in first..first + number("PROPTEST_CASES", CASES_DEFAULT) {
        let config = Config { cases: 1, max_shrink_iters: 3_000, failure_persistence: None, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let steps = proptest::collection::vec(ops::op(), 1..STEPS_MAX);
        match runner.run(&steps, |ops| run(&ops).map_err(TestCaseError::fail)) {
            Ok(()) => {}
            Err(TestError::Fail(why, ops)) => {
                let ops: Vec<_> = ops.iter().map(|op| format!("  {op:?}")).collect();
                panic!("MODEL_SEED={seed} fails: {why}\nthe shortest sequence found:\n{}", ops.join("\n"))
            }
            Err(error) => panic!("MODEL_SEED={seed}: {error}"),
        }
    }
}

/// Runs the streams that fuzzing found and that are kept in the corpus.
#[test]
fn the_queue_does_what_the_model_says_for_the_kept_streams() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/ops");
    let mut tried = 0;
    for file in std::fs::read_dir(&corpus).unwrap() {
        let path = file.unwrap().path();
        if let Err(why) = run_bytes(&std::fs::read(&path).unwrap()) {
            panic!("{}: {why}", path.display());
        }
        tried += 1;
    }
    assert!(tried > 0, "no files in {}", corpus.display());
}
