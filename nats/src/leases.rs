//! JetStream as an engine of shared queues.
//!
//! A shared queue is a subject of a stream with the retention `workqueue`, and one durable consumer from which all machines fetch. A
//! lease is a message that is not acknowledged yet. The server confirms an extension also if it does not know the lease any more, so
//! [`Held::Lost`] is not always said: a machine that was cut off finds out by its own clock.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, Consumer};
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use millpond_links::{Ended, Held, InDoubt, Lease, LeaseId, Leased, SharedQueue, Unavailable};

use crate::JetStream;
use crate::atomic;
use crate::error::Error;
use crate::jetstream::unavailable;
use crate::stream::Use;

/// How long the server waits for messages.
const WAIT: Duration = Duration::from_millis(500);

/// How long a call about a lease waits for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A fetch that takes longer has stalled: the next one asks anew.
const STALLED: Duration = Duration::from_secs(5);

/// How many jobs of a shared queue all machines together hold at most.
const HELD_MAX: i64 = 100_000;

impl JetStream {
    /// The consumer of a shared queue, which is made if it is not there.
    async fn taker(&self, queue: &SharedQueue, lease: Duration) -> Result<Consumer<Config>, Error> {
        let mut takers = self.inner.takers.lock().await;
        let key = (queue.name().to_owned(), lease.as_millis());
        if let Some(taker) = takers.get(&key) {
            return Ok(taker.clone());
        }
        let stream = self.inner.stream(Use::Shared).await?;
        let config = Config {
            durable_name: Some(queue.name().to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease,
            filter_subject: self.inner.subject_of_shared(queue),
            max_ack_pending: HELD_MAX,
            ..Config::default()
        };
        let taker = match stream.create_consumer_strict(config).await {
            Ok(taker) => taker,
            Err(error) if is_taken(&error) => self.other_taker(queue, lease).await?,
            Err(error) => return Err(Error::Unavailable(error.to_string())),
        };
        takers.insert(key, taker.clone());
        Ok(taker)
    }

    /// The consumer that is there and that differs from what is wanted here.
    async fn other_taker(&self, queue: &SharedQueue, lease: Duration) -> Result<Consumer<Config>, Error> {
        let unavailable = |error: &dyn std::fmt::Display| Error::Unavailable(error.to_string());
        let stream = self.inner.stream(Use::Shared).await?;
        let taker: Consumer<Config> = stream.get_consumer(queue.name()).await.map_err(|error| unavailable(&error))?;
        let has = taker.cached_info().config.ack_wait;
        match has == lease {
            true => Ok(taker),
            false => Err(Error::OtherLease { queue: queue.name().to_owned(), has, wanted: lease }),
        }
    }

    /// Sends the same words about each of these leases. Returns whether each was answered. A server that was killed can have forgotten
    /// that it has handed a job out, and then answers nothing about it.
    async fn tell(&self, held: &[LeaseId], words: Bytes) -> Vec<bool> {
        let calls = held.iter().map(|id| {
            let (client, words) = (&self.inner.client, words.clone());
            async move {
                let answer = tokio::time::timeout(ANSWER_MAX, client.request(id.token.clone(), words)).await;
                matches!(answer, Ok(Ok(_)))
            }
        });
        join_all(calls).await
    }

    /// Whether the server answers at all.
    async fn is_there(&self) -> Result<(), Unavailable> {
        let stream = self.inner.stream(Use::Shared).await.map_err(|error| unavailable(&error))?;
        stream.get_info().await.map(drop).map_err(|error| unavailable(&error))
    }

    /// Removes a job that has ended, and about whose lease the server knows nothing.
    async fn remove(&self, id: &LeaseId) -> Result<Ended, Unavailable> {
        let stream = self.inner.stream(Use::Shared).await.map_err(|error| unavailable(&error))?;
        match stream.get_raw_message(id.job).await {
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(Ended::Lost),
            Err(error) => Err(unavailable(&error)),
            // The server has an older store, and the number is that of another job.
            Ok(message) if Some(message.time.unix_timestamp_nanos()) != stored_at(&id.token) => Ok(Ended::Lost),
            Ok(_) => match stream.delete_message(id.job).await {
                Ok(_) => Ok(Ended::Ended),
                Err(error) => Err(unavailable(&error)),
            },
        }
    }
}

/// When the job was stored, in nanoseconds since the Unix epoch, as the subject of its acknowledgement says: it ends with the numbers of
/// deliveries, of the message in the stream and in the consumer, the time, and how many messages are pending.
fn stored_at(token: &str) -> Option<i128> {
    token.rsplit('.').nth(1)?.parse().ok()
}

/// Whether a consumer of that name is there, with other settings.
fn is_taken(error: &async_nats::jetstream::stream::ConsumerCreateStrictError) -> bool {
    use async_nats::jetstream::stream::ConsumerCreateStrictErrorKind as Kind;
    match error.kind() {
        Kind::AlreadyExists => true,
        Kind::JetStream(error) => error.error_code() == ErrorCode::CONSUMER_ALREADY_EXISTS,
        _ => false,
    }
}

impl Lease for JetStream {
    async fn take(
        &self,
        queue: &SharedQueue,
        _owner: &str,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Leased>, Unavailable> {
        let taker = self.taker(queue, lease).await.map_err(|error| unavailable(&error))?;
        let fetch = async {
            let fetch = taker.fetch().max_messages(max).expires(WAIT).messages().await;
            leased(fetch.map_err(|error| unavailable(&error))?).await
        };
        let fetched = tokio::time::timeout(STALLED, fetch).await;
        let fetched = fetched.unwrap_or_else(|_| Err(Unavailable("the fetch has stalled".into())));
        if fetched.is_err() {
            self.inner.takers.lock().await.clear();
            self.inner.forget(Use::Shared).await;
        }
        fetched
    }

    async fn extend(&self, _: &SharedQueue, held: &[LeaseId], _: Duration) -> Result<Vec<Held>, Unavailable> {
        let answered = self.tell(held, Bytes::from_static(b"+WPI")).await;
        if !answered.contains(&true) {
            self.is_there().await?;
        }
        let of = |answered: bool| if answered { Held::Yours } else { Held::Lost };
        Ok(answered.into_iter().map(of).collect())
    }

    async fn end(&self, _: &SharedQueue, ended: &[LeaseId]) -> Result<Vec<Ended>, InDoubt> {
        let answered = self.tell(ended, Bytes::from_static(b"+ACK")).await;
        let mut all = Vec::with_capacity(ended.len());
        for (id, answered) in ended.iter().zip(answered) {
            all.push(match answered {
                true => Ended::Ended,
                false => self.remove(id).await.map_err(|error| InDoubt(error.0))?,
            });
        }
        Ok(all)
    }

    async fn give_back(&self, _: &SharedQueue, held: &[LeaseId], after: Duration) -> Result<(), Unavailable> {
        let words = match after.as_nanos() {
            0 => "-NAK".to_owned(),
            delay => format!("-NAK {{\"delay\": {delay}}}"),
        };
        match self.tell(held, words.into()).await.contains(&true) {
            true => Ok(()),
            false => self.is_there().await,
        }
    }
}

async fn leased(mut batch: async_nats::jetstream::consumer::pull::Batch) -> Result<Vec<Leased>, Unavailable> {
    let mut all = Vec::new();
    while let Some(message) = batch.next().await {
        let message = message.map_err(|error| unavailable(&error))?;
        let info = message.info().map_err(|error| unavailable(&error))?;
        let (job, delivery) = (info.stream_sequence, u32::try_from(info.delivered).unwrap_or(u32::MAX));
        let Some(token) = message.reply.as_ref().map(ToString::to_string) else {
            return Err(Unavailable("a message has no subject for its acknowledgement".into()));
        };
        let envelope = atomic::envelope(message.headers.as_ref(), message.payload.clone());
        all.push(Leased { id: LeaseId { job, token }, delivery, envelope });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_job_is_read_from_the_subject_of_its_acknowledgement() {
        let short = "$JS.ACK.MP-SHARED.thumbnails.1.589.448.1796112549286348525.256";
        assert_eq!(stored_at(short), Some(1_796_112_549_286_348_525));
        let nonsense = ["", "a.b", "a.1x.2", "1"];
        assert_eq!(nonsense.map(stored_at), [None; 4]);
    }
}
