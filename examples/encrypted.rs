//! Encrypts what is stored of jobs, with a key that rotates: `cargo run --example encrypted`.
//!
//! The payload codec writes with the newest key, and reads with the key whose number is the first byte of what is stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, Generate, Key, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use millpond::testing::drain;
use millpond::{BoxError, Error, FailureKind, Job, Kind, Millpond, Outcome, PayloadCodec};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "charge", queue = "billing")]
struct Charge {
    card: String,
}

impl Charge {
    fn to(card: &str) -> Self {
        Self { card: card.to_owned() }
    }
}

/// The keys by their numbers. The one with the highest number is in use, and the others are there for what was written
/// with them.
struct Keys(BTreeMap<u8, ChaCha20Poly1305>);

type SecretKey = Key<ChaCha20Poly1305>;

const NONCE_BYTES: usize = 12;

impl Keys {
    fn new(keys: &[(u8, SecretKey)]) -> Self {
        Self(keys.iter().map(|(number, key)| (*number, ChaCha20Poly1305::new(key))).collect())
    }
}

impl PayloadCodec for Keys {
    /// The file can be opened with a codec of this name only. Its keys may change, the name may not.
    fn name(&self) -> &str {
        "chacha20poly1305"
    }

    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        let (number, cipher) = self.0.last_key_value().ok_or("there is no key")?;
        let nonce = Nonce::generate();
        let encrypted = cipher.encrypt(&nonce, &bytes[..]).map_err(|_| "the cipher has failed")?;
        Ok([&[*number], &nonce[..], &encrypted].concat().into())
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        let (number, rest) = bytes.split_first().ok_or("it is empty")?;
        let cipher = self.0.get(number).ok_or_else(|| format!("there is no key {number}"))?;
        let (nonce, encrypted) = rest.split_at_checked(NONCE_BYTES).ok_or("it is too short")?;
        let nonce = Nonce::try_from(nonce)?;
        Ok(cipher.decrypt(&nonce, encrypted).map_err(|_| "it was changed, or written with another key")?.into())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("app.redb");
    let keys = [1, 2].map(|number| (number, SecretKey::generate()));
    let open = |keys: &[(u8, SecretKey)]| Millpond::builder().payload_codec(Keys::new(keys)).open(&path);

    // Nobody who has only the file can read the card.
    let pond = open(&keys[..1])?;
    let first = pond.send(Charge::to("4111-1111-1111-1111")).await?;
    let second = pond.send(Charge::to("4222-2222-2222-2222")).await?;
    assert_eq!(pond.job(first)?.payload.decode::<Charge>()?.card, "4111-1111-1111-1111");
    close(pond).await?;
    assert!(!contains(&path, "4111-1111")? && !contains(&path, "4222-2222")?);

    // A new key: what was written with the old one is still read. The result and the reason are encrypted as well.
    let pond = open(&keys)?;
    let charge = |job: Job<Charge>| async move {
        Ok(match job.card.starts_with("4111") {
            true => Outcome::done_with(format!("receipt for {}", job.card)),
            false => Outcome::dead_letter(format!("{} is blocked", job.card)),
        })
    };
    let worker = pond.worker("billing").handle(charge).start()?;
    drain(&pond).await;
    assert_eq!(pond.job(first)?.result.as_deref(), Some(&b"receipt for 4111-1111-1111-1111"[..]));
    assert_eq!(pond.job(second)?.reason.as_deref(), Some("4222-2222-2222-2222 is blocked"));
    worker.stop().await?;
    let third = pond.send(Charge::to("4333-3333-3333-3333")).await?;
    close(pond).await?;
    assert!(!contains(&path, "receipt for")? && !contains(&path, "is blocked")? && !contains(&path, "4333-3333")?);

    // Without the old key, what was written with it cannot be read, and is not lost.
    let pond = open(&keys[1..])?;
    assert_eq!(pond.job(third)?.payload.decode::<Charge>()?.card, "4333-3333-3333-3333");
    let unreadable = pond.job(second)?;
    assert_eq!(unreadable.codec_error.as_deref(), Some("there is no key 1"));
    pond.dead_letters().redrive(second).await?;
    let worker = pond.worker("billing").handle(charge).start()?;
    drain(&pond).await;
    assert_eq!(pond.job(second)?.errors.last().map(|error| error.kind), Some(FailureKind::Undecodable));
    worker.stop().await?;
    close(pond).await?;
    assert_eq!(open(&keys)?.job(second)?.payload.decode::<Charge>()?.card, "4222-2222-2222-2222");

    // Without the codec, the file is refused by the codec's name.
    match Millpond::open(&path) {
        Err(Error::OtherPayloadCodec { stored, .. }) => assert_eq!(stored, "chacha20poly1305"),
        other => panic!("{other:?}"),
    }
    println!("the file has no card, no receipt and no reason in plain text, and each was read with its key");
    Ok(())
}

async fn close(pond: Millpond) -> Result<(), Error> {
    pond.shutdown(Duration::from_secs(5)).await
}

/// Whether the file has this text anywhere.
fn contains(path: &Path, text: &str) -> std::io::Result<bool> {
    Ok(std::fs::read(path)?.windows(text.len()).any(|bytes| bytes == text.as_bytes()))
}
