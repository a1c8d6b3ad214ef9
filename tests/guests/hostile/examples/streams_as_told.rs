//! Does no harm: it appends and publishes what its payload says, and tells what the host answered, and which entry it has. A test runs it in
//! the queue and in the SDK's host for tests, and compares.

use std::fmt::Debug;
use std::time::Duration;

use millpond_guest::enqueue::{NewJob, Unique};
use millpond_guest::{Error, OrElse, Raw, Result, attempt, streams, topics};

/// A line for each call, its words separated by tabs. `append`: kind, stream, bytes, and options, a name and a value each. `publish`: kind,
/// topic, routing key, bytes, and options. `enqueue`: kind and bytes. `copy`: appends to this stream which entry it has, under the same key.
/// `again` and `publish-again`: what it was told, to this stream or topic. `fail` is the number of an attempt, up to which the attempts fail
/// there.
#[millpond_guest::handler]
pub fn streams_as_told(told: Raw) -> Result<Vec<String>> {
    let told = std::str::from_utf8(&told).or_dead_letter()?;
    told.lines().map(call).collect()
}

fn call(line: &str) -> Result<String> {
    let words: Vec<&str> = line.split('\t').collect();
    match words[..] {
        ["append", kind, stream, bytes, ref options @ ..] => {
            Ok(answer(streams::append(stream, job(kind, bytes, options))))
        }
        ["publish", kind, topic, key, bytes, ref options @ ..] => {
            Ok(answer(topics::publish(topic, key, job(kind, bytes, options))))
        }
        ["enqueue", kind, bytes] => Ok(answer(job(kind, bytes, &[]).enqueue())),
        ["copy", stream] => {
            let entry = attempt::entry().ok_or("it is no entry").or_dead_letter()?;
            let mut copy = NewJob::new("copy", &format!("{} {}", entry.stream, entry.offset))?;
            if let Some(key) = &entry.key {
                copy = copy.group(key);
            }
            streams::append(stream, copy)?;
            Ok("copied".to_owned())
        }
        ["again", stream] => Ok(answer(streams::append(stream, NewJob::raw(&attempt::kind(), line)))),
        ["publish-again", topic] => Ok(answer(topics::publish(topic, "again", NewJob::raw(&attempt::kind(), line)))),
        ["entry"] => Ok(match attempt::entry() {
            Some(entry) => format!("{} {} {:?} {:?}", entry.stream, entry.offset, entry.key, attempt::headers()),
            None => "none".to_owned(),
        }),
        ["trap"] => panic!("as told"),
        ["retry"] => Err(Error::retry("as told")),
        ["dead-letter"] => Err(Error::dead_letter("as told")),
        ["cancel"] => Err(Error::cancel("as told")),
        ["snooze"] => Err(Error::snooze(Duration::from_secs(60))),
        ["fail", until] if attempt::number() <= until.parse().or_dead_letter()? => Err(Error::retry("failed as told")),
        ["fail", _] => Ok("passed".to_owned()),
        _ => panic!("{line:?}"),
    }
}

/// In which words is the host's own business.
fn answer<T, E: Debug>(answer: Result<T, E>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            let error = format!("{error:?}");
            error.split('(').next().unwrap_or_default().to_owned()
        }
    }
}

fn job(kind: &str, bytes: &str, options: &[&str]) -> NewJob {
    let job = NewJob::raw(kind, vec![b'x'; bytes.parse().expect("a number")]);
    options.chunks(2).fold(job, |job, option| with(job, option[0], option[1]))
}

fn with(job: NewJob, option: &str, value: &str) -> NewJob {
    let number = || value.parse().unwrap_or(u64::MAX);
    let time = || Duration::from_nanos(number());
    match option {
        "queue" => job.queue(value),
        "key" => job.group(value),
        "tag" => job.tag(value),
        "header" => job.header(value, "value"),
        "value" => job.header("name", &"v".repeat(number() as usize)),
        "delay" => job.delay(time()),
        "priority" => job.priority(number() as u8),
        "attempts" => job.max_attempts(number() as u32),
        "unique" => job.unique_key(value),
        "latest" => job.unique(value, Unique::keep_latest()),
        "for" => job.unique_for(time()),
        "expiry" => job.expires_in(time()),
        "timeout" => job.timeout(time()),
        "weight" => job.weight(number() as u32),
        _ => panic!("{option:?}"),
    }
}
