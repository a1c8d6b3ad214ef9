//! What counts as a handler.

use crate::error::{Error, Result};
use crate::payload::{Payload, Reply};

/// A function that handles jobs: `fn(P) -> Result<R, E>` or `fn() -> Result<R, E>`, with a [`Payload`] and a [`Reply`].
///
/// `Shape` only tells the two apart; nobody needs to name it.
#[diagnostic::on_unimplemented(
    message = "this is not a handler",
    label = "not `fn(Payload) -> Result<Reply>`",
    note = "a handler takes one argument, which serde can read, or none, and returns `millpond_guest::Result` of what serde can write"
)]
pub trait Handler<Shape> {
    /// Runs it on a job's payload.
    ///
    /// # Errors
    /// Its own, and a dead letter where the payload cannot be read.
    fn call(&self, payload: Vec<u8>) -> Result<Vec<u8>>;
}

impl<F, P, R, E> Handler<(P, R, E)> for F
where
    F: Fn(P) -> Result<R, E>,
    P: Payload,
    R: Reply,
    E: Into<Error>,
{
    fn call(&self, payload: Vec<u8>) -> Result<Vec<u8>> {
        self(P::from_bytes(payload)?).map_err(Into::into)?.into_bytes()
    }
}

impl<F, R, E> Handler<(R, E)> for F
where
    F: Fn() -> Result<R, E>,
    R: Reply,
    E: Into<Error>,
{
    fn call(&self, _: Vec<u8>) -> Result<Vec<u8>> {
        self().map_err(Into::into)?.into_bytes()
    }
}

/// Makes a native build refuse what the build for WebAssembly would refuse.
#[cfg(not(target_arch = "wasm32"))]
pub fn is_handler<Shape>(_: impl Handler<Shape>) {}
