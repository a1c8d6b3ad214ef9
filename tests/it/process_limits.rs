//! A worker that asks for more than the process limit logs one warning with both numbers.

use std::fmt::Debug;

use millpond::{Job, Millpond, WorkerBuilder};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use crate::support::on_event::OnEvent;
use crate::support::*;

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{}={value:?};", field.name()));
    }
}

/// The warnings that are logged while `run` runs, each as its fields in their order.
fn warnings(run: impl FnOnce()) -> Vec<String> {
    let warnings = Log::new();
    let log = warnings.clone();
    let note = move |event: &Event<'_>| {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        log.push(fields.0);
    };
    let is_warning = |metadata: &Metadata<'_>| *metadata.level() == Level::WARN;
    tracing::subscriber::with_default(OnEvent { wants: is_warning, then: note }, run);
    warnings.all()
}

fn asynchronous(builder: WorkerBuilder) -> WorkerBuilder {
    builder.handle(|_: Job<Work>| async { Ok(()) })
}

fn blocking(builder: WorkerBuilder) -> WorkerBuilder {
    builder.handle_blocking(|_: Job<Packed>| Ok(()))
}

fn names(warning: &str, numbers: [&str; 2]) {
    assert!(numbers.iter().all(|number| warning.contains(number)), "{warning}");
}

fn limited() -> Millpond {
    memory_with(|builder| builder.max_running(20).blocking_threads(5)).1
}

#[tokio::test]
async fn more_slots_than_the_process_limit_log_a_warning() {
    let pond = limited();
    let said = warnings(|| {
        asynchronous(pond.worker("fits").concurrency(20)).start().unwrap();
        asynchronous(pond.worker("q").concurrency(1_000)).start().unwrap();
    });
    assert_eq!(said.len(), 1, "{said:?}");
    names(&said[0], ["concurrency=1000;", "max_running=20;"]);
    assert!(said[0].contains(r#"queue="q""#), "{said:?}");
}

#[tokio::test]
async fn more_slots_than_threads_log_a_warning_if_all_handlers_block() {
    let pond = limited();
    let said = warnings(|| {
        blocking(pond.worker("fits").concurrency(5)).start().unwrap();
        blocking(asynchronous(pond.worker("mixed").concurrency(6))).start().unwrap();
        blocking(pond.worker("q").concurrency(6)).start().unwrap();
    });
    assert_eq!(said.len(), 1, "{said:?}");
    names(&said[0], ["concurrency=6;", "blocking_threads=5;"]);
}

#[tokio::test]
async fn a_change_of_the_slots_is_checked_against_the_limits_at_that_time() {
    let pond = limited();
    let worker = asynchronous(pond.worker("q")).start().unwrap();
    assert_eq!(warnings(|| worker.set_concurrency(21).unwrap()).len(), 1);
    pond.set_max_running(21).unwrap();
    assert!(warnings(|| worker.set_concurrency(21).unwrap()).is_empty());
}

#[tokio::test]
async fn explain_names_the_process_limit() {
    let (_, pond) = memory_with(|builder| builder.max_running(2));
    let (_worker, mut keeper) = gated(&pond, "q", 1_000);
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    settled(&pond).await;
    keeper.next(2).await;
    let why = pond.explain(ids[2]).unwrap().to_string();
    assert!(why.contains("all 2 slots of the process") && why.contains("max_running"), "{why}");
    keeper.let_go(3);
    drained(&pond).await;
}
