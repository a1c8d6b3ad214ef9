//! Streams, their consumers and their entries.

use crate::{ConsumerInfo, Millpond, NewJob, Start, StreamInfo, Timestamp};

use super::actions::{done, given_payload, unchanged};
use super::api::{
    Code, Consumer, Done, Entry, EntryPage, EntryQuery, NewEntry, Paging, Problem, Seek, Stream, StreamDetail,
    StreamPage, StreamSettings,
};
use super::body;
use super::jobs::time;
use super::queues::seconds;
use super::redact::Redact;

/// Bytes of the texts in a page of entries, approximately: a page ends with the entry with which it reaches this.
const PAGE_BYTES: usize = 1 << 20;

pub(super) fn list(pond: &Millpond, page: &Paging) -> Result<StreamPage, Problem> {
    let start = page.start().unwrap_or_default();
    let found = pond.streams(start, page.entries())?;
    let last = found.last().map(|stream| stream.name.clone());
    let next = match last {
        Some(last) if found.len() >= page.entries() && !pond.streams(&last, 1)?.is_empty() => Some(last),
        _ => None,
    };
    let consumers = pond.consumers()?;
    let streams = found.into_iter().map(|stream| shown(stream, &consumers)).collect();
    Ok(StreamPage { streams, next })
}

pub(super) fn get(pond: &Millpond, name: &str) -> Result<StreamDetail, Problem> {
    let stream = pond.stream(name)?;
    let (info, consumers) = (stream.info()?, stream.consumers()?);
    let stream = shown(info, &consumers);
    Ok(StreamDetail { stream, consumers: consumers.into_iter().map(shown_consumer).collect() })
}

pub(super) fn consumers(pond: &Millpond, stream: Option<&str>) -> Result<Vec<Consumer>, Problem> {
    let found = match stream {
        None => pond.consumers()?,
        Some(name) => {
            let stream = pond.stream(name)?;
            stream.info()?;
            stream.consumers()?
        }
    };
    Ok(found.into_iter().map(shown_consumer).collect())
}

pub(super) fn entries(pond: &Millpond, name: &str, query: EntryQuery, redact: &Redact) -> Result<EntryPage, Problem> {
    let stream = pond.stream(name)?;
    let (info, limit) = (stream.info()?, query.entries());
    let from = query.from.unwrap_or_else(|| info.next.saturating_sub(limit as u64)).max(info.first);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for entry in stream.read(from, limit)? {
        let entry = shown_entry(entry, name, redact);
        bytes += size(&entry);
        entries.push(entry);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    let next = entries.last().map(|last| last.offset + 1).filter(|next| *next < info.next);
    Ok(EntryPage { from, entries, next })
}

pub(super) fn append(pond: &Millpond, stream: &str, entry: NewEntry) -> Result<Done, Problem> {
    let json = Some(entry.payload).filter(|payload| entry.payload_text.is_none() || !payload.is_null());
    let payload = given_payload(json, entry.payload_text)?;
    let new = NewJob::json(entry.kind, &payload).tags(entry.tags).headers(entry.headers);
    let new = entry.key.into_iter().fold(new, NewJob::group);
    let offset = pond.stream(stream)?.append(new).wait()?;
    Ok(done(format!("entry {offset} is in stream {stream}")))
}

pub(super) fn configure(pond: &Millpond, stream: &str, settings: &StreamSettings) -> Result<Done, Problem> {
    let StreamSettings { max_age_seconds, max_bytes, max_entries, is_compacted } = *settings;
    let mut kept = crate::StreamSettings::default();
    if let Some(age) = max_age_seconds {
        kept = kept.max_age(seconds("max_age_seconds", age)?);
    }
    kept = max_bytes.into_iter().fold(kept, crate::StreamSettings::max_bytes);
    kept = max_entries.into_iter().fold(kept, crate::StreamSettings::max_entries);
    if is_compacted {
        kept = kept.compact();
    }
    pond.stream(stream)?.configure(kept).wait()?;
    Ok(done(format!("stream {stream} has new settings")))
}

pub(super) fn sweep(pond: &Millpond, stream: &str) -> Result<Done, Problem> {
    let left = pond.stream(stream)?.sweep().wait()?;
    Ok(done(format!("stream {stream} is swept: it has {left} entries")))
}

pub(super) fn remove(pond: &Millpond, stream: &str) -> Result<Done, Problem> {
    pond.stream(stream)?.remove().wait()?;
    Ok(done(format!("stream {stream} is removed")))
}

pub(super) fn seek(pond: &Millpond, stream: &str, consumer: &str, to: Seek) -> Result<Done, Problem> {
    let start = match to {
        Seek::Earliest => Start::Earliest,
        Seek::Latest => Start::Latest,
        Seek::Offset(offset) => Start::Offset(offset),
        Seek::Time(at) => Start::Time(Timestamp::from_millis(at.0)),
        _ => return Err(Problem::new(Code::Unsupported, "this version does not know this place in a stream")),
    };
    let offset = pond.stream(stream)?.consumer(consumer)?.seek(start).wait()?;
    Ok(done(format!("consumer {consumer} of stream {stream} goes on with entry {offset}")))
}

pub(super) fn pause(pond: &Millpond, stream: &str, name: &str) -> Result<Done, Problem> {
    let has_changed = find(pond, stream, name)?.pause().wait()?;
    let said = format!("consumer {name} of stream {stream} is paused");
    Ok(if has_changed { done(said) } else { unchanged(format!("{said} already")) })
}

pub(super) fn resume(pond: &Millpond, stream: &str, name: &str) -> Result<Done, Problem> {
    let has_changed = find(pond, stream, name)?.resume().wait()?;
    let said = format!("consumer {name} of stream {stream} is not paused");
    Ok(if has_changed { done(said) } else { unchanged(format!("{said} already")) })
}

/// The consumer, if there is one. Without one, a pause would be that of a queue which nobody has asked for.
fn find(pond: &Millpond, stream: &str, name: &str) -> Result<crate::Consumer, Problem> {
    let consumer = pond.stream(stream)?.consumer(name)?;
    consumer.info()?;
    Ok(consumer)
}

pub(super) fn remove_consumer(pond: &Millpond, stream: &str, name: &str) -> Result<Done, Problem> {
    pond.stream(stream)?.consumer(name)?.remove().wait()?;
    Ok(done(format!("consumer {name} of stream {stream} is removed")))
}

/// Bytes of the texts of an entry.
fn size(entry: &Entry) -> usize {
    let tags: usize = entry.tags.iter().map(String::len).sum();
    let headers: usize = entry.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    entry.payload.text.len() + entry.key.as_ref().map_or(0, String::len) + tags + headers
}

fn shown_entry(entry: crate::Entry, stream: &str, redact: &Redact) -> Entry {
    Entry {
        offset: entry.offset,
        payload: body::of_payload(&entry.payload, stream, &entry.kind, redact),
        kind: entry.kind,
        key: entry.key,
        appended_at: time(entry.appended_at),
        tags: entry.tags,
        headers: entry.headers,
        codec_error: entry.codec_error,
    }
}

/// A stream, with those of the consumers that are its own.
fn shown(stream: StreamInfo, consumers: &[ConsumerInfo]) -> Stream {
    let own = || consumers.iter().filter(|consumer| consumer.stream == stream.name);
    let crate::StreamSettings { max_age, max_bytes, max_entries, compact, .. } = stream.settings;
    Stream {
        first: stream.first,
        next: stream.next,
        entries: stream.entries,
        bytes: stream.bytes,
        settings: StreamSettings {
            max_age_seconds: max_age.map(|age| age.as_secs_f64()),
            max_bytes,
            max_entries,
            is_compacted: compact,
        },
        consumers: own().count() as u64,
        behind_max: own().map(|consumer| consumer.behind).max(),
        created_at: time(stream.created_at),
        name: stream.name,
    }
}

fn shown_consumer(consumer: ConsumerInfo) -> Consumer {
    Consumer {
        stream: consumer.stream,
        name: consumer.name,
        queue: consumer.queue,
        next: consumer.next,
        behind: consumer.behind,
        behind_since: consumer.behind_since.map(time),
        jobs: consumer.jobs,
        dead: consumer.dead,
        lost: consumer.lost,
        is_paused: consumer.paused,
        is_running: consumer.running,
        created_at: time(consumer.created_at),
    }
}
