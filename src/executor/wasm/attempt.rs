//! Runs one attempt of a plugin: makes or reuses an instance, calls the handler once, and turns the answer into an
//! [`Outcome`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millpond_rules::attempt::HANDLES;
use wasmtime::Store;

use super::contract::HandleError;
use super::deployed::Deployed;
use super::elsewhere::GuestAttempt;
use super::exceeded::Exceeded;
use super::failure;
use super::guest::{Guest, RateLimit};
use super::plain::plain;
use super::sandbox::Slot;
use super::serving::Serving;
use super::version::Version;
use super::warm::{IdleInstances, Warm};
use crate::handler::Context;
use crate::job::{Outcome, REASON_BYTES_MAX, Suspended};
use crate::storage::Usage;

/// How long a job of a suspended plugin is put off. After that time the next attempt checks whether the plugin was
/// resumed.
const OUT_OF_SERVICE: Duration = Duration::from_secs(60);

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
    plugin.service.began();
    let version = serving.current();
    context.facts().guest.set_plugin(version.hash);
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
                    let waits = facts.guest.wait_for_place(&facts.time);
                    let name = &*plugin.name;
                    tracing::debug!(target: "millpond::plugin", "{name} waits for a place: all are taken");
                    let slot = plugin.places.slot().await;
                    drop(waits);
                    if !facts.guest.takes_place(|| facts.is_cancelled()) {
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
            let outcome = outcome(answer, warm.store.data_mut());
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
    store.limiter(|guest| guest);
    store.set_hostcall_fuel(call_bytes);
    store.set_max_component_handles(HANDLES);
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
fn outcome(answer: Answer, guest: &mut Guest) -> Outcome {
    match answer {
        Ok(output) => {
            let overlay = std::mem::take(&mut guest.overlay);
            if !overlay.is_empty() {
                let plugin = guest.plugin.clone();
                let quota = Usage { keys: plugin.limits.state_keys, bytes: plugin.limits.state_bytes };
                guest.context.on_complete(move |tx| overlay.commit(&plugin.name, quota, tx));
            }
            Outcome::Done((!output.is_empty()).then(|| output.into()))
        }
        Err(HandleError::Retry(_) | HandleError::Snooze(_)) if guest.context.facts().is_suspended() => {
            Outcome::Retry { error: Suspended.into(), delay: None }
        }
        Err(HandleError::Retry(retry)) => {
            let delay = retry.delay.map(Duration::from_nanos);
            Outcome::Retry { error: bounded(retry.reason).into(), delay }
        }
        Err(HandleError::Cancel(reason)) => Outcome::Cancel(bounded(reason)),
        Err(HandleError::DeadLetter(reason)) => Outcome::DeadLetter(bounded(reason)),
        Err(HandleError::Snooze(delay)) => {
            let delay = Duration::from_nanos(delay);
            let limited = delay.min(guest.plugin.limits.rate_limit_time);
            match guest.rate_limit {
                None => Outcome::Snooze(delay),
                Some(RateLimit::Group) => Outcome::RateLimited(limited),
                Some(RateLimit::Queue) => Outcome::RateLimitedQueue(limited),
            }
        }
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
