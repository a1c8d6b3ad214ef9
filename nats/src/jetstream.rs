//! JetStream as a log.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use millpond_links::{
    Append, Batch, Cursor, Destination, InDoubt, Limits, Log, Mailbox, Origin, Read, SharedQueue, Unavailable,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::atomic;
use crate::connect::Connect;
use crate::error::Error;
use crate::reader::Reader;
use crate::stream::{self, Use};

/// What a message has beside a job's headers and payload: the headers of an atomic batch.
const OVERHEAD: usize = 512;

/// The most bytes of a message of a server whose settings are not known yet: NATS's default.
const PAYLOAD_DEFAULT: usize = 1 << 20;

/// Jobs in an atomic batch. The server takes 1,000 messages, and the last one is the cursor.
const BATCH_MAX: usize = 900;

/// Mailboxes in a stream of a NATS server. Clones use the same connection, which is made anew when it is lost.
#[derive(Clone)]
pub struct JetStream {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: async_nats::Client,
    context: async_nats::jetstream::Context,
    name: String,
    replicas: usize,
    /// The stream of mailboxes and that of shared queues, once the server and the stream were found to be good. A call that fails
    /// forgets its stream, which the next one checks, and makes if it is not there.
    streams: [Mutex<Option<Stream>>; 2],
    /// By shared queue and lease in milliseconds.
    pub(crate) takers: Mutex<HashMap<(String, u128), Consumer<pull::Config>>>,
    payload_max: AtomicUsize,
    /// By mailbox and partitions.
    readers: Mutex<HashMap<String, Arc<Mutex<Option<Reader>>>>>,
}

/// The cursor of an origin, as it is in its message.
#[derive(Serialize, Deserialize)]
struct StoredCursor {
    batch: u64,
    hash: u32,
    ids: Vec<u64>,
}

impl JetStream {
    /// Connects to a server, or to several of a cluster: their addresses with commas between them.
    pub fn connect(address: &str) -> Connect {
        Connect::to(address)
    }

    /// The connection, and the name of the stream.
    pub(crate) fn core(&self) -> (&async_nats::Client, &str) {
        (&self.inner.client, &self.inner.name)
    }

    pub(crate) fn new(client: async_nats::Client, name: String, replicas: usize) -> Self {
        let context = async_nats::jetstream::new(client.clone());
        let inner = Inner {
            client,
            context,
            name,
            replicas,
            streams: Default::default(),
            takers: Mutex::default(),
            payload_max: AtomicUsize::new(PAYLOAD_DEFAULT),
            readers: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits for the server's answer, and checks it and the stream, which is made if it is not there. A link does the same with its
    /// first call, and tries again if the server cannot be used.
    ///
    /// # Errors
    /// [`Error::NotConnected`] after five seconds, [`Error::ServerTooOld`], [`Error::MessagesTooSmall`], [`Error::Misconfigured`],
    /// [`Error::Unavailable`].
    pub async fn check(&self) -> Result<(), Error> {
        self.inner.stream(Use::Mailboxes).await.map(drop)
    }
}

impl Inner {
    /// The stream for this use.
    pub(crate) async fn stream(&self, used_for: Use) -> Result<Stream, Error> {
        let mut known = self.streams[used_for as usize].lock().await;
        if let Some(stream) = &*known {
            return Ok(stream.clone());
        }
        let name = self.name_of(used_for);
        let checked = stream::check(&self.client, &self.context, &name, self.replicas, used_for).await?;
        self.payload_max.store(self.client.server_info().max_payload, Ordering::Relaxed);
        Ok(known.insert(checked).clone())
    }

    /// A call has failed: the stream may be gone.
    pub(crate) async fn forget(&self, used_for: Use) {
        *self.streams[used_for as usize].lock().await = None;
    }

    /// The name of a stream, with which its subjects begin.
    fn name_of(&self, used_for: Use) -> Cow<'_, str> {
        match used_for {
            Use::Mailboxes => (&*self.name).into(),
            Use::Shared => format!("{}-SHARED", self.name).into(),
        }
    }

    fn subject_of_cursor(&self, to: &Destination, of: &Origin) -> String {
        let stream = self.name_of(Use::of(to));
        format!("{stream}.cursor.{}.{of}", to.name())
    }

    /// The subject of jobs in a shared queue.
    pub(crate) fn subject_of_shared(&self, queue: &SharedQueue) -> String {
        format!("{}.job.{}", self.name_of(Use::Shared), queue.name())
    }
}

pub(crate) fn unavailable(error: &dyn std::fmt::Display) -> Unavailable {
    Unavailable(error.to_string())
}

impl Log for JetStream {
    fn name(&self) -> String {
        "NATS JetStream".to_owned()
    }

    fn limits(&self) -> Limits {
        Limits::new(self.inner.payload_max.load(Ordering::Relaxed).saturating_sub(OVERHEAD), BATCH_MAX)
    }

    async fn cursor(&self, to: &Destination, of: &Origin) -> Result<Option<Cursor>, Unavailable> {
        let used_for = Use::of(to);
        let stream = self.inner.stream(used_for).await.map_err(|error| unavailable(&error))?;
        // The leader answers this, so it is never older than what was acknowledged. A direct get can be.
        let subject = self.inner.subject_of_cursor(to, of);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let stored: StoredCursor =
                    serde_json::from_slice(&message.payload).map_err(|error| unavailable(&error))?;
                let StoredCursor { batch, hash, ids } = stored;
                Ok(Some(Cursor { batch, ids, hash, revision: message.sequence }))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => {
                self.inner.forget(used_for).await;
                Err(unavailable(&error))
            }
        }
    }

    async fn append(&self, to: &Destination, of: &Origin, expected: u64, batch: Batch<'_>) -> Result<Append, InDoubt> {
        let used_for = Use::of(to);
        self.inner.stream(used_for).await.map_err(|error| InDoubt(error.to_string()))?;
        let Batch { number, ids, hash, envelopes } = batch;
        let stored = StoredCursor { batch: number, hash, ids: ids.to_vec() };
        let cursor = serde_json::to_vec(&stored).map_err(|error| InDoubt(error.to_string()))?;
        let mut messages = Vec::with_capacity(envelopes.len() + 1);
        for envelope in envelopes {
            let subject = match to {
                Destination::Mailbox(to) => format!("{}.job.{}.{}", self.inner.name, to.name(), envelope.partition),
                Destination::Shared(to) => self.inner.subject_of_shared(to),
            };
            messages.push((subject, atomic::headers(envelope), envelope.payload.clone()));
        }
        let subject = self.inner.subject_of_cursor(to, of);
        messages.push((subject, atomic::headers_of_cursor(expected), cursor.into()));
        let stored = atomic::publish(&self.inner.client, messages).await;
        if stored.is_err() {
            self.inner.forget(used_for).await;
        }
        stored
    }

    async fn read(&self, mailbox: &Mailbox, after: u64, max: usize) -> Result<Read, Unavailable> {
        let stream = self.inner.stream(Use::Mailboxes).await.map_err(|error| unavailable(&error))?;
        let reader = {
            let mut readers = self.inner.readers.lock().await;
            let partitions = mailbox.read();
            readers.entry(format!("{}/{partitions:?}", mailbox.name())).or_default().clone()
        };
        let mut reader = reader.lock().await;
        let going_on = reader.take().filter(|reader| reader.position() == after);
        let mut current = match going_on {
            Some(current) => current,
            None => match Reader::new(&stream, &self.inner.name, mailbox, after).await {
                Ok(new) => new,
                Err(error) => {
                    self.inner.forget(Use::Mailboxes).await;
                    return Err(error);
                }
            },
        };
        // A reader whose page was not read to its end is made anew.
        let page = current.page(&stream, max).await?;
        *reader = Some(current);
        Ok(page)
    }
}
