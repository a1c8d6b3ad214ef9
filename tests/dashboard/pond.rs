//! A queue on a real file with jobs in every state, and its source.

use std::time::Duration;

use millpond::dashboard::api::{Action, Done, Problem};
use millpond::dashboard::{PondSource, Source};
use millpond::{Every, Job, JobId, Millpond, NewJob, Outcome, Retry, Schedule};
use serde_json::json;

use crate::support::*;

pub struct Stocked {
    pub source: PondSource,
    pub pond: Millpond,
    /// It is deleted with this value.
    _file: OnDisk,
    pub waiting: JobId,
    pub later: JobId,
    pub grouped: [JobId; 2],
    pub done: JobId,
    pub dead: Vec<JobId>,
}

/// Queue `mail` has jobs that wait; queue `crm` has one that has completed, and three dead letters.
pub async fn stocked() -> Stocked {
    let file = OnDisk::new();
    let pond = file.open();
    let rich = NewJob::json("send", &json!({ "to": "a@example.org", "n": 1 }))
        .unique_key("k")
        .tag("tenant:7")
        .header("trace", "abc")
        .max_attempts(3);
    let waiting = pond.enqueue("mail", rich).await.unwrap().id;
    let later = pond.enqueue("mail", NewJob::json("send", &json!({ "n": 2 })).delay(HOUR)).await.unwrap().id;
    let member = |n: u64| NewJob::json("send", &json!({ "n": n })).group("customer 9");
    let grouped = pond.enqueue_many("mail", [member(3), member(4)]).await.unwrap();
    let (done, dead) = crm(&pond).await;
    let daily = Schedule::new(Every::new(24 * HOUR), "mail", NewJob::json("report", &json!({ "of": "today" })));
    pond.schedule("daily", daily).await.unwrap();
    let source = PondSource::new(&pond);
    Stocked { source, pond, _file: file, waiting, later, grouped: [grouped[0].id, grouped[1].id], done, dead }
}

async fn crm(pond: &Millpond) -> (JobId, Vec<JobId>) {
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
        ids.push(pond.enqueue("crm", work(n)).await.unwrap().id);
        tokio::time::timeout(Duration::from_secs(60), pond.finished(ids[n as usize])).await.unwrap().unwrap();
    }
    worker.stop().await.unwrap();
    (ids[0], ids[1..].to_vec())
}

impl Stocked {
    pub async fn act(&self, action: Action) -> Result<Done, Problem> {
        self.source.act(action).await
    }

    /// The action changes so many things.
    #[track_caller]
    pub fn changes(&self, action: Action, changed: u64) -> impl Future<Output = Done> {
        let (name, call) = (action.name(), self.source.act(action));
        async move {
            let done = call.await.unwrap_or_else(|problem| panic!("{name}: {problem}"));
            assert_eq!(done.changed, changed, "{name}: {}", done.message);
            assert!(!done.message.is_empty(), "{name}");
            done
        }
    }

    /// Closes the queue after it was found to be in order.
    pub async fn close(self) {
        assert_sound(&self.pond).await;
        let Self { source, pond, .. } = self;
        drop(source);
        close(pond).await;
    }
}
