//! Jobs are exported and imported as lines of JSON.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::dashboard::{Listen, Options};
use millpond::{BoxError, Codec, Context, Failure, Job, JobFilter, Millpond, NewJob, Outcome, Payload, Retry, State};
use serde_json::{Value, json};

use crate::pond::{Pond, at_both, empty, stocked};
use crate::stock::{Work, stock_flows};
use crate::tool::{Said, millpond, say};

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn import(pond: &Pond, export: &std::path::Path, more: &[&str]) -> Value {
    pond.json(&[&["import", export.to_str().unwrap()], more].concat())
}

#[test]
fn jobs_are_exported_a_line_each() {
    at_both(|pond| {
        let all = lines(&pond.does(&["export"]).out);
        assert_eq!(all.len(), 8);
        let first = all.iter().find(|job| job["id"] == "1").unwrap();
        assert_eq!(first["payload"]["json"], serde_json::json!({ "to": "a@example.org", "n": 1 }));
        assert_eq!(
            (&first["key"], &first["tags"][0], &first["state"]),
            (&"k".into(), &"tenant:7".into(), &"pending".into())
        );
        let done = all.iter().find(|job| job["id"] == "5").unwrap();
        assert_eq!(done["result"]["json"]["rows"], 12);
        let said = pond.does(&["export", "--state", "dead"]);
        assert_eq!((lines(&said.out).len(), said.err.as_str()), (3, "3 jobs were exported\n"));
        let path = pond.path("out.jsonl");
        let words = ["export", "--queue", "mail", "--output", path.to_str().unwrap()];
        assert_eq!(pond.does(&words).out, "");
        assert_eq!(lines(&std::fs::read_to_string(&path).unwrap()).len(), 4);
        pond.fails(&words, 1, "exists");
    });
}

/// Passes connections on to this address, and counts them.
fn counted(address: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (own, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let connections = count.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map(Result::unwrap) {
            connections.fetch_add(1, Ordering::Relaxed);
            let server = TcpStream::connect(address).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (own, count)
}

#[test]
fn a_page_of_jobs_is_asked_for_with_one_request() {
    let mut pond = stocked();
    pond.with(|pond| async move {
        pond.enqueue_many("many", (0..1_500).map(|n| NewJob::json("n", &n))).await.unwrap();
    });
    let address = pond.serve(Options::new(), Listen::Tcp("127.0.0.1:0".parse().unwrap())).address().unwrap();
    let (address, requests) = counted(address);
    // A request has a connection of its own.
    let said = say(&mut millpond(&["export", "--url", &format!("http://{address}")]));
    assert_eq!((said.code, lines(&said.out).len()), (Some(0), 1_508), "{}", said.err);
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}

#[test]
fn an_export_is_imported_without_the_jobs_that_had_ended() {
    at_both(|from| {
        let export = from.path("all.jsonl");
        from.does(&["export", "--output", export.to_str().unwrap()]);
        let to = empty();
        let told = import(&to, &export, &[]);
        assert_eq!((&told["stored"], &told["left_out"], &told["duplicates"]), (&4.into(), &4.into(), &0.into()));
        let again = import(&to, &export, &["--with-dead"]);
        assert_eq!((&again["stored"], &again["left_out"], &again["duplicates"]), (&6.into(), &1.into(), &1.into()));
        to.with(|pond| async move {
            let job = &pond.jobs(&JobFilter::new().unique_key("k"), None, 10).unwrap().jobs[0];
            assert_eq!(
                (job.max_attempts, &job.tags[..], job.headers["trace"].as_str()),
                (Some(3), &["tenant:7".to_owned()][..], "abc")
            );
            assert_eq!(pond.select(&JobFilter::new().state(State::Scheduled)).count().await.unwrap(), 2);
            assert_eq!(pond.select(&JobFilter::new().group("customer 9")).count().await.unwrap(), 4);
        });
    });
}

/// Stores a job whose step cannot be undone for an hour.
async fn stock_undoing(pond: &Millpond) {
    let handler = |_: Job<Work>, ctx: Context| async move {
        let undo = |_: u64| async { Err::<(), _>("the bank is closed") };
        ctx.step("charge", || async { Ok::<_, BoxError>(7) }).undo(undo).await?;
        Ok::<_, Failure>(Outcome::dead_letter("sold out"))
    };
    let hourly = Retry::fixed(Duration::from_secs(3_600)).max_attempts(9);
    let worker = pond.worker("undo").retry(hourly).handle(handler).start().unwrap();
    let id = pond.enqueue("undo", Work { n: 0 }).await.unwrap().id;
    let has_failed = async {
        loop {
            let job = pond.job(id).unwrap();
            if job.undoing.is_some() && job.state == State::Retrying {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), has_failed).await.unwrap();
    worker.stop().await.unwrap();
}

#[test]
fn jobs_that_cannot_go_on_elsewhere_are_skipped_and_told_and_not_imported() {
    let with_flows = || {
        let pond = stocked();
        pond.with(|pond| async move {
            stock_flows(&pond).await;
            stock_undoing(&pond).await;
        });
        pond
    };
    let test = |from: &Pond| {
        let export = from.path("flows.jsonl");
        let output = export.to_str().unwrap();
        let said = from.does(&["export", "--json", "--output", output]);
        let told: Value = serde_json::from_str(&said.err).unwrap();
        assert_eq!(told["skipped"], json!({ "blocked": 3, "undoing": 1, "with_steps": 1 }), "{said:?}");
        let note = told["note"].as_str().unwrap();
        assert!(note.starts_with("5 jobs were skipped") && note.contains("`backup` copies everything"), "{note}");
        let exported = lines(&std::fs::read_to_string(&export).unwrap());
        assert_eq!((exported.len() as u64, told["exported"].as_u64()), (11, Some(11)));
        assert!(exported.iter().all(|job| job["state"] != "blocked" && job["undoing"].is_null()));
        assert_eq!(exported.iter().filter(|job| job["flow"] == "order 7").count(), 1);
        let to = empty();
        assert_eq!(import(&to, &export, &[])["stored"], 4);

        std::fs::remove_file(&export).unwrap();
        let said = from.does(&["export", "--with-unimportable", "--output", output]);
        assert_eq!(said.err, "16 jobs were exported\n");
        let all = std::fs::read_to_string(&export).unwrap();
        for (has, says) in [
            ("\"state\":\"blocked\"", "it waits for others of its flow"),
            ("\"undoing\":\"dead\"", "it undoes its steps"),
            ("\"steps\":2", "it has steps"),
        ] {
            let line = all.lines().find(|line| line.contains(has) && !line.contains("\"ended_at\"")).unwrap();
            std::fs::write(&export, format!("{line}\n")).unwrap();
            to.fails(&["import", output], 4, says);
            to.fails(&["import", output], 4, "`backup`, which copies everything");
        }
        assert_eq!(to.json(&["jobs", "--count"])["count"], 4);
    };
    test(&with_flows());
    #[cfg(unix)]
    {
        let mut pond = with_flows();
        let socket = pond.path("at.sock");
        pond.serve(Options::new(), Listen::Unix(socket));
        test(&pond);
    }
}

/// Stores a dead letter of a consumer, which is entry 1 of the stream `orders`.
async fn stock_entry(pond: &Millpond) {
    let orders = pond.stream("orders").unwrap();
    orders.append_many((0..2).map(|n| Work { n })).await.unwrap();
    let refuse = |job: Job<Work>| async move { if job.n == 1 { Err("no such customer".into()) } else { Ok(()) } };
    let worker = pond.consumer("orders", "crm").retry(Retry::none()).handle(refuse).start().await.unwrap();
    let is_dead = async {
        while orders.consumer("crm").unwrap().info().unwrap().dead == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_dead).await.unwrap();
    worker.stop().await.unwrap();
}

#[test]
fn a_job_that_was_an_entry_is_imported_as_one() {
    let mut from = empty();
    from.with(|pond| async move { stock_entry(&pond).await });
    let mut exports = vec![from.does(&["export"]).out];
    let of_entry = |out: &str| lines(out)[0]["entry"].clone();
    assert_eq!(of_entry(&exports[0]), json!({ "stream": "orders", "offset": 1 }));
    #[cfg(unix)]
    {
        let socket = from.path("at.sock");
        from.serve(Options::new(), Listen::Unix(socket));
        exports.push(from.does(&["export"]).out);
    }
    for exported in exports {
        let export = from.path("entry.jsonl");
        std::fs::write(&export, exported).unwrap();
        let mut to = empty();
        assert_eq!(import(&to, &export, &["--with-dead"])["stored"], 1);
        assert_eq!(of_entry(&to.does(&["export"]).out), json!({ "stream": "orders", "offset": 1 }));
        #[cfg(unix)]
        {
            let socket = to.path("at.sock");
            to.serve(Options::new(), Listen::Unix(socket));
            assert_eq!(import(&to, &export, &["--with-dead"])["stored"], 1);
            let all = lines(&to.does(&["export"]).out);
            assert_eq!((all.len(), &all[1]["entry"]), (2, &json!({ "stream": "orders", "offset": 1 })));
            assert!(to.does(&["job", "2"]).out.contains("1 of stream orders"));
        }
    }
}

#[test]
fn an_import_makes_the_file_only_if_it_is_told_to() {
    let from = stocked();
    let export = from.path("all.jsonl");
    from.does(&["export", "--output", export.to_str().unwrap()]);
    let new = from.path("new.redb");
    let words = ["import", export.to_str().unwrap(), "--file", new.to_str().unwrap()];
    let said = say(&mut millpond(&words));
    assert!(said.code == Some(3) && said.err.contains("a file that exists") && !new.exists(), "{said:?}");
    let said = say(millpond(&words).arg("--create"));
    assert!(said.code == Some(0) && said.out.starts_with("4 jobs were stored"), "{said:?}");
}

/// A number that no type of a program has, and fields that are not in the order of their names.
const JSON: &str = r#"{"b":123456789012345678901234567890,"a":1.50}"#;

#[test]
fn bytes_are_imported_as_they_were_but_postcard_only_by_its_own_code() {
    let from = empty();
    from.with(|pond| async move {
        pond.enqueue("raw", NewJob::raw("bytes", &[0xff, 0, 0x1b][..])).await.unwrap();
        pond.enqueue("raw", NewJob::raw("text", "two\nlines")).await.unwrap();
        let json: Box<serde_json::value::RawValue> = serde_json::from_str(JSON).unwrap();
        pond.enqueue("raw", NewJob::json("json", &json)).await.unwrap();
    });
    let export = from.path("raw.jsonl");
    from.does(&["export", "--output", export.to_str().unwrap()]);
    let to = empty();
    assert_eq!(import(&to, &export, &[])["stored"], 3);
    to.with(|pond| async move {
        let payload = |kind: &str| pond.jobs(&JobFilter::new().kind(kind), None, 1).unwrap().jobs[0].payload.clone();
        assert_eq!(payload("json").bytes, JSON);
        assert_eq!(payload("bytes"), Payload::raw(vec![0xff, 0, 0x1b]));
        assert_eq!(payload("text"), Payload { codec: Codec::Raw, bytes: "two\nlines".into() });
    });
    let postcard = from.path("postcard.jsonl");
    let job = r#"{"id":"7","queue":"q","kind":"k","state":"pending","payload":{"postcard":"AA=="},"enqueued_at":"2026-01-01"}"#;
    std::fs::write(&postcard, job).unwrap();
    to.fails(&["import", postcard.to_str().unwrap()], 4, "only the code that has its type");
}

#[test]
fn an_import_that_fails_says_where_it_continues() {
    let to = empty();
    let job = r#"{"id":"7","queue":"q","kind":"k","state":"pending","payload":{"json":1},"enqueued_at":"2026-01-01"}"#;
    let export = to.path("broken.jsonl");
    std::fs::write(&export, format!("{}not a job\n{job}\n", format!("{job}\n").repeat(600))).unwrap();
    let said: Said = say(&mut to.command(&["import", export.to_str().unwrap()]));
    assert!(said.code == Some(2) && said.out.starts_with("500 jobs were stored"), "{said:?}");
    assert!(said.err.contains("line 601 is no job") && said.err.contains("`--skip 500`"), "{said:?}");
    std::fs::write(&export, format!("{job}\n").repeat(602)).unwrap();
    assert_eq!(import(&to, &export, &["--skip", "500"])["stored"], 102);
    assert_eq!(to.json(&["jobs", "--count"])["count"], 602);
}
