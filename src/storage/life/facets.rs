//! The fixed list of the facets: all that depends on jobs beside the tables that have their rows.

use super::moved::Moved;
use super::{counts, expiring, index, started, unique};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;

impl Batch<'_> {
    /// The facets hear of a move when the job has left its old home, and before it enters
    /// the new one: a member of a group may be promoted as it enters, and is counted as waiting by then.
    #[inline]
    pub(super) fn tell_facets(&mut self, moved: &Moved<'_>) -> Result<(), Fault> {
        counts::moved(self, moved);
        index::moved(self, moved)?;
        if moved.has_options() {
            expiring::moved(self, moved)?;
            unique::moved(self, moved)?;
        }
        started::moved(self, moved)
    }
}
