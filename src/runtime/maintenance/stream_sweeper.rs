//! Removes entries of streams that are kept no longer.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::storage::Batch;
use crate::time::Now;
use crate::transaction::Prepare;

/// How often streams are checked, if any of them removes entries.
const EVERY: Duration = Duration::from_secs(5);

/// How often it is checked whether there are such streams.
const IDLE: Duration = Duration::from_secs(30);

/// How many streams are read at a time.
const STREAMS_AT_ONCE: usize = 256;

/// Removes entries that are beyond the limits of their streams, a bounded number in each commit.
#[derive(Default)]
pub(in crate::runtime) struct StreamSweeper {
    next: Every,
    /// A stream removes entries.
    is_needed: bool,
}

impl StreamSweeper {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        let every = if self.is_needed { EVERY } else { IDLE };
        if let Some(wait) = self.next.wait(every, now) {
            return wait;
        }
        self.is_needed = false;
        let mut after = String::new();
        loop {
            let page = engine.store.reader().and_then(|reader| {
                let streams = reader.streams(&after, STREAMS_AT_ONCE)?;
                let last = streams.last().map(|(name, _)| name.clone());
                let (mut due, mut any) = (Vec::new(), false);
                for (name, row) in streams {
                    any |= row.settings.removes();
                    if reader.is_beyond_limits(&row, now.age)? {
                        due.push(name);
                    }
                }
                Ok((due, any, last))
            });
            match page {
                Ok((due, any, last)) => {
                    self.is_needed |= any;
                    due.into_iter().for_each(|name| sweep(engine, name.into()));
                    let Some(last) = last else { return if self.is_needed { EVERY } else { IDLE } };
                    after = last;
                }
                Err(error) => {
                    tracing::warn!(%error, "streams could not be looked at");
                    return IDLE;
                }
            }
        }
    }
}

/// Removes some entries, and the next ones after that as long as there are more.
fn sweep(engine: &Arc<Engine>, name: Arc<str>) {
    let of = name.clone();
    engine.internally_with(
        move |batch: &mut Batch<'_>, prepare: &dyn Prepare| batch.sweep_stream(&of, prepare),
        move |engine, result| match result {
            Ok(true) if !engine.is_stopping() => sweep(engine, name),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, stream = &*name, "a stream could not be swept"),
        },
    );
}
