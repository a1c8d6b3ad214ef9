//! Does no harm: it enqueues what its payload says, and tells what the host answered. A test runs it in the queue and in the SDK's host
//! for tests, and compares.

use std::time::Duration;

use millpond_guest::enqueue::{Error, NewJob, Unique, enqueue_many};
use millpond_guest::{OrElse, Raw, Result, state};

/// A line for each call, its words separated by tabs. `job`: kind, queue, unique key, group, priority, most attempts, bytes; a minus
/// sign is what is not set. `with`: the options of a job, a name and a value each. `many`: the bytes of each job of a batch, and a minus
/// sign for one that is not granted. `set`: bytes of a key and of a value.
#[millpond_guest::handler]
pub fn enqueue_as_told(told: Raw) -> Result<Vec<String>> {
    let told = std::str::from_utf8(&told).or_dead_letter()?;
    Ok(told.lines().map(answer).collect())
}

/// In which words is the host's own business.
fn refusal(error: Error) -> String {
    match error {
        Error::Other(_) => "Other".to_owned(),
        error => format!("{error:?}"),
    }
}

fn with(job: NewJob, option: &str, value: &str) -> NewJob {
    let number = || value.parse().unwrap_or(u64::MAX);
    let time = || Duration::from_nanos(number());
    let unique = |job: NewJob, mode: Unique| job.unique("key", mode);
    match option {
        "tag" => job.tag(value),
        "tags" => job.tags((0..number()).map(|n| n.to_string())),
        "header" => job.header(value, "value"),
        "headers" => job.headers((0..number()).map(|n| (n.to_string(), ""))),
        "value" => job.header("name", &"v".repeat(number() as usize)),
        "group" => job.group(value),
        "delay" => job.delay(time()),
        "expiry" => job.expires_in(time()),
        "timeout" => job.timeout(time()),
        "weight" => job.weight(number() as u32),
        "key" => job.unique_key(value),
        "for" => job.unique_for(time()),
        "started" => unique(job, Unique::until_started()),
        "replace" => unique(job, Unique::until_ended().replace()),
        "throttle" => unique(job, Unique::throttle(time())),
        "throttle-replace" => unique(job, Unique::throttle(time()).replace()),
        "latest" => unique(job, Unique::keep_latest()),
        "latest-debounce" => unique(job, Unique::keep_latest().debounce(time(), time())),
        "debounce" => unique(job, Unique::until_started().debounce(time(), Duration::from_nanos(5))),
        _ => panic!("{option:?}"),
    }
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
            job.enqueue().unwrap_or_else(refusal)
        }
        ["with", ref options @ ..] => {
            let job = options.chunks(2).fold(NewJob::raw("mail", []), |job, option| with(job, option[0], option[1]));
            job.enqueue().unwrap_or_else(refusal)
        }
        ["many", ref sizes @ ..] => {
            let jobs = sizes.iter().map(|bytes| match bytes.parse() {
                Ok(bytes) => NewJob::raw("mail", vec![b'x'; bytes]),
                Err(_) => NewJob::raw("not-granted", []),
            });
            match enqueue_many(jobs) {
                Ok(ids) => ids.join(" "),
                Err(refused) => format!("{} {}", refused.index, refusal(refused.error)),
            }
        }
        _ => panic!("{line:?}"),
    }
}
