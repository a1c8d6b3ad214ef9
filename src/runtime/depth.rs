//! How many jobs a queue has in each state at this moment.

use super::engine::Engine;
use crate::job::QueueId;
use crate::storage::Tally;

/// The commit's counts of a queue, with its pending jobs split into pending, running and ending by what the scheduler knows.
pub(crate) struct Depth {
    pub tally: Tally,
    pub pending: u64,
    pub running: u64,
    pub ending: u64,
}

impl Depth {
    /// The scheduler can have handed out more jobs by now than were pending at that commit; the commit counts the others as
    /// delayed.
    pub fn of(tally: Tally, handed_out: u64, running: u64) -> Self {
        let handed_out = handed_out.min(tally.pending);
        let running = running.min(handed_out);
        Self { pending: tally.pending - handed_out, running, ending: handed_out - running, tally }
    }
}

impl Engine {
    pub fn depth(&self, queue: QueueId) -> Depth {
        // Read the commit's counts first: a job whose end becomes durable in between is then counted as pending for a
        // moment longer, rather than not at all.
        let tally = self.tally(queue);
        let scheduler = self.scheduler();
        Depth::of(tally, scheduler.handed_out_in(queue) as u64, scheduler.running_in(queue) as u64)
    }
}
