//! What the events tell the oracle, each checked by the invariant that it belongs to.

use millpond::{Event, State};

use super::{Check, Oracle};
use crate::paths::took;

impl Oracle {
    /// An event about a schedule, or about a job that is not compared with a call of its own: one of a schedule, or with a unique
    /// key.
    pub fn told_of_schedules(&mut self, event: &Event) -> Check {
        match event {
            Event::Enqueued { id, .. } if id.get() <= self.last_id => {
                return Err(format!("I16: id {id} comes after {}", self.last_id));
            }
            Event::Enqueued { id, .. } => self.last_id = id.get(),
            Event::ScheduleFired { .. } => took("a schedule fired"),
            Event::ScheduleMissed { .. } => took("runs of a schedule were missed"),
            _ => {}
        }
        Ok(())
    }

    /// `read` returns a job's number by its id.
    pub fn told(&mut self, event: &Event, read: impl Fn(u64) -> Option<u64>) -> Check {
        let of_a_job = !matches!(
            event,
            Event::Degraded { .. }
                | Event::Healed
                | Event::Paused { .. }
                | Event::Resumed { .. }
                | Event::GroupHeld { .. }
                | Event::GroupReleased { .. }
                | Event::CircuitOpened { .. }
                | Event::CircuitClosed { .. }
                | Event::Enqueued { .. }
                | Event::PluginSuspended { .. }
        );
        if self.blind && of_a_job {
            return Ok(());
        }
        match event {
            Event::Enqueued { id, .. } => {
                let id = id.get();
                if id <= self.last_id {
                    return Err(format!("I16: id {id} comes after {}", self.last_id));
                }
                self.last_id = id;
                match read(id) {
                    Some(n) => self.stored(n, id)?,
                    None if self.gone_at_once(id) => {}
                    None => self.blind = true,
                }
            }
            Event::Started { id, attempt, .. } => self.heard_start(id.get(), *attempt)?,
            Event::Completed { id, attempt, .. } => {
                self.heard_completion(id.get(), *attempt)?;
                self.ended(id.get(), State::Completed)?;
                self.kept_by(self.number(id.get())?);
            }
            Event::Dead { id, error, .. } => self.died(id.get(), error.as_deref())?,
            Event::OnDeadFailed { id, .. } => self.hook_failed(id.get())?,
            Event::Cancelled { id, reason, .. } if reason.starts_with("dropped") => self.told_of_drop(id.get())?,
            Event::Cancelled { id, reason, .. } => {
                if reason == "expired" {
                    self.expired(id.get())?;
                }
                self.ended(id.get(), State::Cancelled)?;
            }
            Event::Retrying { id, attempt, .. } => self.retried(id.get(), *attempt)?,
            Event::Snoozed { id, .. } => self.snoozed(id.get())?,
            Event::Deleted { id, .. } => self.was_deleted(id.get())?,
            Event::Moved { id, from, to, .. } => self.was_moved(id.get(), from, to)?,
            Event::Redriven { id, .. } => self.redriven(id.get())?,
            Event::GroupHeld { queue, group, id, .. } => self.held(queue, group, id.get(), true),
            Event::GroupReleased { queue, group, id, .. } => self.held(queue, group, id.get(), false),
            Event::CircuitOpened { .. } | Event::CircuitClosed { .. } => self.circuit_moved(event)?,
            Event::Paused { queue, group, .. } => self.paused(queue, group.as_deref(), true),
            Event::Resumed { queue, group, .. } => self.paused(queue, group.as_deref(), false),
            Event::Degraded { .. } => self.degraded()?,
            Event::PluginSuspended { .. } => self.out_of_service(event)?,
            Event::Healed => self.healed()?,
            _ => {}
        }
        if !matches!(event, Event::GroupReleased { .. }) {
            self.released = None;
        }
        Ok(())
    }
}
