//! The contract's interface `enqueue`: follow-up jobs, which are stored with the job's completion.

use std::time::Duration;

use wasmtime::component::Resource;

use crate::error::Error as QueueError;
use crate::executor::wasm::contract::enqueue::{Error, Host, HostNewJob};
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::overlay::{Draft, FollowUp};
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
            Ok(priority) => draft.priority = priority,
            Err(error) => draft.wrong = Some(error.to_string()),
        }
        Ok(())
    }

    fn set_max_attempts(&mut self, job: Resource<Draft>, max_attempts: u32) -> wasmtime::Result<()> {
        self.draft(&job)?.max_attempts = Some(max_attempts);
        Ok(())
    }

    fn set_unique_key(&mut self, job: Resource<Draft>, key: String) -> wasmtime::Result<()> {
        self.draft(&job)?.unique_key = Some(short(key));
        Ok(())
    }

    fn set_group(&mut self, job: Resource<Draft>, group: String) -> wasmtime::Result<()> {
        self.draft(&job)?.group = Some(short(group));
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
        let mut draft = self.take_draft(job)?;
        draft.generation = self.context.facts().guest.generation().saturating_add(1);
        Ok(self.stage(draft))
    }
}

impl Guest {
    fn draft(&mut self, job: &Resource<Draft>) -> wasmtime::Result<&mut Draft> {
        self.count_call()?;
        Ok(self.table.get_mut(job)?)
    }

    /// Makes a follow-up job. It keeps the payload only if the attempt's quota has room for it, so that a guest cannot
    /// fill memory with payloads that could never be enqueued.
    fn new_draft(&mut self, kind: String, payload: Vec<u8>) -> Draft {
        let held = self.overlay.bytes.saturating_add(self.draft_bytes).saturating_add(payload.len());
        if held > self.plugin.limits.follow_up_bytes {
            return Draft { over_quota: true, ..Draft::new(kind, Vec::new()) };
        }
        self.draft_bytes += payload.len();
        Draft::new(kind, payload)
    }

    fn take_draft(&mut self, job: Resource<Draft>) -> wasmtime::Result<Draft> {
        let draft = self.table.delete(job)?;
        self.draft_bytes = self.draft_bytes.saturating_sub(draft.payload.len());
        Ok(draft)
    }

    /// Accepts a follow-up job, which is stored with the completion of the running job and gets its id then. Until then
    /// it is named by the id of the running job and its own number, such as `7+1`.
    fn stage(&mut self, draft: Draft) -> Result<String, Error> {
        let facts = self.context.facts();
        let own = facts.queue.clone();
        let queue = draft.queue.as_deref().map_or_else(|| own.clone(), Into::into);
        if !self.plugin.may_enqueue(&draft.kind, &queue, &own) {
            return Err(Error::AccessDenied);
        }
        if let Some(wrong) = draft.wrong {
            return Err(Error::Other(wrong));
        }
        let limits = &self.plugin.limits;
        if draft.over_quota || draft.generation > limits.generations {
            return Err(Error::QuotaExceeded);
        }
        let bytes = self.overlay.bytes.saturating_add(draft.payload.len());
        if self.overlay.follow_ups.len() >= limits.follow_ups as usize || bytes > limits.follow_up_bytes {
            return Err(Error::QuotaExceeded);
        }
        match self.plugin.host.prepare.prepare(&queue, draft.job()) {
            Ok(_) => {}
            Err(QueueError::PayloadTooLarge { .. }) => return Err(Error::PayloadTooLarge),
            Err(error) => return Err(Error::Other(error.to_string())),
        }
        let id = format!("{}+{}", facts.id(), self.overlay.follow_ups.len() + 1);
        self.overlay.bytes = bytes;
        self.overlay.follow_ups.push(FollowUp { queue, draft });
        Ok(id)
    }
}
