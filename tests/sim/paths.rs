//! Rare paths, and how often a run has taken each. A path that was never taken fails the run, because what was not
//! reached was not tested.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::guest_talk;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A path, and the engine's log line about it, for paths that cannot be seen from outside.
struct Path {
    name: &'static str,
    said: Option<&'static str>,
    /// The path exists only with the feature `wasm`.
    needs_plugins: bool,
    taken: AtomicU64,
}

const fn seen(name: &'static str) -> Path {
    Path { name, said: None, needs_plugins: false, taken: AtomicU64::new(0) }
}

const fn in_plugins(name: &'static str) -> Path {
    Path { needs_plugins: true, ..seen(name) }
}

const fn said(name: &'static str, said: &'static str) -> Path {
    Path { said: Some(said), ..seen(name) }
}

static PATHS: [Path; 155 + 12] = [
    // Flows and steps.
    seen("a flow was made"),
    seen("a flow was cancelled"),
    seen("a job ran that had waited for another one"),
    seen("a job ran that a handler had added to its flow"),
    seen("a job of a flow was held"),
    seen("a redrive let a flow go on"),
    seen("a callback of a flow ran"),
    seen("a step was found, and not run again"),
    seen("a step was undone"),
    seen("an undo has failed"),
    seen("a handler has slept"),
    // The writer.
    said("a batch was undone and made again", "a batch is undone and made again"),
    said("a command waited for the next batch", "a command waits for the next batch"),
    said("a promotion left some to the next commit", "a promotion leaves the rest to the next commit"),
    said("a start and its end cancelled out", "a start mark is dropped, because the job has ended"),
    said("an end was found in the file after healing", "the end of the attempt is in the file already"),
    seen("a closure was run twice"),
    seen("OutcomeUnknown, and it was durable"),
    seen("OutcomeUnknown, and it was not durable"),
    seen("a transaction with OutcomeUnknown was resolved whole"),
    seen("a pause or its end with OutcomeUnknown was durable"),
    seen("a caller was refused because the queue was full"),
    seen("a caller waited for room and was admitted"),
    seen("a caller waited for room when the queue closed"),
    seen("a caller was told at once that the queue is degraded"),
    seen("a caller was told that the disk is full"),
    seen("a call was dropped while it waited"),
    seen("a guard was undone"),
    seen("a guard was committed"),
    seen("a closure failed"),
    seen("a closure panicked"),
    seen("the writes with a completion failed"),
    said("the hook for dead jobs failed", "`on_dead` failed: the job is dead without what the hook would have written"),
    seen("the hook for dead jobs was called when the file was opened"),
    seen("a call that was refused was made again"),
    seen("a call with OutcomeUnknown was made again"),
    seen("a call that had stored its job was made again"),
    // Healing.
    seen("it healed"),
    seen("it was degraded for more than a minute"),
    seen("it was closed while degraded"),
    seen("a one-shot fault"),
    seen("a lasting fault"),
    seen("a slow disk"),
    said("a reservation was refused", "a reservation was refused"),
    said("a promotion failed", "a promotion failed"),
    said("a page could not be read", "a page could not be read"),
    said("a start that was to be durable first was given back", "a job that was handed out goes back unstarted"),
    // Crashes.
    seen("a crash within a commit"),
    seen("a crash within recovery"),
    seen("a crash that lost unsynced writes"),
    seen("a crash while degraded"),
    seen("a crash beside running jobs"),
    seen("a suspect ran alone"),
    seen("a job waited because the process had died"),
    seen("a job was blamed for a crash"),
    seen("a crash interrupted the only run of a job"),
    seen("a stop interrupted the only run of a job"),
    // The stop.
    seen("a clean close"),
    seen("the last handle was dropped in a closure"),
    seen("a running job went back at the stop"),
    seen("a handler was told to stop"),
    said("a late outcome was ignored", "the outcome of an attempt that was given up came too late"),
    // Dispatch.
    said("a window was full", "a window is full: its last row stays in the table"),
    said("a window was filled after its last known row", "a window is filled behind the rows that it accounts for"),
    said("a page was discarded", "a page that was read meanwhile is ignored"),
    said("a head was put back after its window's last known row", "a row that is put back stays in the table"),
    said("a head was passed over because too many waited", "a head is passed over"),
    seen("a promotion in several batches"),
    seen("a group's head in back-off blocked it"),
    seen("a parked member was passed by"),
    seen("a paused group held its head"),
    seen("jobs of a group ran at the same time"),
    seen("a redriven member started again"),
    seen("a circuit opened"),
    seen("a circuit opened again because its probe failed"),
    seen("a probe closed a circuit"),
    seen("a probe started"),
    seen("the circuit of a group opened"),
    seen("a circuit was closed by hand"),
    seen("a circuit was open when the file was opened"),
    seen("a dead letter held its group"),
    seen("a dead letter came back to its place in the group that it held"),
    seen("a job without a handler waited"),
    seen("a rate held a queue back"),
    seen("a rate held a group back"),
    seen("an answer held a queue or group back"),
    seen("an answer about a job of a group held the whole queue back"),
    seen("concurrency was lowered below what ran"),
    seen("all units of a limit were in use"),
    said(
        "a job was passed over because too many waited for a limit",
        "a job that waits for a shared limit is passed over",
    ),
    seen("a kind was paused"),
    seen("a blocking handler ran"),
    seen("all threads were busy"),
    // Batch handlers.
    seen("a batch handler was called with several jobs"),
    seen("a batch handler was called with fewer jobs than it takes"),
    seen("a job of a batch had timed out when its handler returned"),
    seen("the jobs of one call ended differently"),
    // Reports of handlers.
    seen("lines of a log were dropped"),
    seen("what a run reported was kept with its end"),
    // Cancels.
    seen("a running job was asked to stop"),
    seen("a job that was asked to stop completed"),
    seen("a job that was asked to stop ended as cancelled"),
    seen("a stop ended a job that was asked to stop"),
    // Verbs on many jobs.
    seen("a verb has changed several jobs"),
    seen("a verb on many jobs made several chunks"),
    seen("a verb on many jobs asked a handler to stop"),
    seen("a verb on many jobs found a queue without a worker"),
    seen("an interrupted verb on many jobs was called again"),
    seen("a verb on many jobs continued at a cursor"),
    seen("a job that waited was deleted"),
    // Full queues that drop jobs.
    seen("a full queue dropped a job"),
    seen("a job was dropped in the commit that has stored it"),
    seen("a job that waited was moved"),
    seen("a dead letter was moved"),
    seen("a job was in another queue, and no event said so"),
    // Names of queues.
    seen("a queue was renamed"),
    seen("a queue in use was not renamed"),
    seen("the process died while a queue had another name"),
    // Attempts.
    seen("a timeout"),
    seen("an answer came when the attempt's time was over"),
    seen("a panic in a handler"),
    seen("no attempts were left"),
    seen("a snooze"),
    seen("a follow-up job"),
    seen("something coded was read"),
    seen("something was read that an earlier opening had coded"),
    // Plugins.
    in_plugins("a guest completed its job"),
    in_plugins("a guest broke"),
    in_plugins("a guest read what the job before it in its group had written"),
    in_plugins("a guest of a new version ran"),
    in_plugins("an instance of a guest was used again"),
    in_plugins("a follow-up job was refused"),
    in_plugins("a plugin was suspended"),
    in_plugins("a job was delayed because its plugin was suspended"),
    in_plugins("a plugin was resumed"),
    in_plugins("what plugins keep was compared"),
    in_plugins("what plugins keep was there after a crash"),
    in_plugins("a guest was stopped while it ran"),
    // Time.
    seen("the wall clock was set back ten years"),
    seen("the wall clock was set forward ten years"),
    seen("a job became due by a jump"),
    seen("the wall clock was lost"),
    seen("the machine learned the time"),
    // Schedules.
    seen("a schedule fired"),
    seen("a schedule was edited"),
    seen("runs of a schedule were missed"),
    seen("a missed run of a schedule was made up"),
    said("schedules began anew because the clock was set back", "the times of schedules are computed again"),
    // Topics.
    seen("a message was published"),
    seen("a message was in a stream"),
    seen("an entry was appended"),
    seen("a consumer came to the end of its stream"),
    // Unique keys.
    seen("a call found its key held"),
    seen("a waiting job was replaced"),
    seen("a job that waits for calls was put off by another one"),
    seen("a job ran as what it was replaced with"),
    seen("a job that runs was not replaced"),
    seen("a key was free because its job ran"),
    seen("a key was free because its job was handed out"),
    seen("a window held a key after the end of its job"),
    seen("a job was next when the one before it with its key ended"),
    seen("a call with a key was durable, and no event said so"),
    // Ages.
    seen("a waiting job expired"),
    seen("a job expired by the wall clock"),
    seen("a job whose expiry had passed was retried"),
    seen("a job was kept though the wall clock says that it is old"),
    seen("an old ended job was pruned"),
];

/// Counts that a path was taken.
pub fn took(name: &str) {
    let path = PATHS.iter().find(|path| path.name == name).unwrap_or_else(|| panic!("no such path: {name}"));
    path.taken.fetch_add(1, Ordering::Relaxed);
}

/// All paths with their counts.
pub fn counts() -> Vec<(&'static str, u64)> {
    let there = PATHS.iter().filter(|path| cfg!(feature = "wasm") || !path.needs_plugins);
    there.map(|path| (path.name, path.taken.load(Ordering::Relaxed))).collect()
}

/// Counts the engine's log lines.
pub struct Listener;

#[derive(Default)]
struct Said {
    message: String,
    id: u64,
    queue: String,
    kind: String,
    /// The line reports an attempt's end.
    attempt: bool,
    /// When an attempt was handed out, if the line reports that.
    handed_out: Option<u64>,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "id" => self.id = value,
            "handed_out" => self.handed_out = Some(value),
            "attempt" => self.attempt = true,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            "queue" => self.queue = value.to_owned(),
            "kind" => self.kind = value.to_owned(),
            _ => {}
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("millpond")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        if event.metadata().target() == "millpond::plugin" {
            return guest_talk::logged(&said.message);
        }
        if let Some(at) = said.handed_out {
            return guest_talk::handed_out(said.id, at);
        }
        // The line on the end of an attempt is the only one of this file that names an attempt.
        if said.attempt && event.metadata().target() == "millpond::runtime::log" {
            return guest_talk::ended(said.id, &said.queue, &said.kind);
        }
        if let Some(path) = PATHS.iter().find(|path| path.said == Some(said.message.as_str())) {
            path.taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
