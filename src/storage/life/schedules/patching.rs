//! A change of a part of a schedule: everything else of it stays.

use super::firing::no_such;
use super::record;
use crate::error::Error;
use crate::job::{Coder, Definition, DefinitionPatch, JobTemplate};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::encode_record;

impl Batch<'_> {
    /// Changes a part of the schedule of this name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSchedule`]; [`Error::InvalidConfig`] if the whole cannot be a schedule, or if its job is of another
    /// kind than the one that the payload was made for.
    pub fn update_schedule(&mut self, name: &str, patch: &DefinitionPatch, coder: &Coder) -> Result<(), Error> {
        let row = self.schedule_row(name)?.ok_or_else(|| no_such(name))?;
        let Definition { plan, mut job } = row.definition;
        let plan = patch.plan.apply(&plan)?;
        if let Some((kind, payload)) = &patch.payload {
            if *kind != job.kind {
                let reason =
                    format!("the schedule's job is of kind {:?} by now, the payload of kind {kind:?}", job.kind);
                return Err(Error::config("payload", reason));
            }
            let mut record = record(&job)?;
            record.payload = payload.clone();
            job = JobTemplate { record: encode_record(&record), ..job };
        }
        self.schedule(name, &Definition { plan, job }, coder).map(drop)
    }
}
