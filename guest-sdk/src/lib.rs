//! Write a handler for the [Millpond](https://docs.rs/millpond) job queue that runs in a sandbox, in one function:
//!
//! ```
//! use millpond_guest::Result;
//!
//! #[derive(serde::Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! #[millpond_guest::handler]
//! fn greet(job: Greet) -> Result<String> {
//!     millpond_guest::info!("greeting {}", job.name);
//!     Ok(format!("Hello, {}!", job.name))
//! }
//! # fn main() {}
//! ```
//!
//! # From nothing to a plugin
//!
//! ```text
//! cargo new --lib greet && cd greet
//! cargo add millpond-guest && cargo add serde --features derive
//! # in Cargo.toml:  [lib] crate-type = ["cdylib", "rlib"]
//! rustup target add wasm32-unknown-unknown
//! cargo build --release --target wasm32-unknown-unknown      # target/wasm32-unknown-unknown/release/greet.wasm
//! ```
//!
//! The `.wasm` is complete: it carries the contract, and the host makes a component of it when it loads it.
//!
//! Two lines in `.cargo/config.toml` keep it small and fresh instances of it cheap:
//!
//! ```toml
//! [target.wasm32-unknown-unknown]
//! rustflags = ["-C", "link-arg=-zstack-size=65536", "-C", "link-arg=--stack-first"]
//! ```
//!
//! The stack is then 64 KiB instead of 1 MiB, which the host would have to give to each instance; a plugin that recurses deeply
//! or keeps big arrays on its stack needs more, and says so there. Memory comes out of 256 KiB that the module has from its start
//! and from the host only when these are used up (feature `arena`, on by default). In `Cargo.toml`,
//! `[profile.release] opt-level = "s", lto = true, panic = "abort"` makes it smaller still.
//!
//! # What a handler takes and returns
//!
//! - Its argument is any type that serde can read ([`Payload`]): the payload is JSON. [`Raw`] takes the bytes as they are, and no
//!   argument ignores them. A payload that cannot be read becomes a dead letter: it will not be readable the next time.
//! - It returns [`Result`] of anything that serde can write ([`Reply`]), kept as the job's result in JSON. The application reads
//!   it as the type of the kind's results (`JobInfo::output`). `()` and `None` are no result, [`Json`] writes them as well, and
//!   [`Raw`] is bytes.
//! - `?` works on any error that can be displayed, `anyhow` and boxed ones included, and means: try again, when the queue's back-off
//!   says. [`Error`] has the other answers, and [`OrElse`] puts them behind a call:
//!
//! ```
//! use std::time::Duration;
//!
//! use millpond_guest::{Error, OrElse, Result};
//!
//! # fn ask(_: &str) -> Result<u16, std::io::Error> { Ok(200) }
//! fn call(url: String) -> Result {
//!     let port: u16 = url.rsplit(':').next().unwrap_or("").parse().or_dead_letter()?; // will never be a number
//!     match ask(&url)? {                                                        // any error: try again
//!         202 => Err(Error::snooze(Duration::from_secs(60))),                     // not a failure: no attempt is used up
//!         429 => Err(Error::rate_limited(Duration::from_secs(60))),               // the queue's other jobs wait as well
//!         503 => Err(Error::retry_after("busy", Duration::from_secs(5))),
//!         410 => Err(Error::dead_letter("it is gone")),
//!         _ => Ok(()),
//!     }
//! }
//! # let _ = call;
//! ```
//!
//! A panic is logged with its place and fails the attempt.
//!
//! # What a handler can do
//!
//! [`state`], [`enqueue`], [`streams`] and [`topics`] commit with the job's completion, exactly once; [`steps`] stores what is done before the end, lets a job sleep
//! for days, and waits for signals; [`flow`] has the results of the job's flow; [`log`](mod@log) and [`progress`] tell the operator; [`config`]
//! has the operator's settings; [`attempt`], [`clock`] and [`random`] say what they are called. There are no files, sockets
//! or environment variables in the sandbox; `std::time::SystemTime::now` and `std::thread` panic there.
//!
//! # Tests
//!
//! On any target but WebAssembly the crate has a host of its own, [`testing::Host`], so that `cargo test` of a plugin is an ordinary
//! test that can look at state, log lines and enqueued jobs:
//!
//! ```
//! use millpond_guest::testing::{Host, Outcome};
//!
//! fn visit(page: String) -> millpond_guest::Result {
//!     millpond_guest::state::increment(&format!("visits/{page}"), 1)?;
//!     Ok(())
//! }
//!
//! let mut host = Host::new();
//! assert_eq!(host.run(visit, &"start"), Outcome::Done(vec![]));
//! assert_eq!(host.counter("visits/start"), 1);
//! ```

pub mod attempt;
pub mod clock;
pub mod config;
pub mod enqueue;
pub mod flow;
#[cfg(feature = "outbound-http")]
pub mod http;
pub mod log;
pub mod progress;
pub mod random;
pub mod state;
pub mod steps;
pub mod streams;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod topics;

#[cfg(any(all(target_arch = "wasm32", feature = "arena"), test))]
mod arena;
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs, unsafe_code, unsafe_op_in_unsafe_fn)]
#[rustfmt::skip]
#[doc(hidden)]
pub mod bindings;
mod error;
mod handler;
#[cfg_attr(target_arch = "wasm32", path = "host/wasm.rs")]
#[cfg_attr(not(target_arch = "wasm32"), path = "host/native.rs")]
mod host;
mod json;
mod newer;
mod payload;
mod sha256;

pub use error::{Error, OrElse, Result};
pub use handler::Handler;
/// Makes a function the handler that this plugin exports: one per plugin, `fn(Payload) -> Result<Reply>`.
///
/// ```
/// #[millpond_guest::handler]
/// fn shout(text: String) -> millpond_guest::Result<String> {
///     Ok(text.to_uppercase())
/// }
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[millpond_guest::handler]
/// async fn shout(text: String) -> millpond_guest::Result<String> { // waits of itself: no async
///     Ok(text.to_uppercase())
/// }
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[millpond_guest::handler]
/// fn shout(text: String, loudness: u8) -> millpond_guest::Result<String> { // one argument at most
///     Ok(text.to_uppercase().repeat(loudness.into()))
/// }
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[millpond_guest::handler]
/// fn shout(text: String) -> String { // no result
///     text.to_uppercase()
/// }
/// # fn main() {}
/// ```
pub use millpond_guest_macros::handler;
pub use payload::{Json, Payload, Raw, Reply};

/// For the attribute only.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings;
    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings::{export, exports::millpond::jobs::handler::Guest, millpond::jobs::types::HandleError};
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::handler::is_handler;
    #[cfg(target_arch = "wasm32")]
    pub use crate::host::run;
    #[cfg(target_arch = "wasm32")]
    pub use std::vec::Vec;
}
