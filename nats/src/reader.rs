//! Reads a mailbox from a position on.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use millpond_links::{Mailbox, Read, Unavailable};

use crate::atomic;

/// How long the server waits for messages.
const WAIT: Duration = Duration::from_millis(500);

/// A fetch that takes longer has stalled: the reader is made anew.
const STALLED: Duration = Duration::from_secs(5);

/// The server forgets a reader that has not asked for so long.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A consumer of the stream that acknowledges nothing: the receiver's file has the position.
pub(crate) struct Reader {
    consumer: Consumer<Config>,
    /// The stream's sequence of the last message that was read.
    position: u64,
    /// The consumer's sequence of the same. A gap means that messages were not delivered.
    delivered: u64,
}

fn unavailable(error: &dyn std::fmt::Display) -> Unavailable {
    Unavailable(error.to_string())
}

impl Reader {
    pub async fn new(stream: &Stream, name: &str, mailbox: &Mailbox, after: u64) -> Result<Self, Unavailable> {
        let subject = |partition: &dyn std::fmt::Display| format!("{name}.job.{}.{partition}", mailbox.name());
        let filter_subjects = match mailbox.reads_all() {
            true => vec![subject(&"*")],
            false => mailbox.read().map(|partition| subject(&partition)).collect(),
        };
        let config = Config {
            ack_policy: AckPolicy::None,
            filter_subjects,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            inactive_threshold: FORGOTTEN,
            memory_storage: true,
            ..Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| unavailable(&error))?;
        Ok(Self { consumer, position: after, delivered: 0 })
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next messages, at most so many.
    pub async fn page(&mut self, stream: &Stream, max: usize) -> Result<Read, Unavailable> {
        let read = tokio::time::timeout(STALLED, self.fetch(max)).await;
        let (envelopes, behind) = read.map_err(|_| Unavailable("the reader has stalled".into()))??;
        let end = match envelopes.is_empty() {
            false => self.position,
            // The leader says where the stream ends: it may have lost what was read.
            true => stream.get_info().await.map_err(|error| unavailable(&error))?.state.last_sequence,
        };
        Ok(Read { envelopes, end, behind: Some(behind) })
    }

    /// The next messages, and how many are behind them.
    async fn fetch(&mut self, max: usize) -> Result<(Vec<(u64, millpond_links::Envelope)>, u64), Unavailable> {
        let fetch = self.consumer.fetch().max_messages(max).expires(WAIT).messages().await;
        let mut messages = fetch.map_err(|error| unavailable(&error))?;
        let (mut envelopes, mut behind) = (Vec::new(), 0);
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| unavailable(&error))?;
            let info = message.info().map_err(|error| unavailable(&error))?;
            let (sequence, delivered) = (info.stream_sequence, info.consumer_sequence);
            if delivered != self.delivered + 1 || sequence <= self.position {
                return Err(Unavailable(format!(
                    "message {delivered} was delivered behind message {}",
                    self.delivered
                )));
            }
            (self.position, self.delivered, behind) = (sequence, delivered, info.pending);
            envelopes.push((sequence, atomic::envelope(message.headers.as_ref(), message.payload.clone())));
        }
        Ok((envelopes, behind))
    }
}
