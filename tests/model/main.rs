//! The public interface against a plain model, on the real storage: random operations, and after
//! each of them the states of all jobs, the counts, the starts, the application's rows and
//! `verify()`.
//!
//! 256 sequences unless `PROPTEST_CASES` says otherwise. Each has a number, which a failure prints
//! with the shortest sequence found: `MODEL_SEED=<number> PROPTEST_CASES=1 cargo test --test model`
//! runs it again.

mod check;
mod engine;
mod model;
mod ops;
mod rates;
mod scenarios;
#[path = "../support/shared_memory.rs"]
mod shared_memory;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::check::Run;
use crate::ops::Op;

const CASES_DEFAULT: u64 = 256;
const STEPS_MAX: usize = 60;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Panics that a test asked for are no news.
pub fn be_quiet_about_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let on_purpose = info.payload_as_str().is_some_and(|text| text.contains(engine::ON_PURPOSE));
            if !on_purpose {
                before(info);
            }
        }));
    });
}

fn run(ops: &[Op]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new().await;
        for (step, op) in ops.iter().enumerate() {
            run = run.step(op).await.map_err(|error| format!("step {step}: {error}"))?;
        }
        run.drain().await.map_err(|error| format!("drain: {error}"))
    })
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
