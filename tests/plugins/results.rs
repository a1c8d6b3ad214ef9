//! The result of a plugin in Rust arrives at the application as the type of the kind's results.

use millpond::{HasOutput, Kind, State};
use serde::{Deserialize, Serialize};

use super::built::hostile;
use crate::support::*;

/// The job as the application declares it. The guest `typed_result` has types of its own with the same fields.
#[derive(Serialize, Deserialize)]
struct Words {
    text: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Counted {
    words: u64,
    longest: Option<String>,
}

impl Kind for Words {
    const KIND: &'static str = "words";
}

impl HasOutput for Words {
    type Output = Option<Counted>;
}

#[tokio::test]
async fn a_caller_that_waits_gets_the_result_as_its_type() {
    let (_, pond) = memory();
    pond.worker("q").handle_wasm("words", hostile("typed_result")).start().unwrap();
    let job = pond.enqueue_and_wait("q", Words { text: "to be or not".into() }).await.unwrap();
    let counted = Counted { words: 4, longest: Some("not".into()) };
    assert_eq!((job.state, job.output::<Words>().unwrap()), (State::Completed, Some(Some(counted))));

    let id = pond.enqueue("q", Words { text: " ".into() }).await.unwrap();
    let job = pond.finished(id).await.unwrap();
    assert_eq!(job.output::<Words>().unwrap(), Some(None), "a result that is null is one as well");
}
