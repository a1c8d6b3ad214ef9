//! A compaction that a caller asks for.

use std::sync::Arc;

use super::beside::beside;
use super::commit::Commit;
use super::engine::Engine;
use super::maintenance::compact_now;
use crate::storage::Compacted;

/// Compacts the file between two commits. `None` if a read was under way.
pub(crate) fn compact(engine: Arc<Engine>) -> Commit<Option<Compacted>> {
    beside(engine.clone(), move || compact_now(&engine))
}
