//! Does no harm: it enqueues what its payload says, and tells what the host answered. A test runs it in the queue and in the SDK's host
//! for tests, and compares.

use millpond_guest::enqueue::{Error, NewJob};
use millpond_guest::{OrElse, Raw, Result, state};

/// A line for each call, its words separated by tabs. `job`: kind, queue, unique key, group, priority, most attempts, bytes; a minus
/// sign is what is not set. `set`: bytes of a key and of a value.
#[millpond_guest::handler]
pub fn enqueue_as_told(told: Raw) -> Result<Vec<String>> {
    let told = std::str::from_utf8(&told).or_dead_letter()?;
    Ok(told.lines().map(answer).collect())
}

fn answer(line: &str) -> String {
    let words: Vec<&str> = line.split('\t').collect();
    match words[..] {
        ["set", key, value] => {
            let bytes = |number: &str| number.parse().expect("a number");
            match state::set_raw(&"k".repeat(bytes(key)), &vec![0; bytes(value)]) {
                Ok(()) => "set".to_owned(),
                Err(error) => format!("{error:?}"),
            }
        }
        ["job", kind, queue, key, group, priority, attempts, bytes] => {
            let set = |word: &str| (word != "-").then(|| word.to_owned());
            let mut job = NewJob::raw(kind, vec![b'x'; bytes.parse().expect("a number")]);
            if let Some(queue) = set(queue) {
                job = job.queue(&queue);
            }
            if let Some(key) = set(key) {
                job = job.unique_key(&key);
            }
            if let Some(group) = set(group) {
                job = job.group(&group);
            }
            if let Some(priority) = set(priority) {
                job = job.priority(priority.parse().expect("a number"));
            }
            if let Some(attempts) = set(attempts) {
                job = job.max_attempts(attempts.parse().expect("a number"));
            }
            match job.enqueue() {
                Ok(id) => id,
                // In which words is the host's own business.
                Err(Error::Other(_)) => "Other".to_owned(),
                Err(error) => format!("{error:?}"),
            }
        }
        _ => panic!("{line:?}"),
    }
}
