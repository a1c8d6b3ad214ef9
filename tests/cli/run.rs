//! The command `millpond plugin run`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use sha2::{Digest, Sha256};

use crate::tool::{Said, does, millpond, noop, project, refuses, say, write};

fn crc32() -> String {
    project("guest-examples/c-crc32/crc32.wasm")
}

fn filter() -> String {
    project("guest-examples/rust-webhook-filter/webhook-filter.wasm")
}

fn hostile(name: &str) -> String {
    project(&format!("tests/guests/built/{name}.wasm"))
}

fn with_input(words: &[&str], input: &[u8]) -> Said {
    let mut child =
        millpond(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn it_says_how_the_job_ended() {
    does(&["plugin", "run", &noop()], &["noop, version ", "job 1: completed in "]);
    let said = with_input(&["plugin", "run", &crc32(), "--payload", "-"], b"123456789");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("result: cbf43926") && said.out.contains("state: bytes = 9"), "{said:?}");
}

#[test]
fn it_says_that_the_job_sleeps_or_waits_for_a_signal() {
    let steps = hostile("steps_as_told");
    let run = ["plugin", "run", &steps, "--payload", "-"];
    let said = with_input(&run, b"sleep\tnight\t3600000000000");
    assert!(said.out.contains("job 1: put off by ") && said.code == Some(1), "{said:?}");
    let said = with_input(&run, b"step\tcharge\tone\nwait\tapproved\t-");
    assert!(said.out.contains("job 1: waits for the signal \"approved\", without using up an attempt"), "{said:?}");
}

#[test]
fn the_payload_can_be_a_file_and_the_result_another() {
    let folder = tempfile::tempdir().unwrap();
    let payload = write(folder.path(), "payload", b"a");
    let result = folder.path().join("result");
    let (payload, to) = (payload.to_str().unwrap(), result.to_str().unwrap());
    does(&["plugin", "run", &crc32(), "--payload", payload, "--result", to], &["result: e8b7be43"]);
    assert_eq!(fs::read(&result).unwrap(), b"e8b7be43");
    refuses(&mut millpond(&["plugin", "run", &crc32(), "--payload", "no/such"]), "could not read the payload no/such");
}

#[test]
fn log_lines_follow_up_jobs_and_state_are_shown() {
    let delivery = br#"{ "id": "d1", "source": "shop", "event": "order.paid" }"#;
    let folder = tempfile::tempdir().unwrap();
    let payload = write(folder.path(), "delivery.json", delivery);
    let run = ["plugin", "run", &filter(), "--payload", payload.to_str().unwrap()];
    let granted = [&run[..], &["--grant", "webhook"]].concat();
    does(
        &granted,
        &["enqueued: job 2 of kind webhook into run: {", "state: seen/d1 = true", "state: events/order.paid = 1"],
    );
    let elsewhere = [&granted[..], &["--config", "events=refund"]].concat();
    let said = does(&elsewhere, &[r#"result: "ignored""#, "  log: "]);
    assert!(!said.out.contains("enqueued:"), "{said:?}");
    let said = say(&mut millpond(&run));
    assert!(said.code == Some(1) && said.out.contains("job 1: failed (its queue would try it again in "), "{said:?}");
    assert!(!said.out.contains("state:"), "{said:?}");
}

#[test]
fn entries_and_messages_are_shown_where_they_are_granted() {
    let folder = tempfile::tempdir().unwrap();
    let told = "append\tsum\tsums\t3\tkey\tk\npublish\tship\torders\torder.shipped\t2\nappend\tother\tsums\t1";
    let payload = write(folder.path(), "told", told.as_bytes());
    let told = hostile("streams_as_told");
    let run = ["plugin", "run", &told, "--payload", payload.to_str().unwrap()];
    does(&run, &[r#"result: ["AccessDenied","AccessDenied","AccessDenied"]"#]);
    let granted = [&run[..], &["--append", "sum@sums", "--publish", "ship@orders"]].concat();
    let lines = [
        r#"["ok","ok","AccessDenied"]"#,
        "appended: sum to sums with the key \"k\": xxx",
        "published: ship to orders: xx",
    ];
    let said = does(&granted, &lines);
    assert_eq!(said.out.lines().filter(|line| line.contains("appended:") || line.contains("published:")).count(), 2);
    let said = say(&mut millpond(&[&run[..], &["--append", "sum"]].concat()));
    assert!(said.code == Some(2) && said.err.contains("a kind, `@` and a name, as in `total@totals`"), "{said:?}");
}

#[test]
fn an_attempt_that_breaks_a_limit_is_reported_by_its_kind_of_failure() {
    let failures = [
        ("panics", &[][..], "Trap: wasm trap: "),
        ("infinite_loop", &["--timeout", "300ms"], "Timeout: the attempt ran longer than its timeout of 300ms"),
        ("memory_growth", &["--memory", "16MiB"], "MemoryLimit: it asked for "),
    ];
    for (guest, options, says) in failures {
        let said = say(&mut millpond(&[&["plugin", "run", &hostile(guest)][..], options].concat()));
        assert!(
            said.code == Some(1) && said.out.contains("job 1: failed") && said.out.contains(says),
            "{guest}: {said:?}"
        );
    }
    let said = with_input(&["plugin", "run", &crc32(), "--payload", "-"], b"");
    assert!(said.code == Some(1) && said.out.contains("dead letter\n  there is nothing to sum"), "{said:?}");
}

#[test]
fn many_jobs_are_reported_with_their_timings() {
    does(&["plugin", "run", &noop(), "--repeat", "20"], &["20 jobs, a fresh instance each: min ", ", p50 ", ", p99 "]);
    let reused = ["plugin", "run", &noop(), "--repeat", "20", "--reuse", "8"];
    does(&reused, &["20 jobs, instances used up to 8 times: min "]);
}

#[test]
fn what_it_prints_is_shown_where_that_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let payload = write(folder.path(), "payload", b"print");
    let prints = hostile("prints");
    let run = ["plugin", "run", &prints, "--payload", payload.to_str().unwrap()];
    refuses(&mut millpond(&run), "Grant::stdio()");
    does(&[&run[..], &["--stdio"]].concat(), &["log: INFO one", "log: ERROR three"]);
}

#[test]
fn a_rate_limit_is_reported_where_it_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let payload = write(folder.path(), "payload", b"queue");
    let limited = hostile("rate_limited");
    let run = ["plugin", "run", &limited, "--payload", payload.to_str().unwrap()];
    let said = say(&mut millpond(&run));
    let lines = ["job 1: put off by ", "log: WARN rate limits are not granted"];
    assert!(said.code == Some(1) && lines.iter().all(|line| said.out.contains(line)), "{said:?}");
    let said = say(&mut millpond(&[&run[..], &["--rate-limit"]].concat()));
    assert!(said.code == Some(1) && said.out.contains("job 1: rate limited for 60s"), "{said:?}");
}

#[test]
fn it_connects_to_the_host_that_it_is_granted_and_to_no_other() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", server.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut asked, _) = server.accept().unwrap();
        let mut head = BufReader::new(asked.try_clone().unwrap()).lines();
        while head.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        asked.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let payload = write(folder.path(), "payload", format!("\"{host}/\"").as_bytes());
    let fetch = hostile("fetch");
    let run = ["plugin", "run", &fetch, "--payload", payload.to_str().unwrap()];
    refuses(&mut millpond(&run), "Grant::http(");
    // The server is on this machine.
    let public = say(&mut millpond(&[&run[..], &["--http", &host]].concat()));
    assert!(public.code == Some(1) && !public.out.contains("completed"), "{public:?}");
    does(&[&run[..], &["--http", &host, "--private"]].concat(), &["result: [200,5]"]);
    answering.join().unwrap();
    let bad = say(&mut millpond(&[&run[..], &["--http", "example.org"]].concat()));
    assert!(bad.code == Some(2) && bad.err.contains("is not a scheme, host and port"), "{bad:?}");
}

#[test]
fn a_file_that_is_no_plugin_is_refused() {
    refuses(&mut millpond(&["plugin", "run", &project("README.md")]), "it is not WebAssembly");
}

/// The program while it watches a file.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watching {
    fn start(file: &Path) -> Self {
        let words = ["plugin", "run", file.to_str().unwrap(), "--watch"];
        let mut child = millpond(&words).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads what it prints, up to the first line that contains this.
    fn until(&mut self, says: &str) -> String {
        let mut said = String::new();
        while !said.lines().last().is_some_and(|line| line.contains(says)) {
            assert!(self.lines.read_line(&mut said).unwrap() > 0, "it ended before it said {says:?}: {said}");
        }
        said
    }
}

#[test]
fn a_watched_file_is_run_again_when_it_changes_and_the_old_version_stays_when_the_new_one_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "guest.wasm", &fs::read(noop()).unwrap());
    let mut watching = Watching::start(&file);
    assert!(watching.until("waiting for another version").contains("job 1: completed"));

    let version = fs::read(crc32()).unwrap();
    fs::write(&file, &version).unwrap();
    watching.until(&format!("guest, version {:x}", Sha256::digest(&version)));
    // The checksum of the JSON null.
    assert!(watching.until("waiting for another version").contains("result: 25cbfc4f"), "another result");

    fs::write(&file, "no plugin").unwrap();
    let refused = watching.until("the current version stays");
    assert!(refused.contains("it is not WebAssembly"), "{refused}");
    fs::write(&file, fs::read(noop()).unwrap()).unwrap();
    assert!(watching.until("waiting for another version").contains(": completed"));
}
