//! I31: verbs on many jobs. A verb changes what it says that it has changed, and a job that it has cancelled or deleted does
//! not start afterwards.

use std::collections::BTreeMap;

use super::{Check, Job, Oracle, Origin};
use crate::made::tags_of;
use crate::paths::took;
use crate::plan::{Keeps, queue_name};
use crate::selections::{Part, Selected, Verb, tag_name};
use millpond::State;

/// A job that a verb can find, as it is when the verb begins.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// It certainly matches.
    sure: bool,
    is_open: bool,
    redrives: u32,
}

/// The jobs that a verb can find.
pub type Found = BTreeMap<u64, Candidate>;

/// How many jobs the events say that a verb has changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    pub cancelled: u64,
    pub deleted: u64,
    pub moved: u64,
}

impl Oracle {
    /// A verb begins. Returns the jobs that it can find.
    pub fn selects(&mut self, verb: Verb, Selected { queue, part }: Selected) -> Found {
        let mut found = Found::new();
        for (n, job) in &mut self.jobs {
            let is_of_call = matches!(job.origin, Origin::Call(_));
            let is_in = match part {
                Part::All => true,
                Part::Group(group) => job.spec.group == Some(group),
                // The follow-up job of a guest has other tags.
                Part::Tag(tag) => !is_of_call || tags_of(&job.spec).contains(&tag_name(tag)),
            };
            let can_be_here = job.spec.queue == queue || job.may_be_in(queue);
            if !is_in || !can_be_here {
                continue;
            }
            (job.steered, job.taken_by) = (true, None);
            match verb {
                Verb::Delete => job.deleting = true,
                Verb::MoveTo(to) => {
                    job.moving |= 1 << to;
                    // A call that is made again would store it in the queue that it has left.
                    job.is_keyed = false;
                }
                _ => {}
            }
            // A full queue can drop it meanwhile.
            let drops = self.plan.queues[queue].drops;
            let sure = is_of_call && job.since.is_some() && job.spec.queue == queue && !job.deleted && !drops;
            found.insert(*n, Candidate { sure, is_open: job.ended.is_none(), redrives: job.redrives });
        }
        found
    }

    /// A verb was interrupted: what it was to do is done or not.
    pub fn selected_in_part(&mut self, found: &Found) {
        for n in found.keys() {
            let job = self.job(*n);
            job.purged |= std::mem::take(&mut job.deleting);
        }
    }

    /// A verb was answered: `is_whole` if it has looked at all jobs, and `served` if a worker can have had some of them.
    pub fn selected(
        &mut self,
        verb: Verb,
        found: &Found,
        (matched, changed): (u64, u64),
        heard: Heard,
        (is_whole, is_one_chunk, served): (bool, bool, bool),
    ) -> Check {
        let say = |why: String| Err(format!("I31: {verb:?} has changed {changed} of {matched}: {why}; {heard:?}"));
        let open_before = found.values().filter(|was| was.sure && was.is_open).count() as u64;
        if is_whole && matched < open_before && !matches!(verb, Verb::RunNow) {
            return say(format!("{open_before} jobs were there"));
        }
        if is_one_chunk && matched > found.len() as u64 {
            return say(format!("only {} can have been there", found.len()));
        }
        let (mut asked, mut others, mut reached) = (0, 0, 0);
        for (n, was) in found {
            let job = self.job(*n);
            let is_same = was.sure && job.redrives == was.redrives;
            job.deleting = false;
            if let Verb::MoveTo(_) = verb {
                job.moving = 0;
            }
            let is_open = is_same && was.is_open && job.ended.is_none();
            reached += u64::from(is_open || is_same && was.is_open && job.deleted);
            match verb {
                Verb::Cancel if is_open && is_whole => {
                    // A handler had it, and is asked to stop.
                    job.cancel_requested = true;
                    took("a verb on many jobs asked a handler to stop");
                    asked += 1;
                }
                Verb::Cancel => others += u64::from(was.is_open || job.redrives != was.redrives),
                Verb::Delete if is_whole && is_same && !was.is_open && job.ended.is_some() => job.deleted = true,
                _ => {}
            }
        }
        let legal = match verb {
            Verb::Cancel => {
                let least = if is_whole { heard.cancelled + asked } else { heard.cancelled };
                least <= changed && changed <= asked + others
            }
            Verb::Delete => changed == heard.deleted,
            Verb::MoveTo(_) => changed == heard.moved,
            Verb::RunNow | Verb::Update => true,
        };
        if !legal {
            return say(format!("{asked} are asked to stop, and {others} have ended otherwise"));
        }
        if is_whole && !served && !matches!(verb, Verb::RunNow | Verb::Cancel) {
            took("a verb on many jobs found a queue without a worker");
            if changed < reached {
                return say(format!("no handler had any of them, and {reached} were to be changed"));
            }
        }
        Ok(())
    }

    /// An event has said that a job was deleted.
    pub(super) fn was_deleted(&mut self, id: u64) -> Check {
        let n = self.number(id)?;
        let job = self.job(n);
        if !job.deleting && !job.purged {
            return Err(format!("I31: no call has asked that it is deleted: {job:?}"));
        }
        if job.deleted {
            return Err(format!("I31: it is deleted twice: {job:?}"));
        }
        self.is_free(n, "deleted")?;
        let job = self.job(n);
        if job.ended.is_none() {
            took("a job that waited was deleted");
            job.ended = Some(State::Cancelled);
        }
        (job.deleted, job.running, job.ending) = (true, None, None);
        self.line_moved(n);
        Ok(())
    }

    /// An event has said that a job was moved.
    pub(super) fn was_moved(&mut self, id: u64, from: &str, to: &str) -> Check {
        let n = self.number(id)?;
        let queue = super::group_order::number_in(to);
        let job = &self.jobs[&n];
        if queue_name(job.spec.queue) != from || !job.may_be_in(queue) {
            return Err(format!("I31: it was moved from {from} to {to}: {job:?}"));
        }
        if job.ended.is_some_and(|state| state != State::Dead) {
            return Err(format!("I31: it has ended, and was moved: {job:?}"));
        }
        self.is_free(n, "moved")?;
        took(if self.jobs[&n].ended.is_some() { "a dead letter was moved" } else { "a job that waited was moved" });
        let place = self.place(self.last_id);
        self.is_in(n, queue, place);
        Ok(())
    }

    /// A job is in another queue.
    pub fn is_in(&mut self, n: u64, queue: usize, place: u64) {
        self.line_moved(n);
        let job = self.job(n);
        (job.spec.queue, job.place, job.put_off) = (queue, place, true);
        self.line_moved(n);
    }

    /// No handler has this job, unless it was taken back at the stop.
    fn is_free(&self, n: u64, what: &str) -> Check {
        let job = &self.jobs[&n];
        let is_taken = job.running.is_some() || job.ending.is_some();
        match is_taken && job.released.is_none() && !self.stops {
            true => Err(format!("I31: it was {what} while a handler had it: {job:?}")),
            false => Ok(()),
        }
    }

    /// Whether a queue in which this job can be keeps all ended jobs.
    pub fn is_kept_wherever_it_is(&self, job: &Job) -> bool {
        let keeps = |queue: usize| self.plan.queues[queue].keeps == Keeps::All;
        keeps(job.spec.queue) && (0..self.plan.queues.len()).all(|queue| !job.may_be_in(queue) || keeps(queue))
    }
}

impl Job {
    /// Whether verbs on many jobs have something to do with it.
    pub fn waits_or_is_dead(&self) -> bool {
        !self.deleted && self.ended.is_none_or(|state| state == State::Dead)
    }

    /// A call has asked that it is moved to this queue, and it is not known whether it was.
    pub fn may_be_in(&self, queue: usize) -> bool {
        self.moving & 1 << queue != 0
    }
}
