//! Verbs on many jobs: those of a queue, of a group or with a tag are cancelled, changed, made due, moved or deleted, whatever
//! else happens. A verb that a crash or its caller has interrupted is called again. One is under way at a time.

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use millpond::{Cursor, Error, Event, JobFilter, JobPatch, Priority};

use crate::calls::Asks;
use crate::oracle::{Check, Found, Heard, Oracle};
use crate::paths::took;
use crate::plan::{Plan, group_name, queue_name};
use crate::world::World;

/// What a call does with all jobs that it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Cancel,
    RunNow,
    Update,
    MoveTo(usize),
    Delete,
}

/// Which jobs of a queue a call selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    All,
    Group(u8),
    Tag(u64),
}

/// The jobs that a call selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    pub queue: usize,
    pub part: Part,
}

impl Selected {
    fn filter(self) -> JobFilter {
        let filter = JobFilter::new().queue(queue_name(self.queue));
        match self.part {
            Part::All => filter,
            Part::Group(group) => filter.group(group_name(group)),
            Part::Tag(tag) => filter.tag(tag_name(tag)),
        }
    }
}

pub fn tag_name(tag: u64) -> String {
    format!("t{tag}")
}

/// The tags that jobs can have.
const TAGS: u64 = 3;

/// What a verb has reported: how many chunks, how many jobs were found and changed, and where it continues.
#[derive(Debug, Default)]
struct Progress {
    chunks: u32,
    matched: u64,
    changed: u64,
    next: Option<Cursor>,
}

/// A verb that is under way.
struct UnderWay {
    verb: Verb,
    selected: Selected,
    /// Of its cancels.
    reason: String,
    found: Found,
    heard: Heard,
    progress: Arc<Mutex<Progress>>,
    /// It continues an earlier call.
    resumes: bool,
    /// A worker has served the queue since the file was opened, so some of its jobs can be with handlers.
    served: bool,
    /// Events can have been missed, or a chunk of an earlier call can be told among its own.
    in_doubt: bool,
}

/// A verb that was interrupted, and where it continues if it has told that.
type Interrupted = (Verb, Selected, Option<Cursor>);

/// The verbs of a world.
pub struct Selections {
    /// Of its own, so that a seed's world is otherwise the same.
    rng: Rng,
    any: bool,
    moves: bool,
    calls: u64,
    under_way: Option<UnderWay>,
    interrupted: Option<Interrupted>,
    /// A chunk of a call that was dropped can still be committed.
    adrift: bool,
    /// The queues that a worker has served since the file was opened.
    served: u64,
}

impl Selections {
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let rng = Rng::with_seed(seed ^ 0x7365_6C65_6374);
        Self {
            rng,
            any: plan.selects,
            moves: plan.moves(),
            calls: 0,
            under_way: None,
            interrupted: None,
            adrift: false,
            served: 0,
        }
    }

    /// A verb, and jobs among which there is one that waits or is dead, if there is one.
    fn random_verb(&mut self, oracle: &Oracle) -> (Verb, Selected) {
        let (plan, rng) = (&oracle.plan, &mut self.rng);
        let jobs = oracle.jobs.values();
        let all: Vec<_> = jobs.filter(|job| job.since.is_some() && job.waits_or_is_dead()).collect();
        let unserved: Vec<_> = all.iter().copied().filter(|job| self.served & 1 << job.spec.queue == 0).collect();
        let of_unserved = !unserved.is_empty() && rng.bool();
        let job = rng.choice(if of_unserved { unserved } else { all });
        let queue = job.map_or_else(|| rng.usize(..plan.queues.len()), |job| job.spec.queue);
        let tag = job.map_or(0, |job| job.spec.n % TAGS);
        let part = match (rng.u8(..8), job.and_then(|job| job.spec.group)) {
            (0..=1, _) => Part::All,
            (2..=4, Some(group)) => Part::Group(group),
            _ if plan.bulk => Part::All,
            _ => Part::Tag(tag),
        };
        let target = (queue + rng.usize(1..3)) % plan.queues.len();
        let verb = match rng.u8(..8) {
            0..=1 => Verb::Cancel,
            2 => Verb::RunNow,
            3 => Verb::Delete,
            4..=6 if self.moves && target != queue => Verb::MoveTo(target),
            _ => Verb::Update,
        };
        (verb, Selected { queue, part })
    }

    /// A worker begins to serve this queue.
    pub fn serves(&mut self, queue: usize) {
        self.served |= 1 << queue;
        if let Some(under_way) = self.under_way.as_mut().filter(|under_way| under_way.selected.queue == queue) {
            under_way.served = true;
        }
    }

    /// The file is opened.
    pub fn opened(&mut self) {
        self.served = 0;
    }

    /// Everything that was asked is done.
    pub fn rested(&mut self) {
        self.adrift = false;
    }

    /// An event tells what a verb has done.
    pub fn told(&mut self, event: &Event) {
        let Some(UnderWay { reason: own, heard, in_doubt, .. }) = &mut self.under_way else { return };
        match event {
            Event::Cancelled { reason, .. } if reason == own => heard.cancelled += 1,
            Event::Deleted { .. } => heard.deleted += 1,
            Event::Moved { .. } => heard.moved += 1,
            Event::Degraded { .. } => *in_doubt = true,
            _ => {}
        }
    }
}

impl World {
    /// Calls a verb on many jobs now and then.
    pub fn select(&mut self) -> Check {
        let selections = &mut self.selections;
        if !selections.any {
            return Ok(());
        }
        if let Some(under_way) = &selections.under_way {
            // One that has told where it continues is interrupted more often than other calls.
            let is_between_chunks = under_way.progress.lock().unwrap().next.is_some();
            return if is_between_chunks && selections.rng.bool() { self.drop_the_selection() } else { Ok(()) };
        }
        let again = selections.interrupted.take();
        if again.is_none() && selections.rng.u8(..if self.plan.bulk { 2 } else { 5 }) > 0 {
            return Ok(());
        }
        if again.is_some() {
            took("an interrupted verb on many jobs was called again");
        }
        let ((verb, selected), cursor) = match again {
            Some((verb, selected, cursor)) => ((verb, selected), cursor),
            None => (selections.random_verb(&self.oracle), None),
        };
        selections.calls += 1;
        let reason = format!("selection {}", selections.calls);
        let progress: Arc<Mutex<Progress>> = Arc::default();
        let (resumes, observed) = (cursor.is_some(), progress.clone());
        let mut selection = self.now().pond.select(&selected.filter()).on_progress(move |now| {
            let mut progress = observed.lock().unwrap();
            progress.chunks += 1;
            (progress.matched, progress.changed, progress.next) = (now.matched, now.changed, now.next.clone());
        });
        if let Some(cursor) = cursor {
            took("a verb on many jobs continued at a cursor");
            selection = selection.resume_at(cursor);
        }
        let commit = match verb {
            Verb::Cancel => selection.cancel(reason.clone()),
            Verb::RunNow => selection.run_now(),
            Verb::Update => selection.update(JobPatch::new().priority(Priority::FIRST)),
            Verb::MoveTo(queue) => selection.move_to(&queue_name(queue)),
            Verb::Delete => selection.delete(),
        };
        let in_doubt = self.selections.adrift || self.oracle.blind;
        self.selections.under_way = Some(UnderWay {
            verb,
            selected,
            reason,
            found: self.oracle.selects(verb, selected),
            heard: Heard::default(),
            progress,
            resumes,
            served: self.selections.served & 1 << selected.queue != 0,
            in_doubt,
        });
        self.note(|_| format!("{verb:?} of {selected:?}, resumes {resumes}"));
        let future = async move { commit.await.map(|done| vec![done.matched, done.changed]) };
        // It looks at the jobs that exist now.
        self.ask_and_poll(Asks::Select, Box::pin(future))
    }

    /// The caller of a verb has dropped it, or is gone with its process.
    pub fn selection_dropped(&mut self) {
        let Some(under_way) = self.selections.under_way.take() else { return };
        self.oracle.selected_in_part(&under_way.found);
        self.selections.adrift = true;
        let cursor = under_way.progress.lock().unwrap().next.take();
        self.selections.interrupted = Some((under_way.verb, under_way.selected, cursor));
    }

    /// A verb was answered.
    pub fn selected(&mut self, answer: &Result<Vec<u64>, Error>) -> Check {
        let Some(under_way) = self.selections.under_way.take() else {
            return Err("I31: a verb was answered that was not called".into());
        };
        let UnderWay { verb, found, heard, resumes, served, .. } = under_way;
        let in_doubt = under_way.in_doubt || self.oracle.blind;
        let progress = under_way.progress.lock().unwrap();
        let (matched, changed) = match answer {
            Ok(done) => (done[0], done[1]),
            Err(error) => {
                self.oracle.selected_in_part(&found);
                self.selections.adrift = true;
                return self.oracle.legal_error(error);
            }
        };
        if (progress.matched, progress.changed) != (matched, changed) || progress.next.is_some() {
            return Err(format!("I31: {verb:?} has changed {changed} of {matched}, and reported {progress:?}"));
        }
        if changed > matched {
            return Err(format!("I31: {verb:?} has found {matched} jobs, and changed {changed}"));
        }
        if changed > 1 {
            took("a verb has changed several jobs");
        }
        if progress.chunks > 1 {
            took("a verb on many jobs made several chunks");
        }
        if in_doubt {
            self.oracle.selected_in_part(&found);
            return Ok(());
        }
        // A row that cannot be read is passed over.
        let is_whole = !resumes && !self.oracle.harmed;
        let is_one_chunk = progress.chunks == 1;
        self.oracle.selected(verb, &found, (matched, changed), heard, (is_whole, is_one_chunk, served))
    }
}
