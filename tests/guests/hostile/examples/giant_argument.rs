//! Hands 16 MiB to every host call that takes bytes or text, and tells what was refused.

use millpond_guest::enqueue::NewJob;
use millpond_guest::{Raw, Result, config, info, progress, state};

const SIZE: usize = 16 * 1024 * 1024;

/// Which of these were refused: a state's value, a state's key, a follow-up's payload, its kind.
#[millpond_guest::handler]
fn hand_over(_: Raw) -> Result<[bool; 4]> {
    let text = "x".repeat(SIZE);
    info!("{text}");
    progress::report(1, None, &text);
    let nothing = config::get(&text);
    assert_eq!(nothing, None);
    Ok([
        state::set_raw("value", text.as_bytes()).is_err(),
        state::set_raw(&text, b"value").is_err(),
        NewJob::raw("follow-up", text.as_bytes()).enqueue().is_err(),
        NewJob::raw(&text, []).enqueue().is_err(),
    ])
}
