//! A binding as a caller describes it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::key;
use super::patterns::has_rest_inside;
use crate::error::Error;
use crate::job::labels::check_headers;
use crate::job::name;
use crate::text::told;

/// Headers of one binding, at most.
const CONDITIONS_MAX: usize = 32;

/// Where a [`Binding`] leads to.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.topic("orders")?;
/// orders.bind(Binding::to_stream("history")).await?;
/// assert_eq!(orders.bindings()?[0].to, Recipient::Stream("history".to_owned()));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Recipient {
    /// To the queue of this name, where a message becomes a job.
    Queue(String),
    /// To the stream of this name, where a message becomes an entry.
    Stream(String),
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue {:?}", told(queue)),
            Self::Stream(stream) => write!(f, "stream {:?}", told(stream)),
        }
    }
}

/// Which messages of a topic go to a queue or to a stream: those whose routing key matches [`key`](Self::key), and whose headers match
/// [`headers_all`](Self::headers_all) and [`headers_any`](Self::headers_any). What was not given matches every message.
///
/// [`Topic::bind`](crate::Topic::bind) makes it. Two bindings that say the same are one.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.topic("orders")?;
/// orders.bind(Binding::to("mail").key("order.created.*")).await?;
/// orders.bind(Binding::to("warehouse").key("order.#").headers_any([("country", "de"), ("country", "at")])).await?;
/// orders.bind(Binding::to_stream("analytics")).await?; // every message
///
/// let order = NewJob::json("order", &7).header("country", "de");
/// let published = orders.publish("order.created.eu", order).await?;
/// assert_eq!((published.jobs.len(), published.entries.len()), (2, 1));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Binding {
    /// Who gets the messages.
    #[serde(flatten)]
    pub to: Recipient,
    /// The pattern of the routing key. `None` matches every key.
    pub key: Option<String>,
    /// Headers that a message must all have, with these values.
    pub headers_all: Vec<(String, String)>,
    /// Headers of which a message must have at least one, with its value. Empty if there is no such condition.
    pub headers_any: Vec<(String, String)>,
}

impl Binding {
    /// Messages go to this queue. If there is no queue of this name, the call that makes the binding makes it.
    pub fn to(queue: impl Into<String>) -> Self {
        Self::leading(Recipient::Queue(queue.into()))
    }

    /// Messages go to this stream: each becomes one entry. If there is no stream of this name, the call that makes the binding
    /// makes it.
    ///
    /// Of the options of a message an entry has the [group](crate::NewJob::group) as its key, the tags and the headers. The others
    /// say how a job is handled. They hold in queues, and are left out of entries.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail").key("order.created.*")).await?;
    /// orders.bind(Binding::to_stream("history").key("order.#")).await?;
    ///
    /// let message = NewJob::new(Charge { order: 7 }).group("customer-1").max_attempts(3);
    /// let published = orders.publish("order.created.eu", message).await?;
    /// assert_eq!(published.entry_in("history"), Some(0));
    /// assert_eq!(pond.stream("history")?.read(0, 10)?[0].key.as_deref(), Some("customer-1"));
    /// # Ok(()) });
    /// ```
    pub fn to_stream(stream: impl Into<String>) -> Self {
        Self::leading(Recipient::Stream(stream.into()))
    }

    pub(crate) fn leading(to: Recipient) -> Self {
        Self { to, key: None, headers_all: Vec::new(), headers_any: Vec::new() }
    }

    /// Sets the pattern of the routing key. Keys and patterns are words between dots. `*` stands for one word, and `#` for any
    /// number of words, also none, as in RabbitMQ; `>` as the last word stands for one word or more, as in NATS. A pattern
    /// without any of these is a key that must be equal. `*` and `#` are ordinary characters in a longer word. Words can be
    /// empty: `a.` has two. The empty key has no word.
    ///
    /// A pattern has at most 255 bytes and 64 words.
    ///
    /// # Errors
    /// When it is bound: [`Error::InvalidRoutingKey`]; [`Error::InvalidBinding`] for a `>` that is not the last word.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail").key("order.*.eu")).await?;
    /// orders.bind(Binding::to("analytics").key("order.#")).await?;
    ///
    /// assert_eq!(orders.matches("order.created.eu", &[])?.queues, ["analytics", "mail"]);
    /// assert_eq!(orders.matches("order.created", &[])?.queues, ["analytics"]);
    /// assert_eq!(orders.matches("order", &[])?.queues, ["analytics"]);
    /// # Ok(()) });
    /// ```
    pub fn key(mut self, pattern: impl Into<String>) -> Self {
        self.key = Some(pattern.into());
        self
    }

    /// Adds headers that a message must all have, with exactly these values. They are the [headers](crate::NewJob::header) of
    /// the job that is published. A binding has at most 32 headers in all.
    ///
    /// # Errors
    /// When it is bound: [`Error::InvalidBinding`], [`Error::InvalidHeader`], [`Error::HeadersTooLarge`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let reports = pond.topic("reports")?;
    /// reports.bind(Binding::to("print").headers_all([("format", "pdf"), ("type", "invoice")])).await?;
    /// assert_eq!(reports.matches("", &[("format", "pdf"), ("type", "invoice")])?.queues, ["print"]);
    /// assert!(reports.matches("", &[("format", "pdf")])?.queues.is_empty());
    /// # Ok(()) });
    /// ```
    pub fn headers_all<N: Into<String>, V: Into<String>>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self {
        self.headers_all.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds headers of which a message must have at least one, with its value. The same name can be there with several values.
    ///
    /// # Errors
    /// Those of [`headers_all`](Self::headers_all).
    pub fn headers_any<N: Into<String>, V: Into<String>>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self {
        self.headers_any.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Checks all that can be checked without the file, and puts the headers into their order.
    pub(crate) fn check(mut self) -> Result<Self, Error> {
        match &self.to {
            Recipient::Queue(queue) => name::check("queue", queue)?,
            Recipient::Stream(stream) => name::check("stream", stream)?,
        }
        if let Some(pattern) = &self.key {
            key::check(pattern)?;
            if has_rest_inside(pattern) {
                return Err(
                    self.refused("`>` stands for the rest of a key, so it must be the last word; use `#` or `*`")
                );
            }
        }
        for headers in [&mut self.headers_all, &mut self.headers_any] {
            headers.sort();
            headers.dedup();
            // The limit of all bytes is that of a job's headers: no message has more.
            let mut bytes = 0;
            for (name, value) in &*headers {
                bytes += name.len() + value.len();
                check_headers(&BTreeMap::from([(name.clone(), value.clone())]))?;
            }
            if bytes > millpond_rules::HEADERS_BYTES_MAX {
                return Err(Error::HeadersTooLarge { len: bytes, max: millpond_rules::HEADERS_BYTES_MAX });
            }
        }
        if self.headers_all.len() + self.headers_any.len() > CONDITIONS_MAX {
            return Err(self.refused("it has more than 32 headers, the most of a binding"));
        }
        if self.headers_all.windows(2).any(|two| two[0].0 == two[1].0) {
            return Err(self.refused(
                "it wants two values of one header, which no message has: use `headers_any` for one of several values",
            ));
        }
        Ok(self)
    }

    fn refused(&self, reason: &'static str) -> Error {
        Error::InvalidBinding { to: self.to.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_that_no_message_matches_is_refused() {
        let rest = Binding::to("q").key("a.>.b").check();
        assert!(matches!(rest, Err(Error::InvalidBinding { .. })), "{rest:?}");
        let two = Binding::to("q").headers_all([("h", "1"), ("h", "2")]).check();
        assert!(matches!(two, Err(Error::InvalidBinding { .. })), "{two:?}");
        assert!(matches!(Binding::to("a b").check(), Err(Error::InvalidName { what: "queue", .. })));
        assert!(matches!(Binding::to_stream("a b").check(), Err(Error::InvalidName { what: "stream", .. })));
        Binding::to("q").key("a>.b.>").headers_any([("h", "1"), ("h", "2")]).check().unwrap();
    }

    #[test]
    fn the_order_of_headers_makes_no_difference() {
        let one = Binding::to("q").headers_all([("a", "1"), ("b", "2"), ("a", "1")]).check().unwrap();
        assert_eq!(one, Binding::to("q").headers_all([("b", "2"), ("a", "1")]).check().unwrap());
    }

    #[test]
    fn a_binding_has_a_limit_of_headers() {
        let headers = |count: usize| (0..count).map(|n| (format!("h{n}"), ""));
        Binding::to("q").headers_all(headers(32)).check().unwrap();
        let many = Binding::to("q").headers_all(headers(32)).headers_any([("x", "")]).check();
        assert!(matches!(many, Err(Error::InvalidBinding { .. })), "{many:?}");
        let large = Binding::to("q").headers_any([("h", "v".repeat(4_096))]).check();
        assert!(matches!(large, Err(Error::HeadersTooLarge { .. })), "{large:?}");
    }
}
