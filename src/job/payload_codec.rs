//! The payload codec: code of the application that payloads, results and error texts pass on their way into the file and
//! out of it.

use bytes::Bytes;

use crate::error::BoxError;

/// Changes the bytes of jobs on their way into the file and out of it, for example to encrypt or to compress them:
/// payloads, results, the texts of errors and reasons, and what handlers report. [`Builder::payload_codec`](crate::Builder::payload_codec) sets
/// it.
///
/// It is not the [`Codec`](crate::Codec) of a kind, which makes bytes of a value: that one comes first when a job is
/// written, and last when it is read.
///
/// # What passes the codec
///
/// - The payload, when the job is enqueued or its payload is replaced, on the thread of the caller; and when a handler
///   gets it, or somebody reads the job, on the thread that does so.
/// - The result of a handler, when the handler has returned, on the thread that ran it.
/// - The error of a failed attempt, and the reason that a handler gives for a dead letter or a cancelled job.
/// - What a handler has [logged](crate::Context::log) and reported as [progress](crate::Context::progress), all of an attempt
///   at once, when the attempt has ended.
///
/// Everything else is stored as it is: names, groups, unique keys, tags, headers, times, the reason of an operator who cancels a job, the
/// state of plugins, and the application's own tables. Events and the log of the process have the texts as they were before they passed
/// the codec.
///
/// # Errors and panics
///
/// A payload that [`encode`](Self::encode) refuses is not stored: the call returns
/// [`Error::Unencodable`](crate::Error::Unencodable). A result that it refuses fails the attempt.
///
/// A payload that [`decode`](Self::decode) refuses makes its job a dead letter with
/// [`FailureKind::Undecodable`](crate::FailureKind::Undecodable) when the job is to run. Its bytes stay as they are, so it
/// can be redriven with a codec that can read it. A listing shows such a job with
/// [`JobInfo::codec_error`](crate::JobInfo::codec_error).
///
/// A panic of the codec counts as an error.
///
/// # Changing the codec
///
/// The file stores the [`name`](Self::name) of the codec, and can be opened with a codec of that name only: otherwise
/// [`Error::OtherPayloadCodec`](crate::Error::OtherPayloadCodec). A codec that is to change, or that has a key which rotates,
/// keeps its name and tells old bytes from new ones, for example by their first byte.
///
/// A file that was written without a codec can be opened with one. What was stored before is read as it is.
///
/// ```
/// # doc_prelude::block_on(async { use doc_prelude::*;
/// # let memory = redb::backends::InMemoryBackend::new();
/// use bytes::Bytes;
///
/// /// Writes the bytes backwards: not a cipher.
/// struct Backwards;
///
/// impl PayloadCodec for Backwards {
///     fn name(&self) -> &str {
///         "backwards"
///     }
///
///     fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
///         Ok(bytes.iter().rev().copied().collect())
///     }
///
///     fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
///         Ok(bytes.iter().rev().copied().collect())
///     }
/// }
///
/// let pond = Millpond::builder().payload_codec(Backwards).open_backend(memory)?;
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// assert_eq!(pond.job(id)?.payload.decode::<Charge>()?.order, 7);
/// # Ok(()) });
/// ```
pub trait PayloadCodec: Send + Sync + 'static {
    /// The name that the file stores, to be opened only with this codec. Letters, digits and `. _ : -`, at most 128 bytes.
    fn name(&self) -> &str;

    /// Makes the bytes that are stored. They can have an eighth more bytes than the limit of what was given
    /// ([`payload_bytes_max`](crate::Builder::payload_bytes_max), [`result_bytes_max`](crate::Builder::result_bytes_max)), and
    /// 1 KiB more.
    ///
    /// It can be called on any thread, also inside of a transaction, and must not call the queue.
    ///
    /// # Errors
    /// Why these bytes cannot be stored.
    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError>;

    /// Makes of bytes that [`encode`](Self::encode) has made those that it was given.
    ///
    /// It can be called on any thread, and must not call the queue.
    ///
    /// # Errors
    /// Why these bytes cannot be read. The error is kept with the job.
    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError>;
}
