//! What the application hides is shown nowhere.

use millpond::dashboard::api::{Code, EntryQuery, JobQuery, Order, Paging};
use millpond::dashboard::{PondSource, Source};
use millpond::{Every, Job, NewJob, Outcome, Schedule};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn what_the_application_hides_is_in_no_answer() {
    let (_, pond) = memory();
    let answer = |_: Job<Work>| async { Outcome::done_json(&json!({ "secret": "4111" })) };
    pond.worker("work").handle(answer).start().unwrap();
    pond.enqueue("work", work(1)).await.unwrap();
    drained(&pond).await;
    let secret = || NewJob::json("charge", &json!({ "secret": "4111", "order": 7 }));
    pond.enqueue("billing", secret()).await.unwrap();
    pond.enqueue("billing", NewJob::raw("charge", "4111")).await.unwrap();
    pond.enqueue("billing", NewJob::raw("charge", &b"\xff4111"[..])).await.unwrap();
    pond.schedule("daily", Schedule::new(Every::new(HOUR), "billing", secret())).await.unwrap();
    let raw = [NewJob::raw("charge", "4111"), NewJob::raw("charge", &b"\xff4111"[..])];
    pond.stream("orders").unwrap().append_many([secret()].into_iter().chain(raw)).await.unwrap();
    let source = PondSource::new(&pond).redact(|queue, kind, value| {
        assert!(!queue.is_empty() && !kind.is_empty());
        if value.is_number() {
            *value = "hidden".into();
        } else if let Some(secret) = value.get_mut("secret") {
            *secret = "hidden".into();
        }
    });
    let page = Paging { limit: Some(100), after: None };
    let jobs = source.jobs(JobQuery::default(), Order::Oldest, page.clone()).await.unwrap();
    let mut answers = vec![serde_json::to_string(&jobs).unwrap()];
    assert_eq!(jobs.jobs.len(), 4);
    for job in &jobs.jobs {
        let shown = source.job(&job.id).await.unwrap();
        assert!(shown.payload.is_redacted || job.queue == "work", "{shown:?}");
        answers.push(serde_json::to_string(&shown).unwrap());
    }
    let records = source.records(JobQuery::default(), page.clone()).await.unwrap().records;
    assert_eq!(records.len(), 4);
    for record in &records {
        assert!(record.payload.is_redacted || record.queue == "work", "{record:?}");
        answers.push(serde_json::to_string(record).unwrap());
    }
    let entries = source.entries("orders", EntryQuery::default()).await.unwrap().entries;
    assert_eq!(entries.len(), 3);
    for entry in &entries {
        assert!(entry.payload.is_redacted, "{entry:?}");
        answers.push(serde_json::to_string(entry).unwrap());
    }
    answers.push(serde_json::to_string(&source.schedules(page).await.unwrap()).unwrap());
    answers.push(serde_json::to_string(&source.schedule("daily").await.unwrap()).unwrap());
    for answer in answers {
        let in_hexadecimal = "34313131";
        assert!(!answer.contains("4111") && !answer.contains(in_hexadecimal), "{answer}");
        assert!(answer.contains("hidden") || answer.contains("\"queue\":\"work\""), "{answer}");
    }
}

#[tokio::test]
async fn jobs_cannot_be_found_by_what_is_hidden_of_them() {
    let (_, pond) = memory();
    let source = PondSource::new(&pond).redact(|_, _, _| {});
    for query in [
        JobQuery { payload: Some("4".into()), ..JobQuery::default() },
        JobQuery { pointer: Some("/card".into()), equals: Some("4".into()), ..JobQuery::default() },
    ] {
        let page = source.jobs(query.clone(), Order::Oldest, Paging::default()).await.unwrap_err();
        let count = source.count(query.clone()).await.unwrap_err();
        let records = source.records(query.clone(), Paging::default()).await.unwrap_err();
        let delete = millpond::dashboard::api::Action::DeleteJobs { jobs: query };
        let deleted = source.act(delete).await.unwrap_err();
        assert_eq!([page.code, count.code, records.code, deleted.code], [Code::Forbidden; 4]);
    }
}
