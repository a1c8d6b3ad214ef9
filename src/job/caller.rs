//! The span in which a job was enqueued.

/// The span in which a job was enqueued, as plain values.
///
/// Not the span itself: it would stay open until the job runs. Nor its id: it may be closed by then, and the id may be
/// that of another span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub name: &'static str,
    pub span: u64,
}

impl Caller {
    /// The span that this code runs in, if it runs in one.
    pub fn here() -> Option<Self> {
        let span = tracing::Span::current();
        Some(Self { name: span.metadata()?.name(), span: span.id()?.into_u64() })
    }
}
