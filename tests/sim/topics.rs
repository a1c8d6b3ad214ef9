//! I36: a message is in each queue and each stream that is bound to its topic, once, or in none, whatever dies when and whatever else
//! is bound.
//!
//! The two queues have no worker, and nothing else is in them or in the stream: the messages are there until the end.

use std::collections::BTreeSet;

use fastrand::Rng;
use millpond::{Binding, Error, Event, JobFilter, JobInfo, NewJob};

use crate::oracle::Check;
use crate::paths::took;
use crate::plan::Plan;
use crate::world::World;

const COPIES: [&str; 2] = ["copy-a", "copy-b"];
/// The stream that gets each message.
const LOG: &str = "copies";
const TOPIC: &str = "copies";

/// The messages of a world.
pub struct Messages {
    /// Of its own, so that a seed's world is otherwise the same with and without messages.
    rng: Rng,
    any: bool,
    published: u64,
}

impl Messages {
    /// A third of the worlds have messages.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x746F_7069_6373);
        let any = rng.u8(..3) == 0 && !plan.bulk;
        Self { rng, any, published: 0 }
    }
}

/// Whether it is a message.
pub fn is_message(info: &JobInfo) -> bool {
    COPIES.contains(&info.queue.as_str())
}

/// Whether an event is about a message.
pub fn is_of_topics(event: &Event) -> bool {
    match event {
        Event::Enqueued { queue, .. } => COPIES.contains(&&**queue),
        Event::Unrouted { .. } => true,
        _ => false,
    }
}

impl World {
    /// Binds the queues and the stream, in one commit.
    pub fn set_up_topics(&mut self) -> Check {
        if !self.messages.any {
            return Ok(());
        }
        let bound = self.now().pond.transaction(|tx| {
            tx.bind(TOPIC, Binding::to(COPIES[0]).key("#"))?;
            tx.bind(TOPIC, Binding::to(COPIES[1]))?;
            tx.bind(TOPIC, Binding::to_stream(LOG))?;
            Ok(())
        });
        self.done(bound)
    }

    /// Publishes a message now and then, alone or in a transaction, which can also make or remove a binding that leads to a queue
    /// or the stream, which get all messages already.
    pub fn publish(&mut self) {
        if !self.messages.any || self.messages.rng.u8(..6) > 0 {
            return;
        }
        self.messages.published += 1;
        let (n, rng) = (self.messages.published, &mut self.messages.rng);
        let (key, way) = (["", "a", "a.b"][rng.usize(..3)], rng.u8(..5));
        let message = move || NewJob::raw("message", n.to_le_bytes().to_vec());
        let overlapping =
            move || if n.is_multiple_of(2) { Binding::to(COPIES[0]) } else { Binding::to_stream(LOG) }.key("a.#");
        took("a message was published");
        match way {
            0..=1 => {
                let published = self.now().pond.topic(TOPIC).unwrap().publish(key, message());
                self.ask_for_nothing(published);
            }
            way => {
                let published = self.now().pond.transaction(move |tx| {
                    match way {
                        2 => drop(tx.bind(TOPIC, overlapping())?),
                        3 => drop(tx.unbind(TOPIC, overlapping())?),
                        _ => {}
                    }
                    let published = tx.publish(TOPIC, key, message())?;
                    if way == 4 && n.is_multiple_of(2) {
                        return Err(millpond_testkit::ON_PURPOSE.into());
                    }
                    Ok(published)
                });
                self.ask_for_nothing(published);
            }
        }
    }

    /// Compares the queues and the stream.
    pub fn compare_topics(&self) -> Check {
        if !self.messages.any || self.now().pond.degraded().is_some() {
            return Ok(());
        }
        let Some(copies) = self.disk.without_faults(|| self.copies()) else { return Ok(()) };
        let distinct: Vec<BTreeSet<_>> = copies.iter().map(|copy| copy.iter().cloned().collect()).collect();
        if distinct.iter().zip(&copies).any(|(distinct, copy)| distinct.len() != copy.len()) {
            return Err(format!("I36: a queue or the stream has a message twice: {copies:?}"));
        }
        for copy in &distinct[1..] {
            if let Some(message) = distinct[0].symmetric_difference(copy).next() {
                return Err(format!("I36: message {message:?} is not everywhere or nowhere: {copies:?}"));
            }
        }
        Ok(())
    }

    /// The payloads in each of the queues, and in the stream.
    fn copies(&self) -> Option<Vec<Vec<Vec<u8>>>> {
        let mut copies = Vec::new();
        for queue in COPIES {
            let (mut payloads, mut cursor) = (Vec::new(), None);
            loop {
                let page = self.now().pond.jobs(&JobFilter::new().queue(queue), cursor, 1_000).ok()?;
                payloads.extend(page.jobs.into_iter().map(|job| job.payload.bytes.to_vec()));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            copies.push(payloads);
        }
        let entries = match self.now().pond.stream(LOG).unwrap().read(0, 10_000) {
            Ok(entries) => entries,
            Err(Error::NoSuchStream { .. }) => Vec::new(),
            Err(_) => return None,
        };
        if !entries.is_empty() {
            took("a message was in a stream");
        }
        copies.push(entries.into_iter().map(|entry| entry.payload.bytes.to_vec()).collect());
        Some(copies)
    }
}
