//! Renames of queues: a queue without a worker gets another name, and its own name back before anything else is asked of it.
//! Between the two, the process can die. All that belongs to the queue follows it.

use std::task::{Context as Task, Poll, Waker};

use fastrand::Rng;
use millpond::{Commit, Error, Queue};

use crate::compare::Moment;
use crate::oracle::Check;
use crate::paths::took;
use crate::plan::queue_name;
use crate::world::World;

/// The renames of a world.
pub struct Renames {
    /// Of its own, so that a seed's world is otherwise the same.
    rng: Rng,
    any: bool,
    /// The queue that has another name.
    renamed: Option<usize>,
}

impl Renames {
    /// A third of the worlds have renames.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x7265_6E61_6D65);
        let any = rng.u8(..3) == 0;
        Self { rng, any, renamed: None }
    }

    /// The name that a queue has now.
    pub fn name_of(&self, queue: usize) -> String {
        if self.renamed == Some(queue) { other_name(queue) } else { queue_name(queue) }
    }

    /// The name that a queue has otherwise.
    pub fn own_name(&self, name: String) -> String {
        match self.renamed {
            Some(queue) if name == other_name(queue) => queue_name(queue),
            _ => name,
        }
    }
}

fn other_name(queue: usize) -> String {
    format!("r{queue}")
}

impl World {
    /// Renames a queue now and then. Nothing else is on its way to the writer, which could begin a new queue of the old name.
    pub fn rename_a_queue(&mut self) -> Check {
        if !self.renames.any || self.renames.rng.u8(..10) > 0 {
            return Ok(());
        }
        let stops = self.now().pond.testing().is_stopping();
        let is_sound = !stops && !self.disk.is_faulty() && self.now().pond.degraded().is_none() && !self.oracle.blind;
        if !is_sound || self.steps().inbox() > 0 {
            return Ok(());
        }
        let queue = self.renames.rng.usize(..self.plan.queues.len());
        let has_worker = self.now().workers[queue].is_some();
        let commit = self.now().pond.queue(&queue_name(queue)).unwrap().rename(&other_name(queue));
        let Some(answer) = self.answer_to_rename(commit)? else { return Ok(()) };
        self.note(|_| format!("queue {queue} is renamed: {:?}", answer.as_ref().map(drop)));
        match answer {
            Ok(_) if has_worker => return Err(format!("I32: queue {queue} has a worker and was renamed")),
            Ok(_) => took("a queue was renamed"),
            Err(Error::QueueInUse { .. }) => {
                took("a queue in use was not renamed");
                return Ok(());
            }
            // An earlier fault of the disk has shut the storage engine, which the queue learns now. Nothing was written.
            Err(Error::Storage { .. }) => return Ok(()),
            Err(error) => return Err(format!("I32: queue {queue} cannot be renamed: {error:?}")),
        }
        self.renames.renamed = Some(queue);
        match self.renames.rng.u8(..3) {
            0 => {
                took("the process died while a queue had another name");
                return self.crash();
            }
            1 => self.compare(Moment::Running)?,
            _ => {}
        }
        self.rename_back()
    }

    /// Gives the queue that has another name its own name back.
    pub fn rename_back(&mut self) -> Check {
        let Some(queue) = self.renames.renamed else { return Ok(()) };
        self.repair_disk();
        for _ in 0..20 {
            let commit = self.now().pond.queue(&other_name(queue)).unwrap().rename(&queue_name(queue));
            let Some(answer) = self.answer_to_rename(commit)? else { return Ok(()) };
            self.note(|_| format!("queue {queue} is renamed back: {:?}", answer.as_ref().map(drop)));
            match answer {
                Ok(_) => {
                    self.renames.renamed = None;
                    return Ok(());
                }
                Err(error) => self.oracle.legal_error(&error)?,
            }
            self.advance(1_000);
        }
        Err(format!("I32: queue {queue} does not get its name back"))
    }

    /// Runs the writer until the call is answered. Nothing if the process has died: then the opening has given the queue its
    /// name back.
    fn answer_to_rename(&mut self, commit: Commit<Queue>) -> Result<Option<Result<Queue, Error>>, String> {
        let (mut commit, opened) = (Box::pin(commit), self.opened);
        for _ in 0..1_000 {
            if let Poll::Ready(answer) = commit.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
                return Ok(Some(answer));
            }
            self.write()?;
            if self.opened != opened {
                return Ok(None);
            }
        }
        Err("I23: the call to rename a queue is not answered".into())
    }

    /// Finds out after an opening whether a queue has another name, because a rename was interrupted.
    pub fn see_renames(&mut self) {
        if !self.renames.any {
            return;
        }
        let exists = |name: &str| self.now().pond.queues().iter().any(|queue| queue.name() == name);
        self.renames.renamed = (0..self.plan.queues.len()).find(|queue| exists(&other_name(*queue)));
    }
}
