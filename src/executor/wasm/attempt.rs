//! Runs one attempt of a plugin: makes or reuses an instance, calls the handler once, and turns the answer into an
//! [`Outcome`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::Store;

use super::contract::HandleError;
use super::deployed::Deployed;
use super::elsewhere::GuestAttempt;
use super::exceeded::Exceeded;
use super::failure;
use super::guest::Guest;
use super::overlay::Overlay;
use super::pace::Pace;
use super::plain::plain;
use super::sandbox::Slot;
use super::version::Version;
use super::warm::{IdleInstances, Warm};
use crate::handler::Context;
use crate::job::{Outcome, REASON_BYTES_MAX};

/// The most resource handles that a guest can hold at a time. A guest that leaks handles fails here.
pub(super) const HANDLES_MAX: usize = 1_000;

/// How long a job of a suspended plugin is put off. After that time the next attempt checks whether the plugin was
/// resumed.
const OUT_OF_SERVICE: Duration = Duration::from_secs(60);

/// A registered plugin, and what its attempts share: the idle instances and the pace.
pub(super) struct Serving {
    pub plugin: Arc<Deployed>,
    pub idle_instances: IdleInstances,
    pub pace: Pace,
}

impl Serving {
    pub fn new(plugin: Arc<Deployed>) -> Self {
        let idle_instances = IdleInstances::new(plugin.reuse);
        Self { plugin, idle_instances, pace: Pace::default() }
    }

    /// Polls an attempt, and returns whether a tick passed during the poll. If so, a guest that is not done has
    /// computed until that tick.
    pub fn poll<T>(&self, run: Pin<&mut impl Future<Output = T>>, task: &mut TaskContext<'_>) -> (Poll<T>, bool) {
        let before = self.plugin.sandbox.ticks();
        let polled = run.poll(task);
        let ticks = self.plugin.sandbox.ticks().saturating_sub(before);
        match ticks {
            0 if polled.is_ready() => self.pace.was_short(),
            0 => {}
            ticks => self.pace.ticked(ticks),
        }
        (polled, ticks > 0)
    }
}

/// Returns a future that runs one attempt, on the application's runtime or on a thread for guests: see
/// [`elsewhere`](super::elsewhere).
pub(super) fn run(
    serving: &Arc<Serving>,
    payload: Bytes,
    context: Context,
) -> impl Future<Output = Outcome> + Send + use<> {
    let run = attempt(serving.clone(), payload, context.clone());
    GuestAttempt::new(serving.clone(), context, run)
}

async fn attempt(serving: Arc<Serving>, payload: Bytes, context: Context) -> Outcome {
    let Serving { plugin, idle_instances, .. } = &*serving;
    if plugin.service.is_suspended() {
        context.log(format!("plugin {} is suspended after too many broken attempts", plugin.name));
        return Outcome::Snooze(OUT_OF_SERVICE);
    }
    let version = plugin.current();
    context.facts().set_plugin(version.hash);
    // Declared before the instance, so that it is dropped after the instance: a slot becomes free only when its
    // instance is gone.
    let _slot: Slot;
    let mut warm = match idle_instances.take(version.hash) {
        Some(mut warm) => {
            _slot = plugin.places.kept_slot();
            warm.store.data_mut().begin_again(context);
            warm
        }
        None => {
            _slot = match plugin.places.free_slot() {
                Some(slot) => slot,
                None => {
                    let facts = context.facts();
                    let in_line = facts.in_line();
                    let name = &*plugin.name;
                    tracing::debug!(target: "millpond::plugin", "{name} waits for a place: all are taken");
                    let slot = plugin.places.slot().await;
                    drop(in_line);
                    if !facts.leaves_the_line() {
                        return Outcome::Snooze(Duration::ZERO);
                    }
                    slot
                }
            };
            match fresh(&version, Guest::new(plugin.clone(), context)).await {
                Ok(warm) => warm,
                Err((error, mut guest)) => {
                    finish_log(&mut guest);
                    return failure::at_start(&error, &guest, &version);
                }
            }
        }
    };
    warm.store.set_epoch_deadline(plugin.host.turn.ticks());
    let answer = warm.handler.millpond_jobs_handler().call_handle(&mut warm.store, &payload).await;
    let answer = answer.and_then(|answer| within_limit(answer, plugin.limits.output_bytes));
    finish_log(warm.store.data_mut());
    match answer {
        Ok(answer) => {
            plugin.service.answered();
            let overlay = std::mem::take(&mut warm.store.data_mut().overlay);
            let outcome = outcome(answer, overlay, plugin, &warm.store.data().context);
            if matches!(outcome, Outcome::Done(_)) {
                use_again(warm, idle_instances, plugin);
            }
            outcome
        }
        Err(error) => failure::outcome(&error, warm.store.data(), &version),
    }
}

async fn fresh(version: &Version, guest: Guest) -> Result<Box<Warm>, (wasmtime::Error, Box<Guest>)> {
    let mut store = store(guest);
    match version.pre.instantiate_async(&mut store).await {
        Ok(handler) => Ok(Box::new(Warm { store, handler, hash: version.hash, calls: 0, place: None })),
        Err(error) => Err((error, Box::new(store.into_data()))),
    }
}

fn store(guest: Guest) -> Store<Guest> {
    let (call_bytes, ticks) = (guest.plugin.limits.call_bytes, guest.plugin.host.turn.ticks());
    let mut store = Store::new(&guest.plugin.sandbox.engine, guest);
    store.limiter(|guest| &mut guest.meter);
    store.set_hostcall_fuel(call_bytes);
    store.set_max_component_handles(HANDLES_MAX);
    // At each deadline the guest yields, so that other tasks can run. An attempt that was ended meanwhile is dropped at
    // this point: the executor enforces the timeout, as for every attempt.
    store.epoch_deadline_async_yield_and_update(ticks);
    store.set_epoch_deadline(ticks);
    store
}

type Answer = Result<Vec<u8>, HandleError>;

fn within_limit(answer: Answer, limit: usize) -> wasmtime::Result<Answer> {
    match answer {
        Ok(output) if output.len() > limit => Err(Exceeded::Output { len: output.len(), limit }.into()),
        answer => Ok(answer),
    }
}

fn finish_log(guest: &mut Guest) {
    #[cfg(feature = "wasm-wasi")]
    guest.end_lines();
    if guest.log_lines_dropped() > 0 {
        let message = format!("{} more lines were dropped: over the limit", guest.log_lines_dropped());
        tracing::warn!(target: "millpond::plugin", plugin = guest.plugin.name, message);
        guest.context.log(message);
    }
}

/// Keeps the instance for the next attempt, if the plugin is set to reuse instances and a place for it is free.
fn use_again(mut warm: Box<Warm>, idle_instances: &IdleInstances, plugin: &Deployed) {
    warm.calls += 1;
    if !idle_instances.wants(warm.calls) {
        return;
    }
    if warm.place.is_none() {
        warm.place = plugin.places.kept_place();
    }
    if warm.place.is_some() {
        idle_instances.put_back(warm);
    }
}

/// The outcome that the guest's answer stands for. If the job is done, what the guest has written commits with it.
fn outcome(answer: Answer, overlay: Overlay, plugin: &Arc<Deployed>, context: &Context) -> Outcome {
    match answer {
        Ok(output) => {
            if !overlay.is_empty() {
                let plugin = plugin.clone();
                context.on_complete(move |tx| overlay.commit(&plugin, tx));
            }
            Outcome::Done((!output.is_empty()).then(|| output.into()))
        }
        Err(HandleError::Retry(retry)) => {
            let delay = retry.delay.map(Duration::from_nanos);
            Outcome::Retry { error: bounded(retry.reason).into(), delay }
        }
        Err(HandleError::Cancel(reason)) => Outcome::Cancel(bounded(reason)),
        Err(HandleError::DeadLetter(reason)) => Outcome::DeadLetter(bounded(reason)),
        Err(HandleError::Snooze(delay)) => Outcome::Snooze(Duration::from_nanos(delay)),
    }
}

/// Truncates the text, and makes it printable. It is truncated first, so that bytes over the limit cost nothing, and
/// again afterwards, because escapes make it longer.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text = plain(text);
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text.shrink_to_fit();
    text
}
