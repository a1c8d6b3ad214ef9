//! Limits that jobs share, and pauses of kinds: which the world has, and the calls about them.

use fastrand::Rng;
use millpond::WorkerBuilder;
use millpond_testkit::JobSpec;

use crate::calls::Asks;
use crate::plan::{KINDS, Plan, queue_name};
use crate::world::World;

/// The name of the limit.
pub const LIMIT: &str = "units";

/// Which limits jobs share.
#[derive(Clone, Debug, Default)]
pub struct LimitPlan {
    /// The units of the named limit, if there is one.
    pub units: Option<u32>,
    /// For each kind of each queue: how many run at a time, and whether they use the named limit.
    kinds: Vec<[(Option<u32>, bool); 2]>,
}

impl LimitPlan {
    /// Uses a generator of its own, so that a seed's world is otherwise the same. A third of the worlds have limits.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let rng = &mut Rng::with_seed(seed ^ 0x6C69_6D69_7473);
        if rng.u8(..3) > 0 || plan.bulk {
            return Self::default();
        }
        let kind = |rng: &mut Rng| ((rng.u8(..3) == 0).then(|| rng.u32(1..3)), rng.bool());
        let kinds = plan.queues.iter().map(|_| [kind(rng), kind(rng)]).collect();
        Self { units: Some(rng.u32(1..5)), kinds }
    }

    pub fn of(&self, queue: usize, kind: usize) -> (Option<u32>, bool) {
        self.kinds.get(queue).map_or((None, false), |kinds| kinds[kind])
    }

    /// Whether jobs of this kind can wait for a limit.
    pub fn limit(&self, queue: usize, kind: usize) -> bool {
        let (slots, uses) = self.of(queue, kind);
        slots.is_some() || uses
    }

    /// Adds the limits of a queue's first `kinds` kinds to its worker.
    pub fn add_to(&self, mut worker: WorkerBuilder, queue: usize, kinds: usize) -> WorkerBuilder {
        for (kind, name) in KINDS[..kinds].iter().enumerate() {
            let (slots, uses) = self.of(queue, kind);
            if let Some(slots) = slots {
                worker = worker.concurrency_of(*name, slots);
            }
            if uses {
                worker = worker.limit_of(*name, LIMIT);
            }
        }
        worker
    }
}

/// The weight of a job, if it has one.
pub fn weight_of(spec: &JobSpec) -> Option<u32> {
    spec.n.is_multiple_of(4).then_some(spec.n as u32 % 7 + 1)
}

impl World {
    /// Pauses or resumes a kind.
    pub fn pause_a_kind(&mut self) {
        if self.repeats.u8(..6) > 0 {
            return;
        }
        let (queue, kind) = (self.repeats.usize(..self.plan.queues.len()), self.repeats.usize(..KINDS.len()));
        let paused = self.repeats.u8(..5) < 2;
        let handle = self.now().pond.queue(&queue_name(queue)).unwrap();
        let commit = if paused { handle.pause_kind(KINDS[kind]) } else { handle.resume_kind(KINDS[kind]) };
        self.oracle.kind_may_be_paused(self.next_call, (queue, kind));
        self.ask(Asks::PauseKind { queue, kind, paused }, commit);
    }
}
