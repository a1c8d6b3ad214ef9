//! Runs a sequence of operations on the queue and on the model; makes one of any bytes.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::check::Run;
use crate::ops::{Op, op};

pub const STEPS_MAX: usize = 60;

/// Prints nothing for the panics that a test asked for.
pub fn be_quiet_about_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let on_purpose = info.payload_as_str().is_some_and(|text| text.contains(millpond_testkit::ON_PURPOSE));
            if !on_purpose {
                before(info);
            }
        }));
    });
}

pub fn run(ops: &[Op]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Every second sequence has windows so small that most ready jobs are only in the file.
        let window = if ops.len().is_multiple_of(2) { 4_096 } else { 1 + ops.len() % 5 };
        let mut run = Run::new(window).await;
        for (step, op) in ops.iter().enumerate() {
            run = run.step(op).await.map_err(|error| format!("step {step}: {error}"))?;
        }
        run.drain().await.map_err(|error| format!("drain: {error}"))
    })
}

/// The number of bytes that choose one operation.
const OP_BYTES: usize = 4;

/// Runs the operations that these bytes choose: each [`OP_BYTES`] bytes are the seed of one. So changing one
/// byte changes one operation, and a sequence can be cut and joined anywhere.
pub fn run_bytes(data: &[u8]) -> Result<(), String> {
    be_quiet_about_panics_on_purpose();
    let config = Config { failure_persistence: None, ..Config::default() };
    let one = |chunk: &[u8]| {
        let mut seed = [0; 32];
        seed[..chunk.len()].copy_from_slice(chunk);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let tree = op().new_tree(&mut TestRunner::new_with_rng(config.clone(), rng));
        tree.ok().map(|tree| tree.current())
    };
    let ops: Vec<Op> = data.chunks(OP_BYTES).take(STEPS_MAX).filter_map(one).collect();
    run(&ops)
}
