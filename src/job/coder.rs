//! What the payload codec of a queue does with the parts of a record: payload, result and texts.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::attempt_log::{LINE_BYTES_MAX, Reported, StoredReport};
use super::codec::Codec;
use super::coded_text::{self, is_coded};
use super::payload::Payload;
use super::payload_codec::PayloadCodec;
use super::record::Record;
use super::stored_payload::StoredPayload;
use crate::error::panics::{Quiet, catch, drop_quietly, text_of};
use crate::error::{BoxError, Error};
use crate::text::cut;
use crate::time::Timestamp;

/// Coded bytes can have this share more than the limit of what was given, and [`CODED_MORE_BYTES`]: what encryption or
/// a compression that does not work adds.
const CODED_MORE_SHARE: usize = 8;

/// How many bytes more than the limit coded bytes can have in any case.
const CODED_MORE_BYTES: usize = 1 << 10;

/// The most bytes of coded bytes if the limit of what was given is `bytes_max`.
fn coded_bytes_max(bytes_max: usize) -> usize {
    bytes_max + bytes_max / CODED_MORE_SHARE + CODED_MORE_BYTES
}

/// The payload codec of a queue, or none. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Coder {
    codec: Option<Arc<Named>>,
}

struct Named {
    name: String,
    codec: Quiet<Box<dyn PayloadCodec>>,
}

/// The texts of an end before they were coded: for events and log lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndTexts {
    pub error: Option<String>,
    pub reason: Option<String>,
}

impl Coder {
    pub fn new(codec: impl PayloadCodec) -> Self {
        let name = codec.name().to_owned();
        Self { codec: Some(Arc::new(Named { name, codec: Quiet::new(Box::new(codec)) })) }
    }

    /// The name of the payload codec, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.codec.as_deref().map(|codec| codec.name.as_str())
    }

    /// Whether this codec may read and write a file that has `stored` as the name of its codec. Returns the name that the file is to
    /// have from now on, if it has none.
    ///
    /// # Errors
    /// [`Error::OtherPayloadCodec`].
    pub fn name_to_store(&self, stored: Option<String>) -> Result<Option<&str>, Error> {
        match (stored, self.name()) {
            (None, name) => Ok(name),
            (Some(stored), Some(name)) if stored == name => Ok(None),
            (Some(stored), name) => Err(Error::OtherPayloadCodec { stored, given: name.map(str::to_owned) }),
        }
    }

    pub fn is_some(&self) -> bool {
        self.codec.is_some()
    }

    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        match &self.codec {
            Some(named) => caught(|| named.codec.encode(bytes)),
            None => Ok(bytes),
        }
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        match &self.codec {
            Some(named) => caught(|| named.codec.decode(bytes)),
            None => Err("a payload codec has written it, and the queue has none".into()),
        }
    }

    // --- payloads -------------------------------------------------------------------------------

    /// The payload of a job of this kind as it is stored.
    ///
    /// # Errors
    /// [`Error::Unencodable`]; [`Error::PayloadTooLarge`] if the codec makes too many bytes of it.
    pub fn stored(&self, kind: &str, payload: Payload, payload_bytes_max: usize) -> Result<StoredPayload, Error> {
        if !self.is_some() {
            return Ok(payload.into());
        }
        let Payload { codec, bytes } = payload;
        let bytes = self.encode(bytes).map_err(|source| Error::Unencodable { kind: kind.to_owned(), source })?;
        let (len, max) = (bytes.len(), coded_bytes_max(payload_bytes_max));
        if len > max {
            return Err(Error::PayloadTooLarge { len, max });
        }
        Ok(StoredPayload::new(Payload { codec, bytes }, true))
    }

    /// The payload as it was given.
    pub fn payload<'p>(&self, stored: &'p StoredPayload) -> Result<Cow<'p, Payload>, BoxError> {
        if !stored.is_coded() {
            return Ok(Cow::Borrowed(&**stored));
        }
        Ok(Cow::Owned(Payload { codec: stored.codec, bytes: self.decode(stored.bytes.clone())? }))
    }

    /// The payload as it was given, or, beside the error, the bytes that are stored.
    pub fn payload_or_stored<'p>(&self, stored: &'p StoredPayload) -> (Cow<'p, Payload>, Option<BoxError>) {
        match self.payload(stored) {
            Ok(payload) => (payload, None),
            Err(error) => {
                let bytes = stored.bytes.clone();
                (Cow::Owned(Payload { codec: Codec::Raw, bytes }), Some(error))
            }
        }
    }

    // --- results --------------------------------------------------------------------------------

    /// The result as it is stored.
    ///
    /// # Errors
    /// What the codec says, or that it makes too many bytes of a result whose limit is `result_bytes_max`.
    pub fn coded_result(&self, result: Bytes, result_bytes_max: usize) -> Result<Bytes, BoxError> {
        if !self.is_some() {
            return Ok(result);
        }
        // A plugin's result has another limit.
        let max = coded_bytes_max(result_bytes_max.max(result.len()));
        let coded = self.encode(result)?;
        match coded.len() {
            len if len > max => Err(format!("the payload codec has made {len} bytes of it, the limit is {max}").into()),
            _ => Ok(coded),
        }
    }

    /// The result as the handler returned it.
    pub fn result(&self, stored: Bytes, is_coded: bool) -> Result<Bytes, BoxError> {
        if is_coded { self.decode(stored) } else { Ok(stored) }
    }

    // --- what attempts report ---------------------------------------------------------------------

    /// What an attempt has reported, as it is stored. `now` is the time of the line that is stored instead if it cannot be coded.
    pub fn stored_report(&self, reported: Reported, now: Timestamp) -> StoredReport {
        if !self.is_some() {
            return StoredReport::Plain(reported);
        }
        let bytes = postcard::to_stdvec(&reported).expect("it is plain data");
        let max = coded_bytes_max(bytes.len());
        let coded = self.encode(bytes.into()).map_err(told_by).and_then(|coded| match coded.len() {
            len if len > max => Err(format!("it has made {len} bytes of it, the limit is {max}")),
            _ => Ok(coded),
        });
        match coded {
            Ok(coded) => StoredReport::Coded(coded.into()),
            Err(error) => {
                let text = format!("the payload codec could not write this log: {error}");
                StoredReport::Plain(Reported::of_line(now, cut(text, LINE_BYTES_MAX)))
            }
        }
    }

    /// What an attempt has reported, as it was before it was stored. `at` is the time of the line that stands for what cannot be
    /// read.
    pub fn report(&self, stored: &StoredReport, at: Timestamp) -> Reported {
        let read = match stored {
            StoredReport::Plain(reported) => return reported.clone(),
            StoredReport::Coded(bytes) => self
                .decode(bytes.clone().into())
                .and_then(|bytes| Ok(postcard::from_bytes(&bytes).map_err(|_| "it is not what was stored")?)),
        };
        let unread = |error| format!("the payload codec could not read this log: {}", told_by(error));
        read.unwrap_or_else(|error| Reported::of_line(at, unread(error)))
    }

    // --- texts ----------------------------------------------------------------------------------

    /// Codes what the end of an attempt has added to the record that was `before`: an error, a reason. A result is coded already,
    /// which is noted. Returns the last error and the reason as they were; `None` without a codec.
    pub fn code_end(&self, record: &mut Record, before: &Record) -> Option<Box<EndTexts>> {
        if !self.is_some() {
            return None;
        }
        let before = before.extra.as_deref();
        let mut texts = EndTexts::default();
        if let Some(extra) = record.extra.as_deref_mut() {
            extra.is_result_coded = extra.result.is_some();
            let is_new = extra.errors.last() != before.and_then(|before| before.errors.last());
            texts.error = extra.errors.last_mut().map(|error| self.code_text(&mut error.message, is_new));
            let is_new = extra.reason.as_ref() != before.and_then(|before| before.reason.as_ref());
            texts.reason = extra.reason.as_mut().map(|reason| self.code_text(reason, is_new));
        }
        Some(Box::new(texts))
    }

    /// Codes the text if it is new. Returns it as it is read.
    fn code_text(&self, text: &mut String, is_new: bool) -> String {
        if !is_new {
            return self.text(text).into_owned();
        }
        let coded = match self.encode(text.clone().into()) {
            Ok(bytes) => coded_text::write(&bytes),
            Err(error) => Err(format!("the payload codec could not write this text: {}", told_by(error))),
        };
        std::mem::replace(text, coded.unwrap_or_else(|instead| instead))
    }

    /// A stored text as it was before it was coded, if it was.
    pub fn text<'t>(&self, stored: &'t str) -> Cow<'t, str> {
        if !self.is_some() || !is_coded(stored) {
            return Cow::Borrowed(stored);
        }
        let read = coded_text::read(stored)
            .ok_or_else(|| "it is not what was stored".into())
            .and_then(|bytes| self.decode(bytes))
            .and_then(|bytes| Ok(String::from_utf8(bytes.into())?));
        let unread = |error| format!("the payload codec could not read this text: {}", told_by(error));
        Cow::Owned(read.unwrap_or_else(unread))
    }

    /// Changes the texts of the record to what they were before they were coded.
    pub fn read_texts(&self, record: &mut Record) {
        if !self.is_some() {
            return;
        }
        let Some(extra) = record.extra.as_deref_mut() else { return };
        for text in extra.errors.iter_mut().map(|error| &mut error.message).chain(&mut extra.reason) {
            if let Cow::Owned(read) = self.text(text) {
                *text = read;
            }
        }
    }
}

/// What the error of a codec says. Both making the text and dropping the error run code of the application.
fn told_by(error: BoxError) -> String {
    let text = text_of(&*error);
    drop_quietly(error);
    text
}

/// Calls the codec. A panic is an error.
fn caught(call: impl FnOnce() -> Result<Bytes, BoxError>) -> Result<Bytes, BoxError> {
    catch(call).unwrap_or_else(|panic| Err(format!("the payload codec panicked: {}", panic.text()).into()))
}

impl std::fmt::Debug for Coder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Coder").field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::AttemptError;

    /// Adds a byte in front, and refuses what does not begin with it. It panics if it is given "panic", and makes too much of
    /// "bomb".
    struct Marked;

    impl PayloadCodec for Marked {
        fn name(&self) -> &str {
            "marked"
        }

        fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
            match &bytes[..] {
                b"panic" => panic!("on purpose"),
                b"bomb" => Ok(vec![7; 1 << 20].into()),
                bytes => Ok([&[7], bytes].concat().into()),
            }
        }

        fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
            match bytes.first() {
                Some(7) => Ok(bytes.slice(1..)),
                _ => Err("not marked".into()),
            }
        }
    }

    fn failed(record: &mut Record, message: &str) {
        let error = AttemptError::new(
            1,
            crate::job::FailureKind::Error,
            message.to_owned(),
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        );
        record.extra_mut().push_error(error);
    }

    #[test]
    fn without_a_codec_everything_is_as_it_was_given() {
        let none = Coder::default();
        let stored = none.stored("k", Payload::raw("x"), 1).unwrap();
        assert!(!stored.is_coded());
        assert!(matches!(none.payload(&stored), Ok(Cow::Borrowed(payload)) if *payload == Payload::raw("x")));
        let mut record = Record::plain();
        failed(&mut record, "boom");
        let before = record.clone();
        assert!(none.code_end(&mut record, &Record::plain()).is_none());
        assert_eq!(record, before);
    }

    #[test]
    fn a_coded_payload_is_read_by_its_codec_only() {
        let coder = Coder::new(Marked);
        let stored = coder.stored("k", Payload::raw("x"), 1).unwrap();
        assert_eq!((stored.is_coded(), &stored.bytes[..]), (true, &[7, b'x'][..]));
        assert_eq!(*coder.payload(&stored).unwrap(), Payload::raw("x"));
        assert!(Coder::default().payload(&stored).is_err());
        let damaged = StoredPayload::new(Payload { codec: Codec::Json, bytes: "x".into() }, true);
        let (shown, error) = coder.payload_or_stored(&damaged);
        assert_eq!((shown.into_owned(), error.unwrap().to_string()), (Payload::raw("x"), "not marked".to_owned()));
    }

    #[test]
    fn a_codec_that_panics_or_makes_too_much_refuses_the_payload() {
        let coder = Coder::new(Marked);
        let panicked = coder.stored("k", Payload::raw("panic"), 10);
        assert!(
            matches!(panicked, Err(Error::Unencodable { source, .. }) if source.to_string().contains("on purpose"))
        );
        let too_large = coder.stored("k", Payload::raw("bomb"), 800);
        assert!(matches!(too_large, Err(Error::PayloadTooLarge { len: 0x10_0000, max: 1_924 })), "{too_large:?}");
        assert!(coder.coded_result("bomb".into(), 4).is_err());
    }

    #[test]
    fn the_texts_of_an_end_are_coded_once_and_read_back() {
        let coder = Coder::new(Marked);
        let mut record = Record::plain();
        failed(&mut record, "plain from before");
        let before = record.clone();
        failed(&mut record, "secret");
        record.extra_mut().reason = Some("also secret".into());
        let texts = coder.code_end(&mut record, &before).unwrap();
        assert_eq!((texts.error.as_deref(), texts.reason.as_deref()), (Some("secret"), Some("also secret")));
        let stored = record.clone();
        let again = coder.code_end(&mut record, &stored).unwrap();
        assert_eq!((again.error, &record), (Some("secret".to_owned()), &stored), "not coded twice");
        let extra = record.extra.as_deref().unwrap();
        assert!(!format!("{extra:?}").contains("secret"));

        coder.read_texts(&mut record);
        let extra = record.extra.as_deref().unwrap();
        let messages: Vec<_> = extra.errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!((messages, extra.reason.as_deref()), (vec!["plain from before", "secret"], Some("also secret")));
    }

    #[test]
    fn what_an_attempt_reports_is_coded_as_a_whole_and_read_back() {
        let (coder, now) = (Coder::new(Marked), Timestamp::from_millis(7));
        let said = Reported::of_line(now, "secret".into());
        let coded = coder.stored_report(said.clone(), now);
        assert!(matches!(&coded, StoredReport::Coded(bytes) if bytes[0] == 7), "{coded:?}");
        assert_eq!(coder.report(&coded, now), said);
        assert_eq!(Coder::default().stored_report(said.clone(), now), StoredReport::Plain(said.clone()));
        assert_eq!(coder.report(&StoredReport::Plain(said.clone()), now), said, "from before there was a codec");
        let texts = [
            (StoredReport::Coded(vec![1]), "not marked"),
            (StoredReport::Coded(vec![7, 0xff]), "it is not what was stored"),
        ];
        for (stored, why) in texts {
            let read = coder.report(&stored, now);
            assert_eq!(read, Reported::of_line(now, format!("the payload codec could not read this log: {why}")));
        }
    }

    #[test]
    fn a_text_that_cannot_be_coded_or_read_says_so() {
        let coder = Coder::new(Marked);
        let mut record = Record::plain();
        failed(&mut record, "panic");
        let texts = coder.code_end(&mut record, &Record::plain()).unwrap();
        assert_eq!(texts.error.as_deref(), Some("panic"));
        let message = &record.extra.as_deref().unwrap().errors[0].message;
        assert_eq!(message, "the payload codec could not write this text: the payload codec panicked: on purpose");

        let other = coded_text::write(b"x").unwrap();
        assert_eq!(coder.text(&other), "the payload codec could not read this text: not marked");
        let cut = &other[..other.len() - 1];
        assert!(coder.text(cut).starts_with("the payload codec could not read this text"));
    }
}
