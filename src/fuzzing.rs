//! What `fuzz/` feeds with bytes of its own making, and the ordinary tests with those that are kept.
//! Each function takes anything and panics if a rule is broken.

use std::sync::OnceLock;

use crate::error::Error;
use crate::inspect::{Cursor, JobFilter};
use crate::job::{JobId, NewJob};
use crate::millpond::Millpond;
use crate::storage::fuzzing;
use crate::testing::{ManualClock, in_memory};

/// A row as it may lie in a damaged file: an error or a row, and what was read can be written.
pub fn row(data: &[u8]) {
    if let Some((&table, content)) = data.split_first() {
        fuzzing::row(table, content);
    }
}

/// The keys of every table lie in the order of what they are made of.
pub fn keys(data: &[u8]) {
    fuzzing::keys(data);
}

/// What a caller gives as text: names, ids, and cursors that came back from a page's link.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pond = pond();
    name(pond, text);
    if let Ok(id) = text.parse::<JobId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(pond.job(id).is_ok() || matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
    }
    let cursor = text.parse::<Cursor>().map(Some);
    if let Ok(cursor) = cursor.or_else(|_| serde_json::from_str::<Option<Cursor>>(text)) {
        for filter in [JobFilter::new(), JobFilter::new().queue("q"), JobFilter::new().kind("k")] {
            let page = pond.jobs(&filter, cursor.clone(), 2).expect("any cursor is a place to go on from");
            assert!(page.jobs.len() <= 2);
        }
    }
}

/// The rules, told once more: of a queue and a kind one to 128 of these letters, and not dots alone; of a group any text of
/// 1 to 1,024 bytes.
fn name(pond: &Millpond, text: &str) {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    let letters = text.chars().all(|letter| LETTERS.contains(letter));
    let allowed = letters && (1..=128).contains(&text.len()) && text.chars().any(|letter| letter != '.');
    let refused = |result: Result<(), Error>| match result {
        Ok(()) => false,
        Err(Error::InvalidName { .. } | Error::InvalidKey { .. }) => true,
        Err(error) => panic!("{error}"),
    };
    let kind = pond.enqueue("q", NewJob::raw(text.to_owned(), "")).wait();
    assert_eq!(refused(kind.map(drop)), !allowed, "as a kind: {text:?}");
    let group = pond.enqueue("q", NewJob::raw("k", "").group(text)).wait();
    assert_eq!(refused(group.map(drop)), !(1..=1_024).contains(&text.len()), "as a group: {text:?}");
    let queue = pond.queue(text);
    assert_eq!(refused(queue.map(|queue| assert_eq!(queue.name(), text))), !allowed, "as a queue: {text:?}");
}

/// One queue for all that is tried: a new one each time would be most of the time.
fn pond() -> &'static Millpond {
    static POND: OnceLock<Millpond> = OnceLock::new();
    POND.get_or_init(|| {
        let pond = in_memory(&ManualClock::new()).expect("memory can be had");
        pond.enqueue_many("q", (0..3).map(|n| NewJob::json("k", &n))).wait().expect("memory is never full");
        pond
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// What fuzzing has found to be worth keeping, tried in every run.
    fn replay(target: &str, run: impl Fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut tried = 0;
        for file in fs::read_dir(&corpus).unwrap() {
            run(&fs::read(file.unwrap().path()).unwrap());
            tried += 1;
        }
        assert!(tried > 0, "no files in {}", corpus.display());
    }

    #[test]
    fn rows_of_any_bytes() {
        replay("row", super::row);
    }

    #[test]
    fn keys_of_any_numbers_and_names() {
        replay("keys", super::keys);
    }

    #[test]
    fn any_text() {
        replay("text", super::text);
    }
}
