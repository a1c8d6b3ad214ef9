use crate::job::{Entry, IdMap, JobId, Order, QueueId};
use crate::time::Now;

/// One run of one job. A late outcome of an older run bears an older serial and is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunId {
    pub job: JobId,
    serial: u64,
}

/// A job that was handed out and is not settled yet.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub run: RunId,
    pub queue: QueueId,
    pub grouped: bool,
    /// At which place it was handed out.
    pub order: Order,
    pub started: Now,
    /// Its handler has returned; the end is on its way to the disk.
    pub landed: bool,
    /// Its start is durable, or on its way to be.
    pub marked: bool,
}

/// How many of a queue's jobs are out.
#[derive(Debug, Default)]
struct Load {
    running: usize,
    /// Running, or landed and not settled.
    taken: usize,
}

/// Everything between "handed out" and "its end is durable". Slots are derived from it, so they
/// can be neither leaked nor given back twice.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_id: IdMap<Flight>,
    by_queue: IdMap<Load, QueueId>,
    running: usize,
    serial: u64,
}

impl Flights {
    pub fn take_off(&mut self, queue: QueueId, entry: &Entry, now: Now) -> RunId {
        self.serial += 1;
        let run = RunId { job: entry.id, serial: self.serial };
        let (grouped, order) = (entry.is_grouped(), entry.order);
        let flight = Flight { run, queue, grouped, order, started: now, landed: false, marked: false };
        let before = self.by_id.insert(entry.id, flight);
        assert!(before.is_none(), "job {} was handed out twice", entry.id);
        self.running += 1;
        let load = self.by_queue.entry(queue).or_default();
        load.running += 1;
        load.taken += 1;
        run
    }

    /// The queue whose slot is free again, unless this run is not the current one.
    pub fn land(&mut self, run: RunId) -> Option<QueueId> {
        let flight = self.by_id.get_mut(&run.job).filter(|flight| flight.run == run && !flight.landed)?;
        flight.landed = true;
        let queue = flight.queue;
        self.free_slot(queue);
        Some(queue)
    }

    pub fn settle(&mut self, id: JobId) -> Option<Flight> {
        let flight = self.by_id.remove(&id)?;
        if let Some(load) = self.by_queue.get_mut(&flight.queue) {
            load.taken -= 1;
        }
        if !flight.landed {
            self.free_slot(flight.queue);
        }
        Some(flight)
    }

    fn free_slot(&mut self, queue: QueueId) {
        self.running -= 1;
        if let Some(load) = self.by_queue.get_mut(&queue) {
            load.running -= 1;
        }
    }

    /// Nothing runs, and every end is durable.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn contains(&self, id: JobId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn get(&self, id: JobId) -> Option<&Flight> {
        self.by_id.get(&id)
    }

    pub fn get_mut(&mut self, run: RunId) -> Option<&mut Flight> {
        self.by_id.get_mut(&run.job).filter(|flight| flight.run == run)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.by_id.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        self.by_id.values_mut()
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn unsettled(&self) -> usize {
        self.by_id.len() - self.running
    }

    pub fn taken_in(&self, queue: QueueId) -> usize {
        self.by_queue.get(&queue).map_or(0, |load| load.taken)
    }

    pub fn running_in(&self, queue: QueueId) -> usize {
        self.by_queue.get(&queue).map_or(0, |load| load.running)
    }
}
