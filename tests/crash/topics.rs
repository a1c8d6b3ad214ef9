//! Messages of the workload: a topic that leads to two queues and a stream. The queues have no worker, and nothing else is in them or
//! in the stream, so in every state of the file they have the same messages, and those of transactions are there exactly if the
//! application's row is.

use std::collections::BTreeSet;

use millpond::{Binding, Error, JobFilter, Millpond, NewJob};
use redb::{ReadableTable, TableDefinition, TableError};

use crate::engine::{Engine, KIND};
use crate::observations::Asked;
use crate::workload::{ROWS, Workload, asked, count_up, payload, tag_of};

/// The queues that get each message.
pub const COPIES: [&str; 2] = ["copy-a", "copy-b"];

/// The stream that gets each message.
const LOG: &str = "copies";

const TOPIC: &str = "copies";
/// The kind of the messages that are published with a row of the application.
const WITH_ROW: &str = "with-row";
/// The rows that are written with messages, by the tag of the message.
const PUBLISHED: TableDefinition<u64, u64> = TableDefinition::new("published");

impl Workload {
    /// Binds the queues and the stream in one commit.
    pub fn bind_copies(&mut self) {
        let bound = self.pond().transaction(|tx| {
            tx.open_table(PUBLISHED)?;
            tx.bind(TOPIC, Binding::to(COPIES[0]).key("#"))?;
            tx.bind(TOPIC, Binding::to(COPIES[1]))?;
            tx.bind(TOPIC, Binding::to_stream(LOG))?;
            Ok(Vec::new())
        });
        self.call(asked("bind two queues and a stream"), bound);
    }

    /// Publishes a message, alone or with a row, or makes or removes a binding that leads to a queue or a stream that has all
    /// messages already.
    pub fn publish_or_bind(&mut self) {
        let topic = self.pond().topic(TOPIC).expect("a good name");
        let key = ["", "a", "a.b"][self.rng().usize(0..3)];
        let overlapping = if self.rng().bool() { Binding::to(COPIES[1]) } else { Binding::to_stream(LOG) }.key("a.*");
        match self.rng().u8(0..6) {
            0 => {
                let bound = topic.bind(overlapping);
                self.call(asked("bind"), async move { bound.await.map(|_| Vec::new()) });
            }
            1 => {
                let unbound = topic.unbind(overlapping);
                self.call(asked("unbind"), async move { unbound.await.map(|_| Vec::new()) });
            }
            2 | 3 => {
                let tag = self.tag();
                let published = topic.publish(key, NewJob::raw(KIND, payload(tag, 20)));
                self.call(asked("publish"), async move {
                    Ok(published.await?.jobs.into_iter().map(|delivery| delivery.job).collect())
                });
            }
            fate => {
                let tag = self.tag();
                let published = self.pond().transaction(move |tx| {
                    count_up(tx, ROWS, tag)?;
                    count_up(tx, PUBLISHED, tag)?;
                    let published = tx.publish(TOPIC, key, NewJob::raw(WITH_ROW, payload(tag, 20)))?;
                    let jobs = published.jobs.into_iter().map(|delivery| delivery.job).collect();
                    if fate == 4 && tag.is_multiple_of(3) { Err(millpond_testkit::ON_PURPOSE.into()) } else { Ok(jobs) }
                });
                let fails = fate == 4 && tag.is_multiple_of(3);
                self.call(Asked { rows: vec![tag], fails, ..asked("publish with a row") }, published);
            }
        }
    }
}

/// The tags of the messages of a queue, with their kinds and ids.
fn messages(pond: &Millpond, queue: &str) -> Result<Vec<(u64, String, u64)>, Error> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = pond.jobs(&JobFilter::new().queue(queue), cursor, 1_000)?;
        found.extend(page.jobs.into_iter().map(|job| (tag_of(&job.payload.bytes), job.kind, job.id.get())));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// The tags of the messages of the stream, with their kinds, in their order. Each has the offset behind the one before.
fn logged(pond: &Millpond) -> Result<Vec<(u64, String)>, String> {
    let entries = match pond.stream(LOG).and_then(|stream| stream.read(0, 10_000)) {
        Ok(entries) => entries,
        Err(Error::NoSuchStream { .. }) => Vec::new(),
        Err(error) => return Err(error.to_string()),
    };
    match entries.iter().zip(0..).find(|(entry, offset)| entry.offset != *offset) {
        Some((entry, offset)) => Err(format!("the entry behind offset {offset} has offset {}", entry.offset)),
        None => Ok(entries.into_iter().map(|entry| (tag_of(&entry.payload.bytes), entry.kind)).collect()),
    }
}

/// The ids of all messages, which never end.
pub fn ids(engine: &Engine) -> Result<BTreeSet<u64>, Error> {
    let mut ids = BTreeSet::new();
    for queue in COPIES {
        ids.extend(messages(&engine.pond, queue)?.into_iter().map(|(.., id)| id));
    }
    Ok(ids)
}

/// Checks that each message is in both queues and in the stream or in none of them, once, and with its row if it has one.
pub fn sound(engine: &Engine) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let mut copies = vec![("the stream", logged(&engine.pond)?)];
    for queue in COPIES {
        let found = messages(&engine.pond, queue).map_err(text)?;
        copies.push((queue, found.into_iter().map(|(tag, kind, _)| (tag, kind)).collect()));
    }
    let mut distinct: Vec<BTreeSet<_>> = Vec::new();
    for (place, found) in copies {
        let messages: BTreeSet<_> = found.iter().cloned().collect();
        if messages.len() != found.len() {
            return Err(format!("{place} has a message twice"));
        }
        if let Some((tag, _)) = distinct.first().and_then(|first| first.symmetric_difference(&messages).next()) {
            return Err(format!("message {tag} is in {place} or in the stream, and not in both"));
        }
        distinct.push(messages);
    }
    let read = engine.pond.begin_read().map_err(text)?;
    let rows: BTreeSet<u64> = match read.open_table(PUBLISHED) {
        Ok(rows) => {
            let rows = rows.iter().map_err(|error| error.to_string())?;
            rows.map(|row| row.map(|(tag, _)| tag.value()))
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?
        }
        Err(TableError::TableDoesNotExist(_)) => BTreeSet::new(),
        Err(error) => return Err(error.to_string()),
    };
    let with_row: BTreeSet<u64> =
        distinct[0].iter().filter(|(_, kind)| kind == WITH_ROW).map(|(tag, _)| *tag).collect();
    match with_row.symmetric_difference(&rows).next() {
        Some(tag) => Err(format!("message {tag} and its row are not there together")),
        None => Ok(()),
    }
}
