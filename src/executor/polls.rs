//! Measures the polls of an async handler, to warn of slow ones.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::attempt::Attempt;
use super::panics;
use crate::handler::Inside;

/// The polls of one async handler. A handler that returns in its first poll costs no reading of the clock here: the attempt's
/// time is then the poll's, and [`Attempt::judge`] checks it.
#[derive(Default)]
pub(super) struct Polls {
    /// The first poll has returned.
    is_first_over: bool,
}

impl Polls {
    /// Polls the handler of `attempt` once, as code that runs `inside`. Returns the text of its panic if it panics.
    pub fn poll<F: Future + ?Sized>(
        &mut self,
        attempt: &Attempt,
        inside: Inside,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<F::Output>, String> {
        let began = self.begin(attempt);
        let polled = panics::catch(|| {
            let _entered = inside.enter();
            future.poll(cx)
        });
        self.end(attempt, began, matches!(polled, Ok(Poll::Pending)));
        polled
    }

    /// Called before a poll. Returns when the poll begins, unless that is when the handler was called.
    fn begin(&self, attempt: &Attempt) -> Option<Duration> {
        self.is_first_over.then(|| attempt.facts.monotonic())
    }

    /// Called after a poll, with what [`Self::begin`] returned. `is_pending` is true if another poll follows.
    fn end(&mut self, attempt: &Attempt, began: Option<Duration>, is_pending: bool) {
        if !self.is_first_over && !is_pending {
            return;
        }
        if !self.is_first_over {
            self.is_first_over = true;
            attempt.note_awaited();
        }
        let began = began.or_else(|| attempt.facts.called_at().map(|called| called.mono));
        let now = attempt.facts.monotonic();
        attempt.warn_if_slow(now.saturating_sub(began.unwrap_or(now)), now);
    }
}
