//! The sections of a record, between its header and its payload: each is a tag, a length and the bytes.
//!
//! A fact that few jobs have is in a section that only those jobs have. A new fact is a new section: existing rows do
//! not change, and a plain job pays nothing for it. A section whose tag this build does not know was written by a newer
//! build with the same schema version. It is kept and written back with its record. A fact that an older build must not
//! ignore raises the schema version, so that an older build refuses the file.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::{EntryOf, EntryTag, Extra, Labels, Lineage, Record, Unique};
use crate::time::Timestamp;

/// The tags. A tag is never used for another fact, and 0 is not a tag.
const GROUP: u8 = 1;
const DUE: u8 = 2;
const EXPIRY: u8 = 3;
const LIMITS: u8 = 4;
const UNIQUE_KEY: u8 = 5;
const HISTORY: u8 = 6;
const END: u8 = 7;
const RESULT: u8 = 8;
const LINEAGE: u8 = 9;
const TAGS: u8 = 10;
const HEADERS: u8 = 11;
const SCHEDULED_FOR: u8 = 12;
const UNIQUE: u8 = 13;
const IDEMPOTENCY_KEY: u8 = 14;
/// In place of [`RESULT`], if the payload codec has made its bytes.
const CODED_RESULT: u8 = 15;
/// What the handlers of its latest attempts have reported.
const LOGS: u8 = 16;
const WEIGHT: u8 = 17;
const BACK: u8 = 18;
/// The number of the flow that it belongs to.
const FLOW: u8 = 19;
/// The job has steps, in a table of their own.
const STEPS: u8 = 20;
/// The job undoes its steps.
const UNDO: u8 = 21;
/// It is an entry of a stream, or was one.
const ENTRY: u8 = 22;

/// The sections of one record, as they stand in its row.
#[derive(Default)]
pub(in crate::storage) struct Sections {
    /// How many there are: a byte of the header.
    pub count: u8,
    bytes: Scratch,
}

impl Sections {
    /// In the order of their tags.
    pub fn of(extra: &Extra) -> Self {
        let mut sections = Self::default();
        if let Some(group) = &extra.group {
            sections.raw(GROUP, group.as_bytes());
        }
        if let Some(due) = &extra.due {
            sections.row(DUE, due);
        }
        if let Some(expiry) = &extra.expiry {
            sections.row(EXPIRY, expiry);
        }
        if extra.max_attempts.is_some() || extra.backoff.is_some() || extra.timeout.is_some() {
            sections.row(LIMITS, &(extra.max_attempts, &extra.backoff, extra.timeout));
        }
        if let Some(key) = &extra.unique_key {
            sections.raw(UNIQUE_KEY, key.as_bytes());
        }
        if extra.snoozes > 0 || extra.crashes > 0 || !extra.errors.is_empty() {
            sections.row(HISTORY, &(extra.snoozes, extra.crashes, &extra.errors));
        }
        if extra.reason.is_some() || extra.started_at.is_some() || extra.ended_at.is_some() {
            sections.row(END, &(&extra.reason, extra.started_at, extra.ended_at));
        }
        if let Some(result) = extra.result.as_ref().filter(|_| !extra.is_result_coded) {
            sections.raw(RESULT, result);
        }
        if let Some(lineage) = &extra.lineage {
            sections.row(LINEAGE, lineage);
        }
        if let Some(labels) = &extra.labels {
            sections.labels(labels);
        }
        if let Some(run) = &extra.scheduled_for {
            sections.row(SCHEDULED_FOR, run);
        }
        if extra.unique != Unique::default() {
            sections.row(UNIQUE, &(extra.unique, extra.debounced_until));
        }
        if let Some(key) = &extra.idempotency_key {
            sections.raw(IDEMPOTENCY_KEY, key.as_bytes());
        }
        if let Some(result) = extra.result.as_ref().filter(|_| extra.is_result_coded) {
            sections.raw(CODED_RESULT, result);
        }
        if let Some(logs) = &extra.logs {
            sections.row(LOGS, logs);
        }
        if let Some(weight) = extra.weight {
            sections.row(WEIGHT, &weight);
        }
        if extra.is_back {
            sections.raw(BACK, &[]);
        }
        if let Some(flow) = extra.flow {
            sections.row(FLOW, &flow);
        }
        if extra.has_steps {
            sections.raw(STEPS, &[]);
        }
        if let Some(undo) = &extra.undo {
            sections.row(UNDO, undo);
        }
        if let Some(EntryTag { age, place }) = &extra.entry {
            sections.row(ENTRY, &(age, place.as_ref().map(|place| &place.of)));
        }
        for (tag, bytes) in &extra.unknown {
            sections.raw(*tag, bytes);
        }
        sections
    }

    /// Those of a new entry of a stream.
    pub fn of_entry(key: Option<&str>, generation: u32, labels: Option<&Labels>, age: Timestamp) -> Self {
        let mut sections = Self::default();
        if let Some(key) = key {
            sections.raw(GROUP, key.as_bytes());
        }
        if generation > 0 {
            sections.row(LINEAGE, &Lineage { generation, ..Lineage::default() });
        }
        if let Some(labels) = labels {
            sections.labels(labels);
        }
        sections.row(ENTRY, &(age, None::<&EntryOf>));
        sections
    }

    fn labels(&mut self, labels: &Labels) {
        if !labels.tags.is_empty() {
            self.row(TAGS, &labels.tags);
        }
        if !labels.headers.is_empty() {
            self.row(HEADERS, &labels.headers);
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    fn raw(&mut self, tag: u8, bytes: &[u8]) {
        self.section(tag, |scratch| scratch.push(bytes));
    }

    fn row(&mut self, tag: u8, value: &impl Serialize) {
        self.section(tag, |scratch| {
            postcard::serialize_with_flavor(value, scratch).expect("our rows are plain data");
        });
    }

    fn section(&mut self, tag: u8, write: impl FnOnce(&mut Scratch)) {
        self.count += 1;
        let scratch = &mut self.bytes;
        // Most sections are so short that one byte can hold their length.
        scratch.push(&[tag, 0]);
        let from = scratch.as_slice().len();
        write(scratch);
        let len = scratch.as_slice().len() - from;
        if len < 0x80 {
            scratch.as_mut_slice()[from - 1] = len as u8;
        } else {
            let mut varint = [0; 10];
            let varint = postcard::to_slice(&len, &mut varint).expect("a number takes ten bytes at most");
            scratch.replace(from - 1, varint);
        }
    }
}

/// How many bytes the row of an entry has once it is a job of a consumer. `stored` is the length of its row in the stream, where its
/// group is its key. The sections are not made for that.
pub(crate) fn len_as_job(stored: usize, entry: &Record, group: Option<&str>, of: &EntryOf) -> usize {
    let Some(EntryTag { age, .. }) = entry.extra.as_ref().and_then(|extra| extra.entry.as_ref()) else { return stored };
    let of_group = |group: Option<&str>| group.map_or(0, |group| section_len(group.len()));
    let without_place = varint_len(age.as_millis()) + 1;
    let place = varint_len(of.stream.len() as u64) + of.stream.len() + varint_len(of.offset);
    let grown = of_group(group) + section_len(without_place + place);
    stored + grown - of_group(entry.group().map(|key| &**key)) - section_len(without_place)
}

fn section_len(content: usize) -> usize {
    1 + varint_len(content as u64) + content
}

/// How many bytes a number has in postcard's format.
fn varint_len(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Reads `count` sections off the front of `content`. Returns what they say, and what follows them.
pub(in crate::storage) fn read(count: u8, content: Bytes) -> Result<(Extra, Bytes), String> {
    let (mut extra, mut rest, mut last) = (Extra::default(), content, 0);
    for _ in 0..count {
        let tag = *rest.first().ok_or("it ends before its last section")?;
        let len = postcard::take_from_bytes::<usize>(&rest[1..]).map_err(|error| error.to_string());
        let (len, behind) = len.map(|(len, behind)| (len, behind.len()))?;
        if tag <= last {
            return Err(format!("its section {tag} stands behind its section {last}"));
        }
        if len > behind {
            return Err(format!("its section {tag} is cut off"));
        }
        let from = rest.len() - behind;
        read_section(&mut extra, tag, rest.slice(from..from + len))?;
        rest = rest.slice(from + len..);
        last = tag;
    }
    Ok((extra, rest))
}

fn read_section(extra: &mut Extra, tag: u8, bytes: Bytes) -> Result<(), String> {
    match tag {
        GROUP => extra.group = Some(Arc::from(text(tag, &bytes)?)),
        DUE => extra.due = Some(row(tag, &bytes)?),
        EXPIRY => extra.expiry = Some(row(tag, &bytes)?),
        LIMITS => (extra.max_attempts, extra.backoff, extra.timeout) = row(tag, &bytes)?,
        UNIQUE_KEY => extra.unique_key = Some(text(tag, &bytes)?.to_owned()),
        HISTORY => (extra.snoozes, extra.crashes, extra.errors) = row(tag, &bytes)?,
        END => (extra.reason, extra.started_at, extra.ended_at) = row(tag, &bytes)?,
        RESULT => extra.result = Some(bytes),
        CODED_RESULT => (extra.result, extra.is_result_coded) = (Some(bytes), true),
        LINEAGE => extra.lineage = Some(row(tag, &bytes)?),
        TAGS => labels_mut(extra).tags = row(tag, &bytes)?,
        HEADERS => labels_mut(extra).headers = row(tag, &bytes)?,
        UNIQUE => (extra.unique, extra.debounced_until) = row(tag, &bytes)?,
        IDEMPOTENCY_KEY => extra.idempotency_key = Some(text(tag, &bytes)?.to_owned()),
        LOGS => extra.logs = Some(row(tag, &bytes)?),
        SCHEDULED_FOR => extra.scheduled_for = Some(row(tag, &bytes)?),
        WEIGHT => extra.weight = Some(row(tag, &bytes)?),
        BACK => extra.is_back = true,
        FLOW => extra.flow = Some(row(tag, &bytes)?),
        STEPS => extra.has_steps = true,
        UNDO => extra.undo = Some(row(tag, &bytes)?),
        ENTRY => {
            let (age, of): (_, Option<EntryOf>) = row(tag, &bytes)?;
            extra.entry = Some(of.map_or(EntryTag { age, place: None }, |of| EntryTag::of_job(age, of)));
        }
        unknown => extra.unknown.push((unknown, bytes)),
    }
    Ok(())
}

fn labels_mut(extra: &mut Extra) -> &mut Labels {
    Arc::make_mut(extra.labels.get_or_insert_default())
}

/// Whether one of the `count` sections at the front of `content` has tags, or says that the job has steps. The sections are not
/// read.
pub(in crate::storage) fn have_tags_or_steps(count: u8, content: &[u8]) -> bool {
    let mut rest = content;
    for _ in 0..count {
        let Some((&tag, behind)) = rest.split_first() else { return false };
        if tag == TAGS || tag >= STEPS {
            return tag == TAGS || tag == STEPS;
        }
        let Ok((len, behind)) = postcard::take_from_bytes::<usize>(behind) else { return false };
        let Some(next) = behind.get(len..) else { return false };
        rest = next;
    }
    false
}

/// Whether the first of the `count` sections at the front of `content` is a group: it has the lowest tag.
pub(in crate::storage) fn have_group(count: u8, content: &[u8]) -> bool {
    count > 0 && content.first() == Some(&GROUP)
}

fn text(tag: u8, bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("its section {tag} is no text: {error}"))
}

fn row<T: DeserializeOwned>(tag: u8, bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(format!("its section {tag} is longer than what it says")),
        Err(error) => Err(format!("its section {tag} cannot be read: {error}")),
    }
}

/// A list of bytes. A short one, as most are, takes no allocation.
struct Scratch {
    short: [u8; Self::SHORT],
    len: usize,
    /// All of them, once they are more.
    long: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { short: [0; Self::SHORT], len: 0, long: Vec::new() }
    }
}

impl Scratch {
    const SHORT: usize = 96;

    fn push(&mut self, bytes: &[u8]) {
        if !self.long.is_empty() {
            return self.long.extend_from_slice(bytes);
        }
        match self.short.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.long = [&self.short[..self.len], bytes].concat(),
        }
    }

    fn as_slice(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.long.is_empty() { &mut self.short[..self.len] } else { &mut self.long }
    }

    /// Puts `bytes` where one byte was.
    fn replace(&mut self, at: usize, bytes: &[u8]) {
        if self.long.is_empty() {
            self.long = self.short[..self.len].to_vec();
        }
        self.long.splice(at..=at, bytes.iter().copied());
    }
}

/// Postcard writes to it piece by piece, not byte by byte.
impl postcard::ser_flavors::Flavor for &mut Scratch {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.push(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.push(&[byte]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
