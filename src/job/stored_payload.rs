//! A payload as it is stored: as its kind's codec has written it, or as the payload codec has made it of that.

use std::ops::{Deref, DerefMut};

use super::payload::Payload;

/// A payload as it is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPayload {
    /// The payload. If it is coded, only its codec is that of the job, and its bytes are those that are stored.
    payload: Payload,
    /// Whether the payload codec has made its bytes. Only [`Coder`](super::coder::Coder) reads a coded payload.
    is_coded: bool,
}

impl From<Payload> for StoredPayload {
    fn from(payload: Payload) -> Self {
        Self { payload, is_coded: false }
    }
}

impl StoredPayload {
    pub fn new(payload: Payload, is_coded: bool) -> Self {
        Self { payload, is_coded }
    }

    pub fn is_coded(&self) -> bool {
        self.is_coded
    }
}

impl Deref for StoredPayload {
    type Target = Payload;

    fn deref(&self) -> &Payload {
        &self.payload
    }
}

impl DerefMut for StoredPayload {
    fn deref_mut(&mut self) -> &mut Payload {
        &mut self.payload
    }
}
