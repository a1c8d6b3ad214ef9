//! What all attempts of a plugin share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use super::deployed::Deployed;
use super::pace::Pace;
use super::version::Version;
use super::warm::IdleInstances;
use crate::handler::Context;
use crate::sync::RwLock;

/// A registered plugin with the version that runs now, and what its attempts share: the idle instances and the pace.
pub(super) struct Serving {
    pub plugin: Arc<Deployed>,
    pub idle_instances: IdleInstances,
    pub pace: Pace,
    /// An attempt keeps the version that it started with until it ends.
    current: RwLock<Arc<Version>>,
}

impl Serving {
    pub fn new(plugin: Arc<Deployed>, version: Version) -> Self {
        let idle_instances = IdleInstances::new(plugin.reuse);
        Self { plugin, idle_instances, pace: Pace::default(), current: RwLock::new(Arc::new(version)) }
    }

    pub fn current(&self) -> Arc<Version> {
        self.current.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Replaces the current version. Attempts that start from now on run the new one.
    pub fn replace(&self, version: Version) {
        *self.current.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(version);
    }

    /// Polls the attempt of this context, and returns whether a tick passed during the poll. If so, a guest that is not done
    /// has computed until that tick.
    pub fn poll<T>(
        &self,
        context: &Context,
        run: Pin<&mut impl Future<Output = T>>,
        task: &mut TaskContext<'_>,
    ) -> (Poll<T>, bool) {
        let (before, begun) = (self.plugin.sandbox.ticks(), context.facts().monotonic());
        let polled = run.poll(task);
        self.plugin.service.computed(context.facts().monotonic().saturating_sub(begun));
        let ticks = self.plugin.sandbox.ticks().saturating_sub(before);
        match ticks {
            0 if polled.is_ready() => self.pace.was_short(),
            0 => {}
            ticks => self.pace.ticked(ticks),
        }
        (polled, ticks > 0)
    }
}
