//! Whatever is in the file, it reaches the terminal as plain text.

use millpond::{Job, NewJob, Outcome, Retry};

use crate::pond::{Pond, empty};
use crate::stock::Work;
use crate::tool::{Said, say};

/// Would clear the screen, colour it, forge a line, or reverse one.
const HARM: &str = "a\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{2028}b\u{7}";

fn hostile() -> Pond {
    let pond = empty();
    pond.with(|pond| async move {
        // A tag cannot have control characters, but it can turn the line.
        let job = || NewJob::json("send", &HARM).header("trace", HARM).tag("a\u{202e}b").group(HARM);
        pond.enqueue("mail", job().unique_key(HARM)).await.unwrap();
        let second = pond.enqueue("mail", NewJob::raw("send", HARM)).await.unwrap();
        pond.queue("mail").unwrap().pause_group(HARM).await.unwrap();
        let worker = pond.worker("crm").retry(Retry::none());
        let worker = worker.handle(|_: Job<Work>| async { Ok(Outcome::dead_letter(HARM)) }).start().unwrap();
        let id = pond.enqueue("crm", Work { n: 1 }).await.unwrap();
        pond.finished(id).await.unwrap();
        worker.stop().await.unwrap();
        let flow = pond.flow(HARM, |flow| {
            let (job, signal) = (flow.job("mail", NewJob::raw("send", HARM)).named(HARM), flow.signal("signal"));
            job.after(&signal);
        });
        flow.await.unwrap();
        let entry = NewJob::raw("paid", HARM).header("trace", HARM).tag("a\u{202e}b").group(HARM);
        pond.stream("orders").unwrap().append(entry).await.unwrap();
        pond.signal(HARM, "signal", HARM).await.unwrap();
        pond.signal_job(second, HARM, HARM).await.unwrap();
    });
    pond
}

#[track_caller]
fn is_plain(words: &[&str], said: &Said) {
    for text in [&said.out, &said.err] {
        let harmful = text.chars().find(|c| *c != '\n' && *millpond::printable(&c.to_string()) != c.to_string());
        assert_eq!(harmful, None, "{words:?}: {text:?}");
    }
}

#[test]
fn all_texts_of_the_file_are_plain_on_the_terminal() {
    let pond = hostile();
    for words in [
        &["queues", "mail"][..],
        &["jobs"],
        &["jobs", "--json"],
        &["job", "1"],
        &["job", "1", "--json"],
        &["job", "2"],
        &["job", "3"],
        &["dead", "list"],
        &["dead", "list", "--json"],
        &["export"],
        &["flows"],
        &["flow", HARM],
        &["flow", HARM, "--dot"],
        &["flow", HARM, "--json"],
        &["flow", "cancel", HARM, "--reason", HARM, "--yes"],
        &["stream", "tail", "orders"],
        &["stream", "tail", "orders", "--json"],
        &["stream", "append", "orders", "paid", "--key", HARM],
        &["resume", "mail", "--group", HARM],
        &["top", "--json", "--times", "1"],
    ] {
        let said = say(&mut pond.command(words));
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        is_plain(words, &said);
    }
    for words in [
        &["queues", HARM][..],
        &["job", HARM],
        &["flow", "signal", HARM, HARM],
        &["signal", HARM, HARM],
        &["stream", HARM],
        &["consumer", "orders", HARM],
        &["consumer", "seek", HARM, HARM, "--to", "latest"],
        &["pause", HARM],
        &["cancel", "--queue", HARM],
        &["stats", "--url", HARM],
    ] {
        let said = say(&mut match words[0] {
            "stats" => crate::tool::millpond(words),
            _ => pond.command(words),
        });
        assert_ne!(said.code, Some(0), "{words:?}: {said:?}");
        is_plain(words, &said);
    }
}

#[test]
fn an_export_of_hostile_jobs_is_imported_as_they_were() {
    let (from, to) = (hostile(), empty());
    let export = from.path("all.jsonl");
    let said = from.does(&["export", "--output", export.to_str().unwrap()]);
    // A new job would miss the signal.
    assert!(said.err.contains("1 have steps or signals"), "{said:?}");
    assert_eq!(to.json(&["import", export.to_str().unwrap(), "--with-dead"])["stored"], 3);
    to.with(|pond| async move {
        let job = &pond.jobs(&millpond::JobFilter::new().unique_key(HARM), None, 1).unwrap().jobs[0];
        assert_eq!((job.group.as_deref(), job.headers["trace"].as_str()), (Some(HARM), HARM));
        assert_eq!(job.payload.decode::<String>().unwrap(), HARM);
    });
}
