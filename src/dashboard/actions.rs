//! Actions: each becomes one call of the public interface.
//!
//! All of it runs on a thread that may block, so the calls are waited for one after another.

mod bulk;
mod done;
mod of_file;
mod of_flows;
mod of_jobs;
mod of_queues;
mod payload;

use crate::{Millpond, State};

use super::api::{Action, Done, Problem};
use super::jobs::id;
use super::redact::Redact;
use super::{plugins, queues, schedules, streams, topics};
pub(super) use done::{done, unchanged};
use of_flows::Sent;
pub(super) use of_jobs::new_job;
pub(super) use payload::given as given_payload;

/// Makes a change, and waits until it is durable.
pub(super) fn act(pond: &Millpond, redact: &Redact, action: Action) -> Result<Done, Problem> {
    match action {
        Action::Enqueue(job) => of_jobs::enqueue(pond, job),
        Action::CancelJob { id: job, reason } => of_jobs::cancel(pond, id(&job)?, reason),
        Action::RunJobNow { id: job } => {
            pond.run_now(id(&job)?).wait()?;
            Ok(done(format!("job {job} is due now")))
        }
        Action::UpdateJob { id: job, change } => of_jobs::update(pond, id(&job)?, change),
        Action::MoveJob { id: job, queue } => {
            let message = format!("job {job} is in queue {queue}");
            let has_moved = pond.move_to(id(&job)?, &queue).wait()?;
            Ok(if has_moved { done(message) } else { unchanged(format!("{message} already")) })
        }
        Action::DeleteJob { id: job } => {
            pond.delete(id(&job)?).wait()?;
            Ok(done(format!("job {job} is removed")))
        }
        Action::RedriveJob { id: job } => {
            let has_changed = pond.dead_letters().redrive(id(&job)?).wait()?;
            match has_changed {
                true => Ok(done(format!("job {job} has new attempts"))),
                false => Err(not_dead(pond, &job)),
            }
        }
        Action::PurgeJob { id: job } => match pond.dead_letters().purge(id(&job)?).wait()? {
            true => Ok(done(format!("job {job} is removed for good"))),
            false => Err(not_dead(pond, &job)),
        },
        Action::CancelJobs { jobs, reason } => bulk::cancel(pond, redact, &jobs, reason),
        Action::RunJobsNow { jobs } => bulk::run_now(pond, redact, &jobs),
        Action::MoveJobs { jobs, queue } => bulk::move_to(pond, redact, &jobs, &queue),
        Action::DeleteJobs { jobs } => bulk::delete(pond, redact, &jobs),
        Action::RedriveJobs { jobs, error_group } => bulk::redrive(pond, redact, &jobs, error_group.as_deref()),
        Action::PurgeJobs { jobs, error_group } => bulk::purge(pond, redact, &jobs, error_group.as_deref()),
        Action::PauseSchedule { name } => {
            let has_changed = pond.schedules().pause(&name).wait()?;
            Ok(changed(has_changed, format!("schedule {name} is paused")))
        }
        Action::ResumeSchedule { name } => {
            let has_changed = pond.schedules().resume(&name).wait()?;
            Ok(changed(has_changed, format!("schedule {name} is not paused")))
        }
        Action::RunSchedule { name } => {
            let job = pond.schedules().run_now(&name).wait()?;
            Ok(Done { id: Some(job.to_string()), ..done(format!("schedule {name} has enqueued job {job}")) })
        }
        Action::UpdateSchedule { name, change } => schedules::update(pond, &name, change),
        Action::RemoveSchedule { name } => match pond.schedules().remove(&name).wait()? {
            true => Ok(done(format!("schedule {name} is removed"))),
            false => Err(Problem::not_found(format!("there is no schedule {name:?}"))),
        },
        Action::Bind { topic, binding } => topics::bind(pond, &topic, binding),
        Action::Unbind { topic, binding } => topics::unbind(pond, &topic, binding),
        Action::ConfigureTopic { topic, alternate, is_mandatory } => {
            topics::configure(pond, &topic, alternate, is_mandatory)
        }
        Action::RemoveTopic { topic } => topics::remove(pond, &topic),
        Action::Publish { topic, key, job } => topics::publish(pond, &topic, &key, job),
        Action::Append { stream, entry } => streams::append(pond, &stream, entry),
        Action::ConfigureStream { stream, settings } => streams::configure(pond, &stream, &settings),
        Action::SweepStream { stream } => streams::sweep(pond, &stream),
        Action::RemoveStream { stream } => streams::remove(pond, &stream),
        Action::SeekConsumer { stream, consumer, to } => streams::seek(pond, &stream, &consumer, to),
        Action::PauseConsumer { stream, consumer } => streams::pause(pond, &stream, &consumer),
        Action::ResumeConsumer { stream, consumer } => streams::resume(pond, &stream, &consumer),
        Action::RemoveConsumer { stream, consumer } => streams::remove_consumer(pond, &stream, &consumer),
        Action::CancelFlow { flow, reason } => of_flows::cancel(pond, &flow, reason),
        Action::RetryFlow { flow } => of_flows::retry(pond, &flow),
        Action::RemoveFlow { flow } => of_flows::remove(pond, &flow),
        Action::SignalFlow { flow, signal, payload, payload_text } => {
            of_flows::signal(pond, &flow, &signal, Sent(payload, payload_text))
        }
        Action::SignalJob { id: job, signal, payload, payload_text } => {
            of_flows::signal_job(pond, id(&job)?, &signal, Sent(payload, payload_text))
        }
        Action::ResumePlugin { queue, kind } => plugins::resume(pond, &queue, &kind),
        Action::RestoreRow { number } => match pond.quarantine().restore(number).wait()? {
            Some(job) => Ok(Done { id: Some(job.to_string()), ..done(format!("row {number} is job {job} again")) }),
            None => Err(Problem::not_found(format!("there is no row {number}, or it is not the record of a job"))),
        },
        Action::PurgeRow { number } => match pond.quarantine().purge(number).wait()? {
            true => Ok(done(format!("row {number} is removed"))),
            false => Err(Problem::not_found(format!("there is no row {number}"))),
        },
        Action::Backup { path } => of_file::back_up(pond, &path),
        Action::Compact => of_file::compact(pond),
        Action::Check => of_file::check(pond),
        Action::SetLimit { name, units } => {
            pond.set_limit(&name, units)?;
            Ok(done(format!("limit {name} has {units} units until the process ends")))
        }
        action => of_queues::act(pond, action),
    }
}

/// What to say of a change that may have been made before.
fn changed(has_changed: bool, state: String) -> Done {
    if has_changed { done(state) } else { unchanged(format!("{state} already")) }
}

fn not_dead(pond: &Millpond, job: &str) -> Problem {
    let found = id(job).and_then(|id| Ok(pond.job(id)?));
    match found {
        Ok(found) if found.state == State::Dead => conflict(format!("job {job} has changed meanwhile: try again")),
        Ok(found) => conflict(format!("job {job} is {}, not a dead letter", found.state)),
        Err(problem) => problem,
    }
}

fn conflict(detail: String) -> Problem {
    Problem::new(super::api::Code::Conflict, detail)
}
