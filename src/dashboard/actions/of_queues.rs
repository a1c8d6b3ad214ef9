//! Actions on a queue, its groups and its kinds, and on all queues.

use crate::Millpond;

use super::super::api::{Action, Code, Done, Problem};
use super::done::{self, done, unchanged};
use super::{changed, queues};

pub(super) fn act(pond: &Millpond, action: Action) -> Result<Done, Problem> {
    match action {
        Action::PauseAll => Ok(changed(pond.pause().wait()?, "all queues are paused".to_owned())),
        Action::ResumeAll => Ok(changed(pond.resume().wait()?, "the pause of all queues has ended".to_owned())),
        Action::PauseQueue { queue } => {
            let has_changed = queues::find(pond, &queue)?.pause().wait()?;
            Ok(changed(has_changed, format!("queue {queue} is paused")))
        }
        Action::ResumeQueue { queue } => {
            let has_changed = queues::find(pond, &queue)?.resume().wait()?;
            Ok(changed(has_changed, format!("queue {queue} is not paused")))
        }
        Action::PauseGroup { queue, group } => {
            let has_changed = queues::find(pond, &queue)?.pause_group(&group).wait()?;
            Ok(changed(has_changed, format!("group {group} of queue {queue} is paused")))
        }
        Action::ResumeGroup { queue, group } => {
            let has_changed = queues::find(pond, &queue)?.resume_group(&group).wait()?;
            Ok(changed(has_changed, format!("group {group} of queue {queue} is neither paused nor held")))
        }
        Action::PauseKind { queue, kind } => {
            let has_changed = queues::find(pond, &queue)?.pause_kind(&kind).wait()?;
            Ok(changed(has_changed, format!("kind {kind} is paused in queue {queue}")))
        }
        Action::ResumeKind { queue, kind } => {
            let has_changed = queues::find(pond, &queue)?.resume_kind(&kind).wait()?;
            Ok(changed(has_changed, format!("kind {kind} is not paused in queue {queue}")))
        }
        Action::SetOverrides { queue, overrides } => {
            let made = queues::overrides(&overrides)?;
            queues::find(pond, &queue)?.set_overrides(made).wait()?;
            Ok(done(format!("the limits of queue {queue} are set")))
        }
        Action::CloseCircuit { queue, group } => {
            let found = queues::find(pond, &queue)?;
            let close = match &group {
                Some(group) => found.close_group_circuit(group),
                None => found.close_circuit(),
            };
            Ok(changed(close.wait()?, format!("the circuit of queue {queue} is closed")))
        }
        Action::ResetRate { queue } => {
            queues::find(pond, &queue)?.rate().reset().wait()?;
            Ok(done(format!("the bucket of queue {queue} is full")))
        }
        Action::ReleaseKey { queue, key } => match queues::find(pond, &queue)?.release_unique_key(&key).wait()? {
            true => Ok(done(format!("key {key} is free in queue {queue}"))),
            false => Ok(unchanged(format!("no job holds key {key} in queue {queue}"))),
        },
        Action::DrainQueue { queue } => Ok(done::jobs(queues::find(pond, &queue)?.drain().wait()?, "removed")),
        Action::ObliterateQueue { queue } => {
            let gone = queues::find(pond, &queue)?.obliterate().wait()?;
            let (jobs, schedules) = (gone.jobs, gone.schedules);
            let bindings = gone.bindings;
            let message = format!(
                "queue {queue} is removed, with {jobs} jobs and {schedules} schedules, and {bindings} bindings of topics"
            );
            Ok(Done { changed: jobs, message, ..Done::default() })
        }
        Action::RenameQueue { queue, to } => {
            queues::find(pond, &queue)?.rename(&to).wait()?;
            Ok(done(format!("queue {queue} has the name {to}")))
        }
        other => {
            let detail = format!("this version does not know the action {:?}", other.name());
            Err(Problem::new(Code::Unsupported, detail))
        }
    }
}
