//! What a plugin has appended to the streams and published to the topics that it is granted.

use std::collections::BTreeSet;

use millpond::{Binding, Millpond, StreamSettings};

use super::report;
use crate::Result;

/// The entries that are read at once.
const PAGE_ENTRIES: usize = 1_000;

/// Streams that the plugin appends to, and streams that are bound to the topics that it publishes to.
pub struct Sent {
    heard: Vec<Heard>,
}

struct Heard {
    how: &'static str,
    /// The stream or the topic.
    name: String,
    stream: String,
    /// The first entry that was not reported.
    next: u64,
}

impl Sent {
    /// Makes these streams and topics.
    pub async fn listen(pond: &Millpond, streams: BTreeSet<String>, topics: BTreeSet<String>) -> Result<Self> {
        let mut heard = Vec::new();
        for stream in streams {
            pond.stream(&stream)?.configure(StreamSettings::default()).await?;
            heard.push(Heard { how: "appended", name: stream.clone(), stream, next: 0 });
        }
        for (n, topic) in topics.into_iter().enumerate() {
            let stream = format!("run:topic:{n}");
            pond.topic(&topic)?.bind(Binding::to_stream(stream.clone())).await?;
            heard.push(Heard { how: "published", name: topic, stream, next: 0 });
        }
        Ok(Self { heard })
    }

    /// Prints what has come since the last call.
    pub fn report(&mut self, pond: &Millpond) -> Result<()> {
        for Heard { how, name, stream, next } in &mut self.heard {
            let (mut new, stream) = (Vec::new(), pond.stream(stream)?);
            loop {
                let page = stream.read(*next, PAGE_ENTRIES)?;
                let Some(last) = page.last() else { break };
                *next = last.offset + 1;
                new.extend(page);
            }
            report::sent(how, name, &new);
        }
        Ok(())
    }
}
