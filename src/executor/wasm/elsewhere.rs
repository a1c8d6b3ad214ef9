//! Decides where an attempt runs: on the application's runtime while it is short, and on a thread for guests once it
//! computes.
//!
//! While a guest computes on a thread of the application's runtime, the other tasks of that thread wait. So an attempt
//! that is still running at a tick moves to a thread for guests, and the attempts of a plugin that mostly compute start
//! there. A short attempt stays on the runtime, because changing threads would cost more than the attempt itself.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll, ready};

use tracing::Instrument;
use tracing::instrument::WithSubscriber;

use super::host::Turn;
use super::sandbox::cpus;
use super::serving::Serving;
use crate::handler::Context;
use crate::job::Outcome;
use crate::sync::{OtherTask, Tasks};

/// The name of the threads that guests compute on.
const THREADS: &str = "millpond-guests";

/// An attempt, on whichever thread it runs.
pub(super) struct GuestAttempt<F> {
    serving: Arc<Serving>,
    context: Context,
    place: Place<F>,
}

enum Place<F> {
    Here(Pin<Box<F>>),
    Elsewhere(OtherTask<Outcome>),
    /// It moves to another thread at this moment, or has ended.
    Nowhere,
}

impl<F: Future<Output = Outcome> + Send + 'static> GuestAttempt<F> {
    pub fn new(serving: Arc<Serving>, context: Context, run: F) -> Self {
        Self { serving, context, place: Place::Here(Box::pin(run)) }
    }

    /// Moves the attempt to a thread for guests. Returns false if it is not on the runtime, or there are no such
    /// threads.
    fn hand_over(&mut self) -> bool {
        if !matches!(self.place, Place::Here(_)) {
            return false;
        }
        let (Some(guests), Some(application)) = (guest_threads(), Tasks::current()) else { return false };
        let Place::Here(run) = std::mem::replace(&mut self.place, Place::Nowhere) else { return false };
        let (serving, context) = (self.serving.clone(), self.context.clone());
        let run = Computing { run, serving, context, application };
        self.place = Place::Elsewhere(guests.spawn_task(run.in_current_span().with_current_subscriber()));
        true
    }
}

impl<F: Future<Output = Outcome> + Send + 'static> Future for GuestAttempt<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        // In a simulation a guest stays on the thread that runs the simulation's steps.
        let stays = this.serving.plugin.host.turn == Turn::EveryStep;
        let begins_elsewhere = !stays && this.serving.pace.computes() && this.hand_over();
        if !begins_elsewhere && let Place::Here(run) = &mut this.place {
            let (polled, ticked) = this.serving.poll(&this.context, run.as_mut(), task);
            if polled.is_ready() || !ticked || stays || !this.hand_over() {
                return polled;
            }
        }
        let Place::Elsewhere(other) = &mut this.place else { unreachable!("it was handed over") };
        let end = ready!(other.poll_end(task));
        this.place = Place::Nowhere;
        Poll::Ready(end.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl<F> Drop for GuestAttempt<F> {
    fn drop(&mut self) {
        // The executor, which drops the attempt, waits for this future: it is ready once the attempt no longer runs
        // there.
        if let Place::Elsewhere(other) = std::mem::replace(&mut self.place, Place::Nowhere) {
            self.context.facts().guest.left_behind(other.end());
        }
    }
}

/// An attempt on a thread for guests.
struct Computing<F> {
    run: Pin<Box<F>>,
    serving: Arc<Serving>,
    context: Context,
    /// The guest's network requests go through the application's runtime.
    application: Tasks,
}

impl<F: Future<Output = Outcome>> Future for Computing<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        let _application = this.application.enter();
        this.serving.poll(&this.context, this.run.as_mut(), task).0
    }
}

/// The threads for guests of this process, which are started when they are first needed.
fn guest_threads() -> Option<&'static Tasks> {
    static THREADS_FOR_GUESTS: OnceLock<Option<Tasks>> = OnceLock::new();
    let make = || {
        // More threads than processors would not compute faster.
        let made = Tasks::on_own_threads(THREADS, cpus());
        made.inspect_err(
            |error| tracing::warn!(%error, "no threads for guests: they compute on the application's threads"),
        )
        .ok()
    };
    THREADS_FOR_GUESTS.get_or_init(make).as_ref()
}
