//! A sequence of operations, run on both sides; made of any bytes, if need be.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::check::Run;
use crate::engine;
use crate::ops::{Op, op};

pub const STEPS_MAX: usize = 60;

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

pub fn run(ops: &[Op]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new().await;
        for (step, op) in ops.iter().enumerate() {
            run = run.step(op).await.map_err(|error| format!("step {step}: {error}"))?;
        }
        run.drain().await.map_err(|error| format!("drain: {error}"))
    })
}

/// The operations that these bytes choose: where proptest would draw a random number, the next of them.
pub fn run_bytes(data: &[u8]) -> Result<(), String> {
    be_quiet_about_panics_on_purpose();
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, data);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let steps = proptest::collection::vec(op(), 1..STEPS_MAX);
    let Ok(tree) = steps.new_tree(&mut runner) else { return Ok(()) };
    run(&tree.current())
}
