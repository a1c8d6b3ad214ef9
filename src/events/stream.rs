//! A listener as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio_util::sync::ReusableBoxFuture;

use super::{Event, Events, Missed};

/// A listener as a [`Stream`] of events, for code that combines streams. Made by [`Events::into_stream`].
pub struct EventStream {
    next: ReusableBoxFuture<'static, (Events, Option<Result<Event, Missed>>)>,
}

impl EventStream {
    pub(super) fn new(events: Events) -> Self {
        Self { next: ReusableBoxFuture::new(next(events)) }
    }
}

async fn next(mut events: Events) -> (Events, Option<Result<Event, Missed>>) {
    let event = events.next().await;
    (events, event)
}

impl Stream for EventStream {
    type Item = Result<Event, Missed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (events, event) = ready!(self.next.poll(cx));
        self.next.set(next(events));
        Poll::Ready(event)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}
