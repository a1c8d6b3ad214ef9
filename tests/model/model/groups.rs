//! Rule 1: a job without a group is ready when it is pending; of a group only the heads can be ready. While a group has fewer
//! heads than its queue allows, the first other job in its order becomes one. It stays a head until it ends (or is parked, where a
//! queue's groups skip), and is ready when it is due and its group is not paused. Where a queue's groups hold, no job becomes a head
//! while a dead letter of the group is there, to whose place a redrive brings it back.

use std::collections::BTreeSet;

use millpond::State;

use super::{Group, Line, Model};

impl Model {
    pub(super) fn key(&self, id: u64) -> Option<(usize, usize)> {
        let job = &self.jobs[&id];
        job.group.map(|group| (job.queue, group))
    }

    pub(super) fn group(&mut self, key: (usize, usize)) -> &mut Group {
        self.groups.entry(key).or_default()
    }

    pub(super) fn join(&mut self, id: u64) {
        let Some(key) = self.key(id) else { return };
        if self.queues[key.0].skips && self.waits(id) {
            self.job(id).parked = true;
        } else {
            let fresh = self.jobs[&id].fresh;
            self.fill(key);
            self.job(id).fresh = fresh;
        }
    }

    /// The group has fewer heads than it may have, and no dead letter holds it.
    fn can_get_a_head(&mut self, key: (usize, usize)) -> bool {
        let heads_max = self.queues[key.0].group_concurrency;
        let group = self.group(key);
        group.heads.len() < heads_max && group.held_by.is_none()
    }

    /// A group that a dead letter holds.
    pub fn held_group(&self) -> Option<(usize, usize)> {
        self.groups.iter().find(|(_, group)| group.held_by.is_some()).map(|(key, _)| *key)
    }

    /// A dead letter holds its group, where the queue's policy says so and no other does.
    pub(super) fn hold(&mut self, id: u64) {
        let seq = self.jobs[&id].seq;
        if let Some(key) = self.key(id).filter(|key| self.queues[key.0].holds) {
            self.group(key).held_by.get_or_insert((id, seq));
        }
    }

    /// The dead letter leaves its place. Returns its place in its group if it has held that.
    pub(super) fn release(&mut self, id: u64) -> Option<u64> {
        let key = self.key(id)?;
        let (_, seq) = self.group(key).held_by.filter(|(by, _)| *by == id)?;
        self.group(key).held_by = None;
        Some(seq)
    }

    /// The dead letter leaves its group for good.
    pub(super) fn release_for_good(&mut self, id: u64) {
        if self.release(id).is_some()
            && let Some(key) = self.key(id)
        {
            self.fill(key);
        }
    }

    pub(super) fn set_head(&mut self, key: (usize, usize), id: u64) {
        let waits = self.waits(id);
        let mut heads = std::mem::take(&mut self.group(key).heads);
        heads.retain(|head| *head != id);
        heads.push(id);
        heads.sort_by_key(|head| self.jobs[head].seq);
        let group = self.group(key);
        group.heads = heads;
        let ready = !group.paused && !waits;
        let ticket = ready.then(|| {
            self.shared_ticket.unwrap_or_else(|| {
                self.next_ticket += 1;
                self.next_ticket
            })
        });
        let job = self.job(id);
        job.ticket = ticket;
        if ready {
            job.state = State::Pending;
        }
    }

    /// Jobs become heads, in their order, until the group has as many as it may have.
    pub(super) fn fill(&mut self, key: (usize, usize)) {
        while self.can_get_a_head(key) {
            let in_order = |id: &&u64| {
                let job = &self.jobs[id];
                let is_member = job.group == Some(key.1) && job.queue == key.0 && !job.parked && !job.state.is_final();
                is_member && !self.groups[&key].heads.contains(id)
            };
            let Some(first) = self.jobs.keys().filter(in_order).min_by_key(|id| self.jobs[id].seq).copied() else {
                break;
            };
            self.set_head(key, first);
            self.job(first).fresh = true;
        }
    }

    /// A job is no head any more. The next ones of its group become heads.
    pub(super) fn leave_heads(&mut self, key: (usize, usize), id: u64) {
        self.group(key).heads.retain(|head| *head != id);
        self.fill(key);
    }

    /// Sets how many jobs of each group of the queue can run at a time.
    pub fn set_group_concurrency(&mut self, queue: usize, jobs: usize) {
        self.queues[queue].group_concurrency = jobs;
        for group in 0..crate::ops::GROUPS {
            self.fill((queue, group));
        }
    }

    pub(super) fn is_head(&self, id: u64) -> bool {
        self.key(id).and_then(|key| self.groups.get(&key)).is_some_and(|group| group.heads.contains(&id))
    }

    pub(super) fn promote(&mut self) {
        let mut due: Vec<(Line, u64, u64)> = self
            .jobs
            .iter()
            .filter(|(_, job)| !job.state.is_final() && job.running.is_none() && job.ticket.is_none())
            .filter_map(|(&id, job)| Some((job.due?, id)))
            .filter(|(due, _)| self.is_due(*due))
            .map(|(due, id)| (due.line, due.at, id))
            .collect();
        due.sort_unstable();
        for (_, _, id) in due {
            let Some(key) = self.key(id) else {
                self.job(id).state = State::Pending;
                continue;
            };
            if self.jobs[&id].parked {
                let job = self.job(id);
                (job.parked, job.state) = (false, State::Pending);
                self.join(id);
            } else if self.is_head(id) && !self.group(key).paused {
                self.set_head(key, id);
            }
        }
    }

    pub fn pause_group(&mut self, key: (usize, usize), pause: bool) -> bool {
        let group = self.group(key);
        if std::mem::replace(&mut group.paused, pause) == pause {
            if pause || group.held_by.take().is_none() {
                return false;
            }
            self.fill(key);
            return true;
        }
        for head in self.group(key).heads.clone() {
            if self.jobs[&head].running.is_none() {
                self.suspects.remove(&head);
                self.set_head(key, head);
            }
        }
        true
    }

    /// Every job that is due becomes ready, once that is committed.
    pub fn promote_as_fresh(&mut self) {
        let before: BTreeSet<u64> = self.ready().collect();
        self.promote();
        let now_ready: Vec<u64> = self.ready().filter(|id| !before.contains(id)).collect();
        for id in now_ready {
            self.job(id).fresh = true;
        }
    }

    pub(super) fn share_tickets(&mut self) {
        if self.shared_ticket.is_none() {
            self.next_ticket += 1;
            self.shared_ticket = Some(self.next_ticket);
        }
    }
}
