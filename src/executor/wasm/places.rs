//! Bounds how many guests are alive at a time, and decides which plugin gets the next free place.
//!
//! All plugins of a process share a number of places. In addition each plugin has one place of its own. So a plugin can
//! run even if other plugins hold all shared places for as long as their attempts take. A shared place that becomes
//! free goes to the plugin that holds the fewest places, and among those to the one that has waited longest.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::sync::{Mutex, MutexGuard};

/// The places of one kind: either for instances that run, or for instances that are kept until the next attempt.
pub(super) struct Places(Arc<Mutex<State>>);

struct State {
    /// Shared places that are free.
    free: usize,
    /// How many plugins can still be given a place of their own.
    own_left: usize,
    plugins: Vec<Plugin>,
    /// The ticket of the next attempt that has to wait.
    tickets: u64,
    /// The number of the next plugin.
    next: u64,
}

/// The places that one plugin holds, and its attempts that wait for one.
struct Plugin {
    number: u64,
    held: usize,
    own: Own,
    waiting: VecDeque<Waiting>,
    /// Its share was dropped. It is removed once it holds no place.
    is_gone: bool,
}

/// A plugin's own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Free,
    Taken,
    /// All places for plugins' own were given away when the plugin was registered.
    None,
}

struct Waiting {
    ticket: u64,
    answer: oneshot::Sender<Place>,
}

/// One plugin's access to the places.
pub(super) struct Share {
    state: Arc<Mutex<State>>,
    number: u64,
}

/// A place. Dropping it frees the place.
pub(super) struct Place {
    state: Arc<Mutex<State>>,
    number: u64,
    is_own: bool,
    is_released: bool,
}

impl Places {
    /// Makes `shared` places for all plugins together, and `own` places that are each given to one plugin.
    pub fn new(shared: usize, own: usize) -> Self {
        let state = State { free: shared, own_left: own, plugins: Vec::new(), tickets: 0, next: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Registers one more plugin.
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
    /// Takes a place, if one is free.
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
        waiting.await.expect("a waiting attempt is answered while its plugin is registered")
    }

    fn place(&self, is_own: bool) -> Place {
        Place { state: self.state.clone(), number: self.number, is_own, is_released: false }
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
        let mut next = self.release();
        while let Some((answer, place)) = next {
            // The attempt that waited may have ended meanwhile: then the place goes to the next one.
            next = match answer.send(place) {
                Ok(()) => None,
                Err(mut place) => place.release(),
            };
        }
    }
}

impl Place {
    /// Frees the place, and takes it for the attempt that is next, if there is one. The caller sends it, after the lock
    /// is released, because a place that cannot be delivered is released again.
    fn release(&mut self) -> Option<(oneshot::Sender<Place>, Place)> {
        if std::mem::replace(&mut self.is_released, true) {
            return None;
        }
        let mut state = lock(&self.state);
        let at = state.at(self.number);
        state.plugins[at].held -= 1;
        let next = match self.is_own {
            // The plugin's own place goes to no other plugin.
            true => {
                state.plugins[at].own = Own::Free;
                (!state.plugins[at].waiting.is_empty()).then_some(at)
            }
            false => {
                state.free += 1;
                state.next_waiting()
            }
        };
        let next = next.map(|at| state.give_place(at));
        state.forget_if_over(at);
        let (answer, number, is_own) = next?;
        Some((answer, Place { state: self.state.clone(), number, is_own, is_released: false }))
    }
}

impl State {
    fn at(&self, number: u64) -> usize {
        self.plugins
            .binary_search_by_key(&number, |plugin| plugin.number)
            .expect("a plugin that holds something is there")
    }

    /// Takes a place for a plugin, and returns whether it is the plugin's own. `None` if no place is free.
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

    /// The plugin that gets the next shared place.
    fn next_waiting(&self) -> Option<usize> {
        let plugins = self.plugins.iter().enumerate();
        let waiting = plugins.filter_map(|(at, plugin)| Some((plugin.held, plugin.waiting.front()?.ticket, at)));
        waiting.min().map(|(_, _, at)| at)
    }

    /// Takes a free place for the first waiting attempt of this plugin.
    fn give_place(&mut self, at: usize) -> (oneshot::Sender<Place>, u64, bool) {
        let number = self.plugins[at].number;
        let waiting = self.plugins[at].waiting.pop_front().expect("the caller has checked that one waits");
        let is_own = self.take(number).expect("the caller has freed a place");
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
    fn a_plugin_that_holds_all_shared_places_leaves_every_other_plugin_its_own() {
        let places = Places::new(4, 2);
        let (greedy, other, late) = (places.share(), places.share(), places.share());
        let held = taken(&greedy, 5);
        assert!(greedy.try_take().is_none());
        let own = taken(&other, 1);
        assert!(other.try_take().is_none());
        assert!(late.try_take().is_none(), "only two plugins have a place of their own");
        drop(own);
        assert_eq!(taken(&other, 1).len(), 1, "the place is free for the next attempt of this plugin");
        assert!(greedy.try_take().is_none(), "the place is not free for another plugin");
        drop((held, greedy));
        assert_eq!(
            places.share().try_take().map(|place| place.is_own),
            Some(true),
            "a removed plugin frees its own place"
        );
    }

    #[test]
    fn a_free_place_goes_to_the_plugin_that_holds_the_fewest_and_then_to_the_one_that_waited_longest() {
        let places = Places::new(4, 3);
        let (greedy, one, two) = (places.share(), places.share(), places.share());
        let (mut held, _own) = (taken(&greedy, 5), (taken(&one, 1), taken(&two, 1)));
        let (mut first, mut second) = (pin!(greedy.take()), pin!(two.take()));
        let (mut third, mut fourth) = (pin!(one.take()), pin!(two.take()));
        assert!(poll(first.as_mut()).is_none() && poll(second.as_mut()).is_none());
        assert!(poll(third.as_mut()).is_none() && poll(fourth.as_mut()).is_none());
        held.pop();
        let _second = poll(second).expect("both plugins hold one, and this one has waited longer");
        held.pop();
        let _third = poll(third).expect("this plugin holds one, and the others hold two and three");
        held.pop();
        assert!(poll(fourth.as_mut()).is_none());
        let _first = poll(first).expect("both waiting plugins hold two, and this one has waited longer");
        held.pop();
        assert!(poll(fourth).is_some());
    }

    #[test]
    fn a_plugins_own_place_goes_to_the_next_attempt_of_the_same_plugin() {
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
    fn a_place_is_not_lost_if_the_attempt_that_waited_for_it_has_ended() {
        let places = Places::new(1, 0);
        let (one, other) = (places.share(), places.share());
        let held = one.try_take().unwrap();
        let mut waits = Box::pin(other.take());
        assert!(poll(waits.as_mut()).is_none());
        let mut waits_too = pin!(one.take());
        assert!(poll(waits_too.as_mut()).is_none());
        drop(waits);
        drop(held);
        let place = poll(waits_too).expect("the place went to the next attempt");
        drop(place);
        // A place that was sent and not received is freed with its channel.
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
