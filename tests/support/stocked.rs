//! A pond with jobs in many states, for the tests of the dashboard and of the command line.

use std::time::Duration;

use millpond::{
    BoxError, Context, Every, Explanation, Handled, Job, JobId, Kind, Millpond, NewJob, OnFailure, Outcome, Retry,
    Schedule,
};
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

/// The flow `order 7` and a job with steps.
pub struct FlowStock {
    /// The dead letter of the flow.
    pub charge: JobId,
    /// The job that it holds.
    pub pack: JobId,
    /// A job that has stored a step, and waits for a signal.
    pub stepped: JobId,
}

/// Makes two flows: all jobs of `batch` have completed with results; in `order 7` the job `charge` has died and holds `pack`, for
/// which `mail` waits, as for the signal `approved`. And a job that waits for the signal `paid`.
pub async fn stock_flows(pond: &Millpond) -> FlowStock {
    let worker = pond.worker("shop").retry(Retry::none()).handle(shop).start().unwrap();
    let work = |n| Work { n };
    let batch = pond.flow("batch", |flow| (0..2).for_each(|_| drop(flow.job("shop", work(0))))).await.unwrap();
    let order = pond.flow("order 7", |flow| {
        let charge = flow.job("shop", work(1)).named("charge");
        let pack = flow.job("shop", work(0)).named("pack").after(&charge);
        let approved = flow.signal("approved");
        let mail = flow.job("shop", work(0)).named("mail").after_or(&pack, OnFailure::Cancel);
        mail.after_or(&approved, OnFailure::Run);
        flow.on_failure("shop", work(0));
    });
    let order = order.await.unwrap();
    let stepped = pond.enqueue("shop", work(2)).await.unwrap().id;
    let ended = batch.jobs.iter().copied().chain([order.jobs[0]]);
    for id in ended {
        tokio::time::timeout(WAIT_MAX, pond.finished(id)).await.unwrap().unwrap();
    }
    let suspended = async {
        while !matches!(pond.explain(stepped), Ok(Explanation::AwaitsSignal { .. })) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, suspended).await.unwrap();
    worker.stop().await.unwrap();
    FlowStock { charge: order.jobs[0], pack: order.jobs[1], stepped }
}

async fn shop(job: Job<Work>, ctx: Context) -> Handled<Outcome> {
    let receipt = json!({ "receipt": 4111 });
    match job.n {
        0 => Outcome::done_json(&receipt),
        1 => Err("the bank refused".into()),
        _ => {
            ctx.step("charge", || async { Ok::<_, BoxError>(receipt) }).await?;
            ctx.wait_for::<serde_json::Value>("paid", None).await?;
            Ok(Outcome::done())
        }
    }
}
