//! I15: pauses. What the file says of paused queues is what the events have said, or what a call asked for whose outcome was
//! not reported.

use millpond::Error;

use super::group_order::{group_key, number_in};
use super::{Check, Oracle, Pausing};
use crate::paths::took;

impl Oracle {
    /// A call asks for it. If the disk fails or the power is cut, it can be durable without an event.
    pub fn may_be_paused(&mut self, call: u64, pausing: Pausing) {
        if let Some(group) = pausing.group {
            self.paused_groups.entry((pausing.queue, group)).or_insert_with(|| vec![(0, false)]);
        }
        self.pausing.insert(call, pausing);
    }

    pub fn pause_answered(&mut self, call: u64, error: Option<&Error>) {
        match (error, self.pausing.get_mut(&call)) {
            (Some(Error::OutcomeUnknown { .. }), Some(pausing)) => pausing.unknown = true,
            _ => drop(self.pausing.remove(&call)),
        }
    }

    /// The file was opened again, and tells which queues are paused: as the events said, or as a call asked whose outcome
    /// was not reported. It does not tell which groups are, so a group in doubt may be either.
    pub fn paused_by_the_file(&mut self, queues: &[bool], all_gone: bool) -> Check {
        for (queue, paused) in queues.iter().copied().enumerate() {
            let known = self.paused[queue].last().is_some_and(|(_, paused)| *paused);
            let is_it = |asked: &Pausing| (asked.queue, asked.group, asked.paused) == (queue, None, paused);
            if known == paused {
                continue;
            }
            if !self.pausing.values().any(is_it) {
                return Err(format!("I15: queue {queue} is paused by the events: {known}; by the file: {paused}"));
            }
            took("a pause or its end with OutcomeUnknown was durable");
            self.paused[queue].push((self.mono, paused));
        }
        let mono = self.mono;
        for Pausing { queue, group, .. } in self.pausing.values() {
            if let Some(group) = group {
                self.paused_groups.entry((*queue, *group)).or_default().push((mono, false));
            }
        }
        self.pausing.retain(|_, pausing| !all_gone && !pausing.unknown);
        Ok(())
    }

    pub(super) fn paused(&mut self, queue: &str, group: Option<&str>, paused: bool) {
        let mono = self.mono;
        match group {
            None => self.paused[number_in(queue)].push((mono, paused)),
            Some(group) => {
                let history = self.paused_groups.entry(group_key(queue, group)).or_insert_with(|| vec![(0, false)]);
                history.push((mono, paused));
            }
        }
    }
}
