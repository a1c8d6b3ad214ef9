//! Streams and their consumers, on a file and on a process that has it open.

use std::time::Duration;

use millpond::{Job, Millpond, NewJob, Retry};
use serde_json::json;

use crate::pond::{Pond, empty, stocked};
use crate::stock::Work;

/// How long an end is waited for before a test fails.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs the test with a file that has streams, and with a process that has it open.
fn at_both(test: impl Fn(&Pond)) {
    let with_streams = || {
        let pond = stocked();
        pond.with(|pond| async move { stock_streams(&pond).await });
        pond
    };
    test(&with_streams());
    #[cfg(unix)]
    {
        use millpond::dashboard::{Listen, Options};

        let mut pond = with_streams();
        let socket = pond.path("at.sock");
        pond.serve(Options::new(), Listen::Unix(socket));
        test(&pond);
    }
}

/// Makes the stream `orders` with the entries 0 to 4, and its consumer `crm`, for which entry 1 is a dead letter, and which has not
/// seen entries 2 to 4.
async fn stock_streams(pond: &Millpond) {
    let orders = pond.stream("orders").unwrap();
    let entry = |n: u64| NewJob::json("work", &json!({ "n": n })).group(format!("customer {n}"));
    orders.append_many((0..2).map(entry)).await.unwrap();
    let crm = pond
        .consumer("orders", "crm")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move { if job.n == 1 { Err("no such customer".into()) } else { Ok(()) } });
    let crm = crm.start().await.unwrap();
    let has_ended = async {
        while orders.consumer("crm").unwrap().info().unwrap().dead == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, has_ended).await.unwrap();
    crm.stop().await.unwrap();
    orders.append_many((2..5).map(entry)).await.unwrap();
}

#[test]
fn streams_are_listed_and_one_is_shown_with_its_consumers() {
    at_both(|pond| {
        let streams = pond.json(&["streams"]);
        let stream = &streams[0];
        assert_eq!(
            (&stream["name"], &stream["entries"], &stream["behind_max"]),
            (&json!("orders"), &json!(5), &json!(3))
        );
        let out = pond.does(&["streams"]).out;
        assert!(out.contains("largest lag") && out.contains("orders"), "{out}");
        let detail = pond.json(&["stream", "orders"]);
        assert_eq!((&detail["stream"]["next"], &detail["consumers"][0]["name"]), (&json!(5), &json!("crm")));
        let out = pond.does(&["stream", "orders"]).out;
        for text in ["next offset", "crm", "no worker here"] {
            assert!(out.contains(text), "no {text:?} in {out}");
        }
        assert!(!out.contains("keeps for"), "{out}");

        let all = pond.json(&["consumers"]);
        assert_eq!(
            (&all[0]["behind"], &all[0]["dead"], &all[0]["queue"]),
            (&json!(3), &json!(1), &json!("orders:crm"))
        );
        assert_eq!(pond.json(&["consumers", "orders"]), all);
        assert!(pond.does(&["consumers"]).out.contains("waits since"));
        assert_eq!(pond.json(&["consumer", "orders", "crm"]), all[0]);
        assert!(pond.does(&["consumer", "orders", "crm"]).out.contains("3 entries"));
        let dead = pond.json(&["jobs", "--queue", "orders:crm", "--state", "dead"])["jobs"][0]["id"].clone();
        assert!(pond.does(&["job", dead.as_str().unwrap()]).out.contains("1 of stream orders"));

        for (words, says) in [
            (&["stream", "never"][..], "no stream \"never\""),
            (&["stream", "tail", "never"], "no stream \"never\""),
            (&["consumers", "never"], "no stream \"never\""),
            (&["consumer", "orders", "never"], "no consumer \"never\""),
        ] {
            pond.fails(words, 3, says);
        }
    });
}

#[test]
fn entries_are_printed_from_an_offset_on() {
    at_both(|pond| {
        let offsets = |words: &[&str]| {
            let page = pond.json(&[&["stream", "tail", "orders"], words].concat());
            let entries = page["entries"].as_array().unwrap().iter().map(|entry| entry["offset"].as_u64().unwrap());
            (entries.collect::<Vec<_>>(), page["next"].as_u64())
        };
        assert_eq!(offsets(&[]), (vec![0, 1, 2, 3, 4], None));
        assert_eq!(offsets(&["--limit", "2"]), (vec![3, 4], None));
        assert_eq!(offsets(&["--from", "earliest", "--limit", "2"]), (vec![0, 1], Some(2)));
        assert_eq!(offsets(&["--from", "2", "-n", "2"]), (vec![2, 3], Some(4)));
        assert_eq!(offsets(&["--from", "9"]), (vec![], None));
        let out = pond.does(&["stream", "tail", "orders", "--from", "1", "-n", "1"]).out;
        for text in ["customer 1", "\"n\": 1", "go on with `--from 2`"] {
            assert!(out.contains(text), "no {text:?} in {out}");
        }
        assert_eq!(pond.does(&["stream", "tail", "orders", "--from", "9"]).out, "there are no entries\n");
        pond.fails(&["stream", "tail", "orders", "--from", "first"], 2, "write an offset");
    });
}

/// The program, which prints entries as they are appended until it is told to stop.
#[cfg(unix)]
struct Following {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

#[cfg(unix)]
impl Following {
    fn new(pond: &Pond, words: &[&str]) -> Self {
        use std::io::BufRead;
        use std::process::Stdio;

        let mut command = pond.command(&[&["stream", "tail", "orders", "--follow"], words].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.lines.next().expect("it has not ended").unwrap()
    }

    /// The offsets of the next lines, which are JSON.
    #[track_caller]
    fn offsets(&mut self, count: usize) -> Vec<u64> {
        let entries = (0..count).map(|_| serde_json::from_str::<serde_json::Value>(&self.line()).unwrap());
        entries.map(|entry| entry["offset"].as_u64().unwrap()).collect()
    }

    /// Presses Ctrl-C. The program ends without an error, and has printed nothing more.
    #[track_caller]
    fn ends(mut self) {
        use rustix::process::{Pid, Signal, kill_process};

        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert!(self.lines.next().is_none());
        let said: crate::tool::Said = self.child.wait_with_output().unwrap().into();
        assert_eq!((said.code, said.err.contains("error")), (Some(0), false), "{said:?}");
    }
}

#[cfg(unix)]
#[test]
fn entries_are_followed_until_the_program_is_interrupted() {
    at_both(|pond| {
        let mut latest = Following::new(pond, &["--json"]);
        assert_eq!(latest.offsets(5), [0, 1, 2, 3, 4]);
        latest.ends();
        let mut two = Following::new(pond, &["--limit", "2"]);
        let lines = [two.line(), two.line()];
        for text in ["3  ", "work", "customer 3", "\"n\": 3"] {
            assert!(lines[0].contains(text), "no {text:?} in {lines:?}");
        }
        two.ends();
        let mut later = Following::new(pond, &["--from", "3", "--json"]);
        assert_eq!(later.offsets(2), [3, 4]);
        later.ends();
        assert_eq!(pond.json(&["stream", "orders"])["stream"]["next"], json!(5), "the file was closed");
        pond.fails(&["stream", "tail", "orders", "--follow", "--from", "3", "-n", "2"], 2, "leave out it or `--from`");
        pond.fails(&["stream", "tail", "never", "--follow"], 3, "no stream \"never\"");
    });
}

#[cfg(unix)]
#[test]
fn entries_that_another_process_appends_are_followed() {
    use millpond::dashboard::{Listen, Options};

    let mut pond = stocked();
    pond.with(|pond| async move { stock_streams(&pond).await });
    let socket = pond.path("at.sock");
    pond.serve(Options::new(), Listen::Unix(socket));
    let mut following = Following::new(&pond, &["--json", "--limit", "1"]);
    let mut from = Following::new(&pond, &["--json", "--from", "earliest"]);
    assert_eq!((following.offsets(1), from.offsets(5)), (vec![4], vec![0, 1, 2, 3, 4]));
    for offset in [5, 6] {
        pond.does(&["stream", "append", "orders", "work", "{\"n\":7}"]);
        assert_eq!((following.offsets(1), from.offsets(1)), (vec![offset], vec![offset]));
    }
    following.ends();
    from.ends();
}

#[test]
fn more_entries_are_printed_than_a_page_has() {
    let pond = empty();
    pond.with(|pond| async move {
        let entries = (0..1_005).map(|n| NewJob::json("work", &json!({ "n": n })));
        pond.stream("orders").unwrap().append_many(entries).await.unwrap();
    });
    let page = pond.json(&["stream", "tail", "orders", "--from", "0", "--limit", "1003"]);
    let entries = page["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[1_002]["offset"], &page["next"]), (1_003, &json!(1_002), &json!(1_003)));
}

#[test]
fn a_stream_is_appended_to_configured_swept_and_removed() {
    at_both(|pond| {
        let append = ["stream", "append", "new", "paid", "{\"n\":1.50}", "--key", "k", "--tag", "t", "--header", "a=1"];
        assert!(pond.json(&append)["message"].as_str().unwrap().starts_with("entry 0 "));
        pond.does(&["stream", "append", "new", "paid"]);
        let entry = pond.json(&["stream", "tail", "new"])["entries"][0].clone();
        assert_eq!((&entry["key"], &entry["tags"][0], &entry["headers"]["a"]), (&json!("k"), &json!("t"), &json!("1")));
        assert!(entry["payload"]["text"].as_str().unwrap().contains("1.50"), "{entry}");
        pond.fails(&["stream", "append", "new", "paid", "{"], 2, "not JSON");

        let limits = ["--max-age", "7d", "--max-bytes", "1MiB", "--max-entries", "1", "--compact"];
        pond.does(&[&["stream", "configure", "new"][..], &limits].concat());
        let settings = pond.json(&["stream", "new"])["stream"]["settings"].clone();
        let kept =
            json!({ "max_age_seconds": 604_800.0, "max_bytes": 1 << 20, "max_entries": 1, "is_compacted": true });
        assert_eq!(settings, kept);
        assert!(pond.does(&["stream", "new"]).out.contains("only the latest entry"));
        assert!(pond.does(&["stream", "sweep", "new"]).out.contains("it has 1 entries"));
        pond.does(&["stream", "configure", "new"]);
        assert_eq!(pond.json(&["stream", "new"])["stream"]["settings"]["max_entries"], json!(null));
        pond.fails(&["stream", "configure", "new", "--max-entries", "0"], 2, "0 would keep no entry");

        pond.fails(&["stream", "remove", "new"], 6, "--yes");
        pond.does(&["stream", "remove", "new", "--yes"]);
        pond.fails(&["stream", "new"], 3, "no stream");
        pond.fails(&["stream", "remove", "orders", "--yes"], 4, "remove its consumers first");
        pond.fails(&["stream"], 2, "STREAM");
    });
}

#[test]
fn a_consumer_is_moved_paused_and_removed() {
    at_both(|pond| {
        let of = |verb: &'static str| ["consumer", verb, "orders", "crm"];
        for (to, next) in [("latest", 5), ("earliest", 0), ("4", 4), ("1970-01-01", 0), ("2100-01-01T00:00", 5)] {
            let done = pond.json(&[&of("seek")[..], &["--to", to]].concat());
            assert!(done["message"].as_str().unwrap().ends_with(&format!("goes on with entry {next}")), "{to}: {done}");
            assert_eq!(pond.json(&["consumer", "orders", "crm"])["next"], json!(next), "{to}");
        }
        pond.fails(&[&of("seek")[..], &["--to", "yesterday"]].concat(), 2, "an offset such as");
        pond.fails(&of("seek"), 2, "--to");

        assert_eq!([pond.json(&of("pause"))["changed"].clone(), pond.json(&of("pause"))["changed"].clone()], [1, 0]);
        assert!(pond.does(&["consumers"]).out.contains("paused"));
        assert_eq!([pond.json(&of("resume"))["changed"].clone(), pond.json(&of("resume"))["changed"].clone()], [1, 0]);
        pond.fails(&["consumer", "pause", "orders", "never"], 3, "no consumer \"never\"");

        pond.fails(&of("remove"), 6, "its 1 dead letters");
        pond.does(&[&of("remove")[..], &["--yes"]].concat());
        assert_eq!(pond.does(&["consumers"]).out, "there are no consumers\n");
        assert!(pond.does(&["stream", "orders"]).out.contains("it has no consumers"));
        pond.fails(&[&of("remove")[..], &["--yes"]].concat(), 3, "no consumer \"crm\"");
    });
}

#[test]
fn a_file_without_streams_says_so() {
    let pond = empty();
    assert_eq!(pond.does(&["streams"]).out, "there are no streams\n");
    assert_eq!(pond.does(&["consumers"]).out, "there are no consumers\n");
    assert_eq!(pond.json(&["streams"]), json!([]));
}
