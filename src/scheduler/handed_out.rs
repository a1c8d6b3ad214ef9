//! The jobs that were handed out and are not settled yet.

use super::shared_limits::{SharedLimits, Units};
use crate::job::{IdMap, JobId, Order, QueueId, ReadyJob};
use crate::time::Now;

/// One run of one job. A late outcome of an earlier run has an earlier serial and is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunId {
    pub job: JobId,
    serial: u64,
}

impl RunId {
    /// How many runs were handed out since the file was opened, up to and including this one.
    pub fn serial(self) -> u64 {
        self.serial
    }
}

/// A job that was handed out and is not settled yet.
#[derive(Clone, Debug)]
pub(crate) struct HandedOut {
    pub run: RunId,
    pub queue: QueueId,
    pub grouped: bool,
    /// While it runs, it occupies a thread for blocking handlers.
    pub blocking: bool,
    /// The position from which it was handed out.
    pub order: Order,
    pub started: Now,
    /// Its handler has returned; its end is not durable yet.
    pub finished: bool,
    /// Its start mark is durable, or is being written.
    pub marked: bool,
    /// While it runs, it uses these units of shared limits.
    units: Option<Units>,
    /// The size of its record, and after it has finished of its result too.
    bytes: usize,
}

/// How many of a queue's jobs are handed out.
#[derive(Debug, Default)]
struct Load {
    running: usize,
    /// Running, or finished and not settled.
    taken: usize,
}

/// All jobs that were handed out and are not settled. Slots are computed from it, so a slot can neither leak nor be freed
/// twice.
#[derive(Debug, Default)]
pub(crate) struct HandedOutJobs {
    by_id: IdMap<HandedOut>,
    by_queue: IdMap<Load, QueueId>,
    running: usize,
    /// How many of the running jobs occupy a thread for blocking handlers.
    blocking: usize,
    /// The bytes of jobs that have finished and are not settled.
    unsettled_bytes: usize,
    /// The limits that running jobs share.
    pub limits: SharedLimits,
    serial: u64,
}

impl HandedOutJobs {
    pub fn hand_out(
        &mut self,
        queue: QueueId,
        job: &ReadyJob,
        blocking: bool,
        units: Option<Units>,
        now: Now,
    ) -> RunId {
        self.serial += 1;
        let run = RunId { job: job.id, serial: self.serial };
        let (grouped, order, bytes) = (job.is_grouped(), job.order, job.bytes as usize);
        if let Some(units) = &units {
            self.limits.take(units, queue);
        }
        let handed = HandedOut {
            run,
            queue,
            grouped,
            blocking,
            order,
            started: now,
            finished: false,
            marked: false,
            units,
            bytes,
        };
        let before = self.by_id.insert(job.id, handed);
        assert!(before.is_none(), "job {} was handed out twice", job.id);
        self.running += 1;
        self.blocking += usize::from(blocking);
        let load = self.by_queue.entry(queue).or_default();
        load.running += 1;
        load.taken += 1;
        run
    }

    /// Frees the slot of a run, and returns its queue. Returns `None` if the run is not the current one of its job.
    pub fn finish(&mut self, run: RunId) -> Option<QueueId> {
        let handed = self.by_id.get_mut(&run.job).filter(|handed| handed.run == run && !handed.finished)?;
        handed.finished = true;
        self.unsettled_bytes += handed.bytes;
        let (queue, blocking, units) = (handed.queue, handed.blocking, handed.units.take());
        self.free_slot(queue, blocking, units);
        Some(queue)
    }

    /// Adds the size of the result or of the log, in bytes, to a run that has finished.
    pub fn ends_with(&mut self, run: RunId, bytes: usize) {
        if let Some(handed) = self.by_id.get_mut(&run.job).filter(|handed| handed.run == run && handed.finished) {
            handed.bytes += bytes;
            self.unsettled_bytes += bytes;
        }
    }

    /// The serial of the latest run.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub fn settle(&mut self, id: JobId) -> Option<HandedOut> {
        let mut handed = self.by_id.remove(&id)?;
        if let Some(load) = self.by_queue.get_mut(&handed.queue) {
            load.taken -= 1;
        }
        match handed.finished {
            true => self.unsettled_bytes -= handed.bytes,
            false => self.free_slot(handed.queue, handed.blocking, handed.units.take()),
        }
        Some(handed)
    }

    fn free_slot(&mut self, queue: QueueId, blocking: bool, units: Option<Units>) {
        self.running -= 1;
        self.blocking -= usize::from(blocking);
        if let Some(load) = self.by_queue.get_mut(&queue) {
            load.running -= 1;
        }
        if let Some(units) = units {
            self.limits.give_back(&units);
        }
    }

    pub fn contains(&self, id: JobId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn get(&self, id: JobId) -> Option<&HandedOut> {
        self.by_id.get(&id)
    }

    pub fn get_mut(&mut self, run: RunId) -> Option<&mut HandedOut> {
        self.by_id.get_mut(&run.job).filter(|handed| handed.run == run)
    }

    pub fn iter(&self) -> impl Iterator<Item = &HandedOut> {
        self.by_id.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut HandedOut> {
        self.by_id.values_mut()
    }

    pub fn running(&self) -> usize {
        self.running
    }

    /// How many threads for blocking handlers are occupied.
    pub fn blocking(&self) -> usize {
        self.blocking
    }

    pub fn unsettled(&self) -> usize {
        self.by_id.len() - self.running
    }

    /// Approximately how many bytes the ends that are not durable yet hold in memory.
    pub fn unsettled_bytes(&self) -> usize {
        self.unsettled_bytes
    }

    pub fn handed_out_in(&self, queue: QueueId) -> usize {
        self.by_queue.get(&queue).map_or(0, |load| load.taken)
    }

    pub fn running_in(&self, queue: QueueId) -> usize {
        self.by_queue.get(&queue).map_or(0, |load| load.running)
    }
}
