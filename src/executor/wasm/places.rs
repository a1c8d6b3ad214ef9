//! Who may have a guest alive, and who is next when there is no room for another.
//!
//! There are so many places for all plugins of a process. Each plugin has one of its own beside these, so that others
//! that hold all of them, for as long as their attempts may take, cannot keep it from running. A place that becomes free goes
//! to the plugin that holds the fewest, and among those to the one that has waited longest.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::sync::{Mutex, MutexGuard};

/// The places of one kind: to run in, or to be kept in until the next attempt.
pub(super) struct Places(Arc<Mutex<State>>);

struct State {
    /// Places that any plugin may take.
    free: usize,
    /// How many plugins can still be given a place of their own.
    own_left: usize,
    plugins: Vec<Plugin>,
    /// Counts up with each attempt that has to wait.
    tickets: u64,
    /// Numbers plugins.
    next: u64,
}

/// What one plugin holds, and who waits for it.
struct Plugin {
    number: u64,
    held: usize,
    own: Own,
    waiting: VecDeque<Waiting>,
    /// Nobody can ask for it any more. It is forgotten once it holds nothing.
    is_gone: bool,
}

/// A plugin's own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Free,
    Taken,
    /// There were too many plugins when it came.
    None,
}

struct Waiting {
    ticket: u64,
    answer: oneshot::Sender<Place>,
}

/// One plugin's right to places.
pub(super) struct Share {
    state: Arc<Mutex<State>>,
    number: u64,
}

/// A place, until it is dropped.
pub(super) struct Place {
    state: Arc<Mutex<State>>,
    number: u64,
    is_own: bool,
    is_left: bool,
}

impl Places {
    /// `shared` are for all plugins together; as many plugins as `own` says have one more each.
    pub fn new(shared: usize, own: usize) -> Self {
        let state = State { free: shared, own_left: own, plugins: Vec::new(), tickets: 0, next: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// For one more plugin.
    pub fn share(&self) -> Share {
        let mut state = lock(&self.0);
        let own = if state.own_left > 0 { Own::Free } else { Own::None };
        state.own_left = state.own_left.saturating_sub(1);
        let number = state.next;
        state.next += 1;
        state.plugins.push(Plugin { number, held: 0, own, waiting: VecDeque::new(), is_gone: false });
        Share { state: self.0.clone(), number }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|e| e.into_inner())
}

impl Share {
    /// A place, if one is free.
    pub fn try_take(&self) -> Option<Place> {
        let is_own = lock(&self.state).take(self.number)?;
        Some(self.place(is_own))
    }

    /// Waits for a place.
    pub async fn take(&self) -> Place {
        let waiting = {
            let mut state = lock(&self.state);
            match state.take(self.number) {
                Some(is_own) => return self.place(is_own),
                None => state.wait(self.number),
            }
        };
        waiting.await.expect("a waiting attempt is answered as its plugin is there")
    }

    fn place(&self, is_own: bool) -> Place {
        Place { state: self.state.clone(), number: self.number, is_own, is_left: false }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let at = state.at(self.number);
        state.plugins[at].is_gone = true;
        state.forget_if_over(at);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut next = self.leave();
        while let Some((answer, place)) = next {
            // Whoever waited may have been ended: then the place goes on to the next one.
            next = match answer.send(place) {
                Ok(()) => None,
                Err(mut place) => place.leave(),
            };
        }
    }
}

impl Place {
    /// Gives it up, to whoever is next. The answer is sent once the lock is free, because a place that cannot be delivered
    /// comes back here.
    fn leave(&mut self) -> Option<(oneshot::Sender<Place>, Place)> {
        if std::mem::replace(&mut self.is_left, true) {
            return None;
        }
        let mut state = lock(&self.state);
        let at = state.at(self.number);
        state.plugins[at].held -= 1;
        let next = match self.is_own {
            // It is this plugin's own: nobody else may have it.
            true => {
                state.plugins[at].own = Own::Free;
                (!state.plugins[at].waiting.is_empty()).then_some(at)
            }
            false => {
                state.free += 1;
                state.next_in_line()
            }
        };
        let next = next.map(|at| state.let_in(at));
        state.forget_if_over(at);
        let (answer, number, is_own) = next?;
        Some((answer, Place { state: self.state.clone(), number, is_own, is_left: false }))
    }
}

impl State {
    fn at(&self, number: u64) -> usize {
        self.plugins
            .binary_search_by_key(&number, |plugin| plugin.number)
            .expect("a plugin that holds something is there")
    }

    /// Takes a place for a plugin, and says whether it is the plugin's own.
    fn take(&mut self, number: u64) -> Option<bool> {
        let at = self.at(number);
        let is_own = self.plugins[at].own == Own::Free;
        if is_own {
            self.plugins[at].own = Own::Taken;
        } else {
            self.free = self.free.checked_sub(1)?;
        }
        self.plugins[at].held += 1;
        Some(is_own)
    }

    fn wait(&mut self, number: u64) -> oneshot::Receiver<Place> {
        let (answer, waiting) = oneshot::channel();
        let (at, ticket) = (self.at(number), self.tickets);
        self.tickets += 1;
        self.plugins[at].waiting.push_back(Waiting { ticket, answer });
        waiting
    }

    /// The plugin whose turn it is.
    fn next_in_line(&self) -> Option<usize> {
        let lines = self.plugins.iter().enumerate();
        let waiting = lines.filter_map(|(at, plugin)| Some((plugin.held, plugin.waiting.front()?.ticket, at)));
        waiting.min().map(|(_, _, at)| at)
    }

    /// Gives a place that is free to the first who waits for this plugin.
    fn let_in(&mut self, at: usize) -> (oneshot::Sender<Place>, u64, bool) {
        let number = self.plugins[at].number;
        let waiting = self.plugins[at].waiting.pop_front().expect("the caller has looked");
        let is_own = self.take(number).expect("the caller has freed one");
        (waiting.answer, number, is_own)
    }

    fn forget_if_over(&mut self, at: usize) {
        let plugin = &self.plugins[at];
        if plugin.is_gone && plugin.held == 0 {
            self.own_left += usize::from(plugin.own != Own::None);
            self.plugins.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(waiting: Pin<&mut impl Future<Output = Place>>) -> Option<Place> {
        match waiting.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    fn taken(share: &Share, places: usize) -> Vec<Place> {
        (0..places).map(|_| share.try_take().unwrap()).collect()
    }

    #[test]
    fn one_that_holds_all_shared_places_leaves_each_other_its_own() {
        let places = Places::new(4, 2);
        let (greedy, other, late) = (places.share(), places.share(), places.share());
        let held = taken(&greedy, 5);
        assert!(greedy.try_take().is_none());
        let own = taken(&other, 1);
        assert!(other.try_take().is_none());
        assert!(late.try_take().is_none(), "there were two places for plugins' own");
        drop(own);
        assert_eq!(taken(&other, 1).len(), 1, "it is free for the next attempt of this plugin");
        assert!(greedy.try_take().is_none(), "and for nobody else");
        drop((held, greedy));
        assert_eq!(places.share().try_take().map(|place| place.is_own), Some(true), "a plugin that is gone leaves it");
    }

    #[test]
    fn a_free_place_goes_to_the_plugin_that_holds_the_fewest_and_then_by_turn() {
        let places = Places::new(4, 3);
        let (greedy, one, two) = (places.share(), places.share(), places.share());
        let (mut held, _own) = (taken(&greedy, 5), (taken(&one, 1), taken(&two, 1)));
        let (mut first, mut second) = (pin!(greedy.take()), pin!(two.take()));
        let (mut third, mut fourth) = (pin!(one.take()), pin!(two.take()));
        assert!(poll(first.as_mut()).is_none() && poll(second.as_mut()).is_none());
        assert!(poll(third.as_mut()).is_none() && poll(fourth.as_mut()).is_none());
        held.pop();
        let _second = poll(second).expect("of two that hold one each it has waited longer");
        held.pop();
        let _third = poll(third).expect("it holds one, and the others two and three");
        held.pop();
        assert!(poll(fourth.as_mut()).is_none());
        let _first = poll(first).expect("both that wait hold two, and it has waited longer");
        held.pop();
        assert!(poll(fourth).is_some());
    }

    #[test]
    fn a_plugins_own_place_is_handed_on_within_the_plugin() {
        let places = Places::new(0, 2);
        let (one, other) = (places.share(), places.share());
        let own = one.try_take().unwrap();
        let _others = other.try_take().unwrap();
        let (mut waits, mut waits_too) = (pin!(other.take()), pin!(one.take()));
        assert!(poll(waits.as_mut()).is_none() && poll(waits_too.as_mut()).is_none());
        drop(own);
        assert!(poll(waits).is_none());
        assert!(poll(waits_too).is_some());
    }

    #[test]
    fn a_place_is_not_lost_with_one_that_no_longer_waits_for_it() {
        let places = Places::new(1, 0);
        let (one, other) = (places.share(), places.share());
        let held = one.try_take().unwrap();
        let mut waits = Box::pin(other.take());
        assert!(poll(waits.as_mut()).is_none());
        let mut waits_too = pin!(one.take());
        assert!(poll(waits_too.as_mut()).is_none());
        drop(waits);
        drop(held);
        let place = poll(waits_too).expect("it went on to the next one");
        drop(place);
        // And one that was answered and did not look is dropped with its answer.
        let held = one.try_take().unwrap();
        let mut waits = Box::pin(other.take());
        assert!(poll(waits.as_mut()).is_none());
        drop(held);
        drop(waits);
        assert!(one.try_take().is_some());
    }

    #[test]
    fn a_plugin_is_forgotten_with_its_last_guest() {
        let places = Places::new(1, 1);
        let share = places.share();
        let place = share.try_take().unwrap();
        drop(share);
        assert_eq!(lock(&places.0).plugins.len(), 1);
        assert!(places.share().try_take().is_some_and(|place| !place.is_own), "its own place is still taken");
        drop(place);
        assert!(lock(&places.0).plugins.is_empty());
        assert!(places.share().try_take().is_some_and(|place| place.is_own));
    }
}
