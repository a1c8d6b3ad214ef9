//! A subscriber for tests of what is logged.

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Calls `then` with each event that `wants` accepts. Spans mean nothing to it.
pub struct OnEvent<W, T> {
    pub wants: W,
    pub then: T,
}

impl<W, T> Subscriber for OnEvent<W, T>
where
    W: Fn(&Metadata<'_>) -> bool + Send + Sync + 'static,
    T: Fn(&Event<'_>) + Send + Sync + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && (self.wants)(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        (self.then)(event);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A subscriber for what plugins log.
pub fn on_plugin_line(
    then: impl Fn(&Event<'_>) + Send + Sync + 'static,
) -> OnEvent<impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static, impl Fn(&Event<'_>) + Send + Sync + 'static> {
    OnEvent { wants: |metadata: &Metadata<'_>| metadata.target() == "millpond::plugin", then }
}
