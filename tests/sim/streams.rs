//! I37: an entry that was acknowledged is in its stream, also if it was published to a topic that leads there. A consumer handles each
//! entry, and what its handler writes with its completion is stored once; the entries of a key are handled in order, also across
//! retries, crashes, moves of time and disks that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::{Binding, BoxError, Context, Error, Event, Job, JobInfo, NewJob, Retry, Transaction};
use millpond_testkit::ON_PURPOSE;
use redb::{ReadableTable, TableDefinition};

use crate::calls::Asks;
use crate::event_queue::queue_of;
use crate::oracle::Check;
use crate::paths::took;
use crate::plan::Plan;
use crate::world::World;

const STREAM: &str = "log";
/// A topic that leads to the stream only.
const TOPIC: &str = "log";
const CONSUMER: &str = "reader";
/// The queue of the consumer.
const QUEUE: &str = "log:reader";
const KIND: &str = "entry";
const KEYS: u64 = 3;

/// How often the handler's row was written, by offset.
const HANDLED: TableDefinition<u64, u64> = TableDefinition::new("handled");
/// The offset behind the last entry of each key that was handled.
const LAST: TableDefinition<u64, u64> = TableDefinition::new("last");
/// Entries that were handled out of order.
const BAD: TableDefinition<u64, u64> = TableDefinition::new("bad");

/// The entries of a world.
pub struct Entries {
    /// Of its own, so that a seed's world is otherwise the same with and without entries.
    rng: Rng,
    any: bool,
    appended: u64,
    /// The offsets and numbers of those that were acknowledged.
    acknowledged: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl Entries {
    /// A third of the worlds have entries.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x7374_7265_616D);
        let any = rng.u8(..3) == 0 && !plan.bulk;
        Self { rng, any, appended: 0, acknowledged: Arc::default() }
    }
}

/// Whether it was an entry.
pub fn is_entry(info: &JobInfo) -> bool {
    info.queue == QUEUE
}

/// Whether an event is about an entry.
pub fn is_of_streams(event: &Event) -> bool {
    queue_of(event) == Some(QUEUE)
}

fn entry(n: u64) -> NewJob {
    NewJob::raw(KIND, n.to_le_bytes().to_vec()).group(format!("key-{}", n % KEYS))
}

fn number_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload.try_into().expect("eight bytes"))
}

fn note(tx: &Transaction<'_>, offset: u64, key: u64) -> Result<(), BoxError> {
    let mut handled = tx.open_table(HANDLED)?;
    let before = handled.get(offset)?.map_or(0, |count| count.value());
    handled.insert(offset, before + 1)?;
    let mut last = tx.open_table(LAST)?;
    let before = last.get(key)?.map_or(0, |last| last.value());
    if before > offset {
        tx.open_table(BAD)?.insert(offset, before)?;
    }
    last.insert(key, offset + 1)?;
    Ok(())
}

impl World {
    /// Binds the stream to its topic.
    pub fn set_up_streams(&mut self) -> Check {
        if !self.entries.any {
            return Ok(());
        }
        let bound = self.now().pond.topic(TOPIC).unwrap().bind(Binding::to_stream(STREAM));
        self.done(async move { bound.await.map(drop) })
    }

    /// Appends an entry now and then, alone, in a transaction or through a topic, and starts the consumer if it does not run.
    pub fn append(&mut self) {
        if !self.entries.any || self.entries.rng.u8(..4) > 0 {
            return;
        }
        let open = self.now();
        let consumer = open.pond.stream(STREAM).unwrap().consumer(CONSUMER).unwrap();
        let runs = self.disk.without_faults(|| consumer.info()).is_ok_and(|info| info.running);
        if !runs || self.entries.rng.u8(..8) == 0 {
            self.start_consumer();
        }
        self.entries.appended += 1;
        let (n, way) = (self.entries.appended, self.entries.rng.u8(..6));
        let acknowledged = self.entries.acknowledged.clone();
        let pond = &self.now().pond;
        let appended: Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>> = match way {
            0..2 => Box::pin(pond.stream(STREAM).unwrap().append(entry(n))),
            4 => {
                let published = pond.topic(TOPIC).unwrap().publish("a", entry(n));
                Box::pin(async move { Ok(published.await?.entry_in(STREAM).expect("it is bound")) })
            }
            5 => {
                let published = pond.transaction(move |tx| Ok(tx.publish(TOPIC, "a", entry(n))?));
                Box::pin(async move { Ok(published.await?.entry_in(STREAM).expect("it is bound")) })
            }
            way => Box::pin(pond.transaction(move |tx| {
                let offset = tx.append(STREAM, entry(n))?;
                if way == 3 && n.is_multiple_of(2) { Err(ON_PURPOSE.into()) } else { Ok(offset) }
            })),
        };
        took("an entry was appended");
        let answer = async move {
            let offset = appended.await?;
            acknowledged.lock().unwrap().insert(offset, n);
            Ok(Vec::new())
        };
        self.push(Asks::Other, Box::pin(answer));
    }

    fn consumer(&self) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        let consumer = self
            .now()
            .pond
            .consumer(STREAM, CONSUMER)
            .concurrency(2)
            .retry(Retry::fixed(Duration::from_secs(1)).max_attempts(1_000))
            .worker(|worker| {
                worker.handle_raw(KIND, |job: Job<Bytes>, ctx: Context| async move {
                    let (n, offset) = (number_of(&job), job.entry().expect("it is an entry").offset);
                    ctx.on_complete(move |tx| note(tx, offset, n % KEYS));
                    match (n + u64::from(job.attempt())) % 5 {
                        0 if job.attempt() < 4 => Err(ON_PURPOSE.into()),
                        _ => Ok(()),
                    }
                })
            })
            .start();
        // A worker that is there already, or whose start was not durable, is no fault.
        Box::pin(async move {
            match consumer.await {
                Ok(_) | Err(Error::WorkerExists { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn start_consumer(&mut self) {
        let started = self.consumer();
        self.push(Asks::Other, Box::pin(async move { started.await.map(|()| Vec::new()) }));
    }

    /// Starts the consumer for the end of a world.
    pub fn start_last_consumer(&mut self) -> Check {
        let started = self.consumer();
        if self.entries.any { self.done(started) } else { Ok(()) }
    }

    fn entry_rows(&self, table: TableDefinition<'static, u64, u64>) -> Option<BTreeMap<u64, u64>> {
        let read = self.now().pond.begin_read().ok()?;
        let Ok(table) = read.open_table(table) else { return Some(BTreeMap::new()) };
        table.iter().ok()?.map(|row| row.ok().map(|(key, value)| (key.value(), value.value()))).collect()
    }

    /// Compares the stream and the rows of its consumer with what callers were told.
    pub fn compare_streams(&self) -> Check {
        if !self.entries.any || self.now().pond.degraded().is_some() {
            return Ok(());
        }
        let found = self.disk.without_faults(|| {
            let entries = match self.now().pond.stream(STREAM).unwrap().read(0, 10_000) {
                Ok(entries) => entries,
                Err(Error::NoSuchStream { .. }) => Vec::new(),
                Err(_) => return None,
            };
            Some((entries, self.entry_rows(HANDLED)?, self.entry_rows(BAD)?))
        });
        let Some((entries, handled, bad)) = found else { return Ok(()) };
        let there: BTreeMap<u64, u64> = entries.iter().map(|e| (e.offset, number_of(&e.payload.bytes))).collect();
        for (offset, n) in &*self.entries.acknowledged.lock().unwrap() {
            if there.get(offset) != Some(n) {
                return Err(format!("I37: entry {offset} was acknowledged as {n}, and is {:?}", there.get(offset)));
            }
        }
        if there.values().collect::<BTreeSet<_>>().len() != there.len() {
            return Err(format!("I37: an entry is in its stream twice: {there:?}"));
        }
        if let Some((offset, count)) = handled.iter().find(|(_, count)| **count != 1) {
            return Err(format!("I37: entry {offset} was handled {count} times"));
        }
        match bad.iter().next() {
            Some((offset, last)) => Err(format!("I37: entry {offset} was handled after its key had come to {last}")),
            None => Ok(()),
        }
    }

    /// Whether the consumer has come to the end of its stream.
    pub fn streams_are_over(&self) -> bool {
        if !self.entries.any {
            return true;
        }
        let consumer = self.now().pond.stream(STREAM).unwrap().consumer(CONSUMER).unwrap();
        self.disk.without_faults(|| consumer.info()).is_ok_and(|info| info.behind == 0 && info.jobs == 0)
    }

    /// What is left of the stream, for a message.
    pub fn streams_left_over(&self) -> String {
        match self.entries.any {
            true => {
                let consumer = self.now().pond.stream(STREAM).unwrap().consumer(CONSUMER).unwrap();
                format!("consumer {:?}", self.disk.without_faults(|| consumer.info()))
            }
            false => "no stream".to_owned(),
        }
    }

    /// In the end each entry was handled.
    pub fn streams_ended(&self) -> Check {
        if !self.entries.any {
            return Ok(());
        }
        self.compare_streams()?;
        let found = self.disk.without_faults(|| {
            let next = self.now().pond.stream(STREAM).unwrap().info().ok()?.next;
            Some((next, self.entry_rows(HANDLED)?))
        });
        let Some((next, handled)) = found else { return Ok(()) };
        if handled.len() as u64 != next {
            return Err(format!("I37: in the end {} of {next} entries were handled", handled.len()));
        }
        if next > 0 {
            took("a consumer came to the end of its stream");
        }
        Ok(())
    }
}
