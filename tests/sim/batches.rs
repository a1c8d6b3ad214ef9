//! Batch handlers: which kinds have them, and what such a handler does. Each job of a call is noted and ends like the job of
//! any other handler, except that the call returns, fails, hangs and dies as a whole: then as its first job says.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::{Batch, Clock, Context, Handled, Jobs, Outcome};
use millpond_testkit::{ON_PURPOSE, one_of};

use crate::handlers::{Act, Doing, Guard, Note, Scene, answer};
use crate::paths::took;
use crate::plan::Plan;
use crate::reports;

/// Which kinds have batch handlers.
#[derive(Clone, Debug, Default)]
pub struct BatchPlan {
    /// For each kind of each queue, the most jobs of a batch and the milliseconds that its first job waits.
    kinds: Vec<[Option<(usize, u64)>; 2]>,
}

impl BatchPlan {
    /// Uses a generator of its own, so that a seed's world is otherwise the same. A third of the worlds have batch handlers.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let rng = &mut Rng::with_seed(seed ^ 0x0062_6174_6368);
        if rng.u8(..3) > 0 || plan.bulk {
            return Self::default();
        }
        let mut kinds = Vec::new();
        for (number, queue) in plan.queues.iter().enumerate() {
            kinds.push([0, 1].map(|kind| {
                let slots = plan.limits.of(number, kind).0.map_or(usize::MAX, |slots| slots as usize);
                let most = queue.concurrency.min(slots);
                let batch = (rng.usize(1..=most), one_of(rng, &[0, 10, 1_000, 60_000]));
                (rng.u8(..3) > 0).then_some(batch)
            }));
        }
        Self { kinds }
    }

    /// The most jobs of a batch of a kind, if it has a batch handler.
    pub fn most(&self, queue: usize, kind: usize) -> Option<usize> {
        Some(self.kinds.get(queue)?[kind]?.0)
    }

    /// The batches of a kind, if it has a batch handler.
    pub fn of(&self, queue: usize, kind: usize) -> Option<Batch> {
        let (jobs, wait) = self.kinds.get(queue)?[kind]?;
        Some(Batch::up_to(jobs).wait(Duration::from_millis(wait)))
    }
}

/// A job of a call.
struct Begun {
    ctx: Context,
    n: u64,
    doing: Doing,
    guard: Guard,
}

fn begin(scene: &Scene, jobs: &Jobs<Bytes>) -> Vec<Begun> {
    let mut begun = Vec::new();
    for job in jobs {
        let ctx = job.context();
        let (n, doing) = scene.begin(job, &ctx);
        let guard = Guard { stage: scene.stage.clone(), n, run: doing.run, act: None };
        reports::begin(&ctx, n, doing.run);
        begun.push(Begun { ctx, n, doing, guard });
    }
    begun
}

/// The handler of batches of at most `most` jobs.
pub async fn handle_batch(scene: Scene, most: usize, jobs: Jobs<Bytes>) -> Handled<Vec<Outcome>> {
    let mut begun = begin(&scene, &jobs);
    if begun.len() > 1 {
        took("a batch handler was called with several jobs");
    }
    if begun.len() < most {
        took("a batch handler was called with fewer jobs than it takes");
    }
    if begun.len() > most {
        let wrong = format!("I10: a batch handler for {most} jobs was called with {}", begun.len());
        scene.stage.lock().unwrap().notes.push(Note::Wrong(wrong));
    }
    if begun.iter().any(|one| one.doing.act == Act::Kill) {
        scene.timers.sleep(begun[0].doing.wait).await;
        scene.stage.lock().unwrap().dies = true;
        std::future::pending::<()>().await;
    }
    let whole = begun[0].doing.act;
    if whole == Act::Hang {
        scene.timers.sleep(Duration::from_secs(1 << 40)).await;
    }
    if !begun[0].doing.wait.is_zero() {
        scene.timers.sleep(begun[0].doing.wait).await;
    }
    if matches!(whole, Act::Fail | Act::Panic) {
        for one in &mut begun {
            one.guard.act = Some(whole);
            reports::end(&one.ctx, one.n, one.doing.run);
        }
        drop(begun);
        if whole == Act::Panic {
            panic!("{ON_PURPOSE}");
        }
        return Err(ON_PURPOSE.into());
    }
    if begun.iter().any(|one| one.ctx.time_left() == Some(Duration::ZERO)) && begun.len() > 1 {
        took("a job of a batch had timed out when its handler returned");
    }
    if begun.iter().any(|one| one.doing.act != whole) {
        took("the jobs of one call ended differently");
    }
    let mut outcomes = Vec::new();
    for Begun { ctx, n, doing, guard } in &mut begun {
        // Only a whole call hangs or panics.
        let act = if matches!(doing.act, Act::Hang | Act::Panic) { Act::Fail } else { doing.act };
        guard.act = Some(act);
        reports::end(ctx, *n, doing.run);
        let outcome = answer(act, (*n, doing.run), doing.child, ctx, scene.clock.wall());
        outcomes.push(outcome.unwrap_or_else(|_| Outcome::retry(ON_PURPOSE)));
    }
    Ok(outcomes)
}
