//! The derive of [`Kind`](super::Kind), with its documentation.

/// Implements [`Kind`](trait@crate::Kind) for a type, with what `#[kind(...)]` says of it. Requires the feature `derive`,
/// which is on by default.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// #[derive(Serialize, Deserialize, Kind)]
/// #[kind(queue = "emails", max_attempts = 8, timeout = "30s")]
/// struct WelcomeMail { address: String }
///
/// let id = pond.send(WelcomeMail { address: "ada@example.org".into() }).await?;
/// let job = pond.job(id)?;
/// assert_eq!((job.kind.as_str(), job.queue.as_str(), job.max_attempts), ("welcome-mail", "emails", Some(8)));
/// # Ok(()) });
/// ```
///
/// | setting | example | default |
/// |---|---|---|
/// | the kind's name | `name = "welcome"` | the type's name in kebab case: `WelcomeMail` is `welcome-mail` |
/// | [its queue](crate::HasQueue) | `queue = "emails"` | none |
/// | how payloads are written | `codec = "postcard"` | `"json"` |
/// | priority | `priority = 0` | 5 |
/// | attempts in all | `max_attempts = 8` | the worker's |
/// | at most one call of the handler | `at_most_once` | no |
/// | back-off | `backoff = exponential("2s", "1h")`, `fixed("10s")` or `list("1s", "1m")` | the worker's |
/// | longest attempt | `timeout = "30s"` | the worker's |
/// | expiry | `expires_in = "1h30m"` | none |
/// | [type of the result](crate::HasOutput) | `output = Receipt` | none |
/// | the path of this crate, if it has another name | `crate = millpond` | `::millpond` |
///
/// A duration is a sequence of whole numbers with the units `ms`, `s`, `m` (or `min`), `h` and `d`. A value that is no
/// literal can be an expression of the type that the method of that name in [`KindOptions`](crate::KindOptions) takes, such
/// as `timeout = LONGEST`. Names and values that are literals are checked when the program is compiled.
///
/// The kind's name is stored with every job. Without `name`, renaming the type gives the kind another name, and jobs that
/// wait under the old one have no handler.
///
/// ```
/// # use doc_prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Receipt { number: u32 }
///
/// const LONGEST: Duration = Duration::from_secs(90);
///
/// #[derive(Serialize, Deserialize, Kind)]
/// #[kind(name = "charge:v2", queue = "billing", codec = "postcard", output = Receipt)]
/// #[kind(priority = 0, backoff = list("1s", "1m", "1h"), timeout = LONGEST, expires_in = "1d")]
/// struct Purchase { order: u64 }
///
/// assert_eq!((Purchase::KIND, Purchase::QUEUE, Purchase::CODEC), ("charge:v2", "billing", Codec::Postcard));
/// assert_eq!(
///     Purchase::options(),
///     KindOptions::new()
///         .priority(Priority::FIRST)
///         .backoff(Backoff::List([1, 60, 3600].map(Duration::from_secs).to_vec()))
///         .timeout(LONGEST)
///         .expires_in(Duration::from_secs(24 * 3600)),
/// );
/// ```
///
/// What cannot work is refused by the compiler, for example a name that the queue would not accept:
///
/// ```compile_fail
/// # use doc_prelude::*;
/// #[derive(Serialize, Deserialize, Kind)]
/// #[kind(name = "welcome mail")] // error: "welcome mail" is no valid name of a kind
/// struct WelcomeMail { address: String }
/// ```
pub use millpond_macros::Kind;
