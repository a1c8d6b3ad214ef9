//! The contract's interface `enqueue`: follow-up jobs, which are stored with the job's completion.

use std::time::Duration;

use wasmtime::component::Resource;

use crate::executor::wasm::contract::enqueue::{Error, Host, HostNewJob, RefusedJob};
use crate::executor::wasm::draft::{Conflict, Draft, Hold};
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::overlay::To;
use crate::executor::wasm::staging::Refused;
use crate::job::{KEY_BYTES_MAX, Priority};

/// How many bytes of a kind, queue, key or group are kept until the job is enqueued. No valid one is as long, so one that was
/// truncated is refused when the job is enqueued. Truncating can remove three bytes more, to end with a whole character.
const NAME_BYTES_KEPT: usize = KEY_BYTES_MAX + 4;

fn short(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(NAME_BYTES_KEPT));
    name.shrink_to_fit();
    name
}

impl HostNewJob for Guest {
    fn new(&mut self, kind: String, payload: Vec<u8>) -> wasmtime::Result<Resource<Draft>> {
        self.count_call()?;
        let draft = self.new_draft(short(kind), payload);
        Ok(self.table.push(draft)?)
    }

    fn set_queue(&mut self, job: Resource<Draft>, queue: String) -> wasmtime::Result<()> {
        self.draft(&job)?.queue = Some(short(queue));
        Ok(())
    }

    fn set_delay(&mut self, job: Resource<Draft>, delay: u64) -> wasmtime::Result<()> {
        self.draft(&job)?.delay = Duration::from_nanos(delay);
        Ok(())
    }

    fn set_priority(&mut self, job: Resource<Draft>, priority: i32) -> wasmtime::Result<()> {
        let draft = self.draft(&job)?;
        // A number that is not a `u8` is not a priority either. The error names the range.
        match Priority::new(u8::try_from(priority).unwrap_or(u8::MAX)) {
            Ok(priority) => draft.priority = Some(priority),
            Err(error) => {
                draft.wrong.get_or_insert_with(|| error.to_string());
            }
        }
        Ok(())
    }

    fn set_max_attempts(&mut self, job: Resource<Draft>, max_attempts: u32) -> wasmtime::Result<()> {
        self.draft(&job)?.max_attempts = Some(max_attempts);
        Ok(())
    }

    fn set_unique_key(&mut self, job: Resource<Draft>, key: String) -> wasmtime::Result<()> {
        self.draft(&job)?.unique.key = Some(short(key));
        Ok(())
    }

    fn set_group(&mut self, job: Resource<Draft>, group: String) -> wasmtime::Result<()> {
        self.draft(&job)?.group = Some(short(group));
        Ok(())
    }

    fn set_expiry(&mut self, job: Resource<Draft>, after: u64) -> wasmtime::Result<()> {
        self.draft(&job)?.expiry = Some(Duration::from_nanos(after));
        Ok(())
    }

    fn set_timeout(&mut self, job: Resource<Draft>, timeout: u64) -> wasmtime::Result<()> {
        self.draft(&job)?.timeout = Some(Duration::from_nanos(timeout));
        Ok(())
    }

    fn set_weight(&mut self, job: Resource<Draft>, units: u32) -> wasmtime::Result<()> {
        self.draft(&job)?.weight = Some(units);
        Ok(())
    }

    fn add_tag(&mut self, job: Resource<Draft>, tag: String) -> wasmtime::Result<()> {
        self.label(&job, |draft, room| draft.add_tag(tag, room))
    }

    fn set_header(&mut self, job: Resource<Draft>, name: String, value: String) -> wasmtime::Result<()> {
        self.label(&job, |draft, room| draft.set_header(name, value, room))
    }

    fn set_unique_for(&mut self, job: Resource<Draft>, at_least: u64) -> wasmtime::Result<()> {
        self.draft(&job)?.unique.at_least = Some(Duration::from_nanos(at_least));
        Ok(())
    }

    fn set_unique_until_started(&mut self, job: Resource<Draft>) -> wasmtime::Result<()> {
        self.draft(&job)?.unique.hold = Some(Hold::UntilStarted);
        Ok(())
    }

    fn set_unique_throttle(&mut self, job: Resource<Draft>, window: u64) -> wasmtime::Result<()> {
        self.draft(&job)?.unique.hold = Some(Hold::Throttle(Duration::from_nanos(window)));
        Ok(())
    }

    fn set_unique_keep_latest(&mut self, job: Resource<Draft>) -> wasmtime::Result<()> {
        self.draft(&job)?.unique.hold = Some(Hold::KeepLatest);
        Ok(())
    }

    fn set_unique_replace(&mut self, job: Resource<Draft>) -> wasmtime::Result<()> {
        self.draft(&job)?.unique.conflict = Some(Conflict::Replace);
        Ok(())
    }

    fn set_unique_debounce(&mut self, job: Resource<Draft>, quiet: u64, at_most: u64) -> wasmtime::Result<()> {
        let (quiet, at_most) = (Duration::from_nanos(quiet), Duration::from_nanos(at_most));
        self.draft(&job)?.unique.conflict = Some(Conflict::Debounce { quiet, at_most });
        Ok(())
    }

    fn drop(&mut self, job: Resource<Draft>) -> wasmtime::Result<()> {
        self.take_draft(job)?;
        Ok(())
    }
}

impl Host for Guest {
    fn enqueue(&mut self, job: Resource<Draft>) -> wasmtime::Result<Result<String, Error>> {
        self.count_call()?;
        let draft = self.take_draft(job)?;
        Ok(self.enqueue_one(draft))
    }

    fn enqueue_many(&mut self, jobs: Vec<Resource<Draft>>) -> wasmtime::Result<Result<Vec<String>, RefusedJob>> {
        self.count_call()?;
        let drafts = jobs.into_iter().map(|job| self.take_draft(job)).collect::<wasmtime::Result<Vec<_>>>()?;
        let (staged, bytes) = (self.overlay.follow_ups.len(), self.overlay.bytes);
        let mut ids = Vec::with_capacity(drafts.len());
        for (index, draft) in (0..).zip(drafts) {
            match self.enqueue_one(draft) {
                Ok(id) => ids.push(id),
                Err(error) => {
                    self.overlay.follow_ups.truncate(staged);
                    self.overlay.bytes = bytes;
                    return Ok(Err(RefusedJob { index, error }));
                }
            }
        }
        Ok(Ok(ids))
    }
}

impl Guest {
    fn draft(&mut self, job: &Resource<Draft>) -> wasmtime::Result<&mut Draft> {
        self.count_call()?;
        Ok(self.table.get_mut(job)?)
    }

    /// How many bytes of follow-up jobs, enqueued or not, the attempt's quota has room for.
    fn draft_room(&self) -> usize {
        let held = self.overlay.bytes.saturating_add(self.draft_bytes);
        self.plugin.limits.follow_up_bytes.saturating_sub(held)
    }

    /// Changes the tags or headers of a follow-up job, for which the attempt's quota has room for so many bytes.
    fn label(&mut self, job: &Resource<Draft>, change: impl FnOnce(&mut Draft, usize)) -> wasmtime::Result<()> {
        let room = self.draft_room();
        let draft = self.draft(job)?;
        let before = draft.bytes();
        change(draft, room);
        let after = draft.bytes();
        self.draft_bytes = self.draft_bytes.saturating_sub(before).saturating_add(after);
        Ok(())
    }

    /// Makes a follow-up job. It keeps the payload only if the attempt's quota has room for it, so that a guest cannot
    /// fill memory with payloads that could never be enqueued.
    fn new_draft(&mut self, kind: String, payload: Vec<u8>) -> Draft {
        if payload.len() > self.draft_room() {
            let mut draft = Draft::new(kind, Vec::new());
            draft.over_quota = true;
            return draft;
        }
        self.draft_bytes += payload.len();
        Draft::new(kind, payload)
    }

    pub(super) fn take_draft(&mut self, job: Resource<Draft>) -> wasmtime::Result<Draft> {
        let draft = self.table.delete(job)?;
        self.draft_bytes = self.draft_bytes.saturating_sub(draft.bytes());
        Ok(draft)
    }

    /// Accepts a follow-up job. It gets its id when it is stored. Until then it is named by the id of the running job and its own
    /// number, such as `7+1`.
    fn enqueue_one(&mut self, draft: Draft) -> Result<String, Error> {
        let facts = self.context.facts();
        let id = format!("{}+{}", facts.id(), self.overlay.follow_ups.len() + 1);
        let queue = draft.queue.as_deref().map_or_else(|| facts.queue.clone(), Into::into);
        self.stage(draft, To::Queue(queue)).map_err(|refused| match refused {
            Refused::AccessDenied => Error::AccessDenied,
            Refused::PayloadTooLarge => Error::PayloadTooLarge,
            Refused::QuotaExceeded => Error::QuotaExceeded,
            other => Error::Other(other.into_text()),
        })?;
        Ok(id)
    }
}
