//! One attempt: a fresh instance, one call, the answer.

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
use super::warm::{Warm, WarmOnes};
use crate::handler::Context;
use crate::job::{Outcome, REASON_BYTES_MAX};

/// What a guest may hold of the host's resources at a time: a leak ends here.
pub(super) const HANDLES_MAX: usize = 1_000;

/// How long a job of a suspended plugin is put off: whether it was resumed is checked again then.
const OUT_OF_SERVICE: Duration = Duration::from_secs(60);

/// A plugin as its worker runs it.
pub(super) struct Serving {
    pub plugin: Arc<Deployed>,
    pub warm_ones: WarmOnes,
    pub pace: Pace,
}

impl Serving {
    pub fn new(plugin: Arc<Deployed>) -> Self {
        let warm_ones = WarmOnes::new(plugin.reuse);
        Self { plugin, warm_ones, pace: Pace::default() }
    }

    /// Polls an attempt. Says whether a tick has passed meanwhile: if so, a guest that is not done has computed until then.
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

/// One attempt, which runs where it should.
pub(super) fn run(
    serving: &Arc<Serving>,
    payload: Bytes,
    context: Context,
) -> impl Future<Output = Outcome> + Send + use<> {
    let run = attempt(serving.clone(), payload, context.clone());
    GuestAttempt::new(serving.clone(), context, run)
}

async fn attempt(serving: Arc<Serving>, payload: Bytes, context: Context) -> Outcome {
    let Serving { plugin, warm_ones, .. } = &*serving;
    if plugin.service.is_suspended() {
        context.log(format!("plugin {} is suspended after too many broken attempts", plugin.name));
        return Outcome::Snooze(OUT_OF_SERVICE);
    }
    let version = plugin.current();
    context.facts().set_plugin(version.hash);
    // Declared before the instance, so that it outlives it: a place is free when what was in it is gone.
    let _slot: Slot;
    let mut warm = match warm_ones.take(version.hash) {
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
                    tracing::debug!(target: "millpond::plugin", "{name} stands in line: as many guests run as may");
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
                use_again(warm, warm_ones, plugin);
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
    // Others have their turn then, and the attempt ends here if it was ended meanwhile: its time is kept where that
    // of every attempt is.
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

/// Keeps it for the next attempt, if that was asked for and there is a place for it.
fn use_again(mut warm: Box<Warm>, warm_ones: &WarmOnes, plugin: &Deployed) {
    warm.calls += 1;
    if !warm_ones.wants(warm.calls) {
        return;
    }
    if warm.place.is_none() {
        warm.place = plugin.places.kept_place();
    }
    if warm.place.is_some() {
        warm_ones.put_back(warm);
    }
}

/// What the guest says, and what it has written if the job is done by that.
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

/// Cut off first: what is over the limit is not even looked at.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text = plain(text);
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text.shrink_to_fit();
    text
}
