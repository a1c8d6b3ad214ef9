//! A pond with jobs in many states, for the tests of the dashboard and of the command line.

use std::time::Duration;

use millpond::{Every, Job, JobId, Kind, Millpond, NewJob, Outcome, Retry, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How long an end is waited for before a test fails.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
pub struct Work {
    pub n: u64,
}

impl Kind for Work {
    const KIND: &'static str = "work";
}

/// The jobs, in the order in which they are stored.
pub struct Stock {
    pub waiting: JobId,
    pub later: JobId,
    pub grouped: [JobId; 2],
    pub done: JobId,
    pub dead: Vec<JobId>,
}

/// Stores jobs that wait in the queue `mail` (1 to 4), a job of the queue `crm` that has completed (5), three dead letters of it
/// (6 to 8), and the schedule `daily`.
pub async fn stock(pond: &Millpond) -> Stock {
    let rich = NewJob::json("send", &json!({ "to": "a@example.org", "n": 1 }))
        .unique_key("k")
        .tag("tenant:7")
        .header("trace", "abc")
        .max_attempts(3);
    let waiting = pond.enqueue("mail", rich).await.unwrap().id;
    let later = NewJob::json("send", &json!({ "n": 2 })).delay(Duration::from_secs(3_600));
    let later = pond.enqueue("mail", later).await.unwrap().id;
    let member = |n: u64| NewJob::json("send", &json!({ "n": n })).group("customer 9");
    let grouped = pond.enqueue_many("mail", [member(3), member(4)]).await.unwrap();
    let (done, dead) = work_off(pond).await;
    let daily = Every::new(Duration::from_secs(24 * 3_600));
    let daily = Schedule::new(daily, "mail", NewJob::json("report", &json!({ "of": "today" })));
    pond.schedule("daily", daily).await.unwrap();
    Stock { waiting, later, grouped: [grouped[0].id, grouped[1].id], done, dead }
}

async fn work_off(pond: &Millpond) -> (JobId, Vec<JobId>) {
    let worker = pond.worker("crm").retry(Retry::none()).handle(|job: Job<Work>| async move {
        match job.n {
            0 => Outcome::done_json(&json!({ "rows": 12 })),
            1 | 2 => Err(format!("order {} was refused", job.n).into()),
            _ => Ok(Outcome::dead_letter("no such customer")),
        }
    });
    let worker = worker.start().unwrap();
    let mut ids = Vec::new();
    for n in 0..4 {
        let id = pond.enqueue("crm", Work { n }).await.unwrap().id;
        tokio::time::timeout(WAIT_MAX, pond.finished(id)).await.unwrap().unwrap();
        ids.push(id);
    }
    worker.stop().await.unwrap();
    (ids[0], ids[1..].to_vec())
}
