//! What `panic = "abort"` changes, as docs/guarantees.md describes: a handler's panic ends the process, so it is a
//! crash. The jobs that ran exist at the next start, and a job that always panics is dead once its attempts are used
//! up.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::package;

const ATTEMPTS: u32 = 2;

const PROGRAM: &str = r#"
use millpond::{Job, Kind, Millpond, NewJob};

#[derive(serde::Serialize, serde::Deserialize)]
struct Boom(bool);

impl Kind for Boom {
    const KIND: &'static str = "boom";
}

#[tokio::main]
async fn main() -> Result<(), millpond::BoxError> {
    let pond = Millpond::open("app.redb")?;
    // Each run enqueues the same two jobs: their unique keys are held while the jobs exist.
    let mut ids = Vec::new();
    for (key, panics) in [("bad", true), ("good", false)] {
        let job = NewJob::new(Boom(panics)).unique_key(key).max_attempts(2);
        ids.push(pond.enqueue("q", job).await?);
    }
    pond.worker("q")
        .handle(|job: Job<Boom>| async move {
            assert!(!job.0, "it panics");
            Ok(millpond::Outcome::done_with("done"))
        })
        .start()?;
    millpond::testing::drain(&pond).await;
    for id in ids {
        let job = pond.job(id)?;
        let kinds: Vec<_> = job.errors.iter().map(|error| error.kind).collect();
        println!("{:?} {:?}", job.state, kinds);
    }
    Ok(())
}
"#;

#[test]
#[ignore = "compiles the crate and its dependencies anew: some minutes"]
fn a_job_whose_handler_always_panics_ends_one_process_per_attempt_and_is_then_dead() {
    let directory = tempfile::tempdir().unwrap();
    let sections = format!(
        "[dependencies]\nmillpond = {{ path = \"{}\" }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n[profile.dev]\npanic = \"abort\"\n",
        env!("CARGO_MANIFEST_DIR")
    );
    let program = package::build(directory.path(), &sections, PROGRAM);
    let mut aborts = 0;
    let output = loop {
        let run = Command::new(&program).current_dir(&directory).output().unwrap();
        if run.status.success() {
            break String::from_utf8(run.stdout).unwrap();
        }
        assert_eq!(run.status.signal(), Some(libc::SIGABRT), "{}", String::from_utf8_lossy(&run.stderr));
        aborts += 1;
        // The start of a job that panics within its first 10 ms is in the file only from the second run on.
        assert!(aborts <= ATTEMPTS + 1, "it aborts again and again");
    };
    assert!(aborts >= ATTEMPTS);
    assert_eq!(output, "Dead [Crash, Crash]\nCompleted []\n");
}
