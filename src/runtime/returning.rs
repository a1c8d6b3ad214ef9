//! Waits a moment for callers who were just answered: most who enqueue ask again at once.
//!
//! Without it a crowd of callers splits in two halves, one of which waits for the disk while the other
//! gathers: each commit serves half of them. With it they go together, and the rate nearly doubles.

use std::time::Duration;

use crate::sync::thread;
use crate::writer::{Outbox, Round, Then};

/// The wait is at most this part of what the last commit took, so it costs little where nobody returns.
const PART_OF_A_COMMIT: u32 = 4;

/// And at most this long, on disks that are slow.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// And this many looks: a test's clock may stand still.
const LOOKS_MAX: u32 = 1_000;

/// Where hardly anybody returns, so many commits at most go by before it is tried again.
const PASSED_MAX: u32 = 64;

/// Who may come back.
#[derive(Default)]
pub(super) struct Returning {
    /// Callers whom the last commit has answered.
    answered: usize,
    /// What had gathered by then.
    waiting: usize,
    took: Duration,
    /// Commits to be made without a wait, and how many there were to be last time.
    passes: u32,
    passed: u32,
}

impl Returning {
    /// A commit that took this long is about to answer so many; so many commands wait by now.
    pub fn answered(&mut self, answered: usize, waiting: usize, took: Duration) {
        (self.answered, self.waiting, self.took) = (answered, waiting, took);
    }

    /// Nobody was answered, or only one and nobody else was there.
    pub fn expects_nobody(&self) -> bool {
        self.answered == 0 || self.answered + self.waiting < 2
    }

    /// Gathers what those bring who were answered, if they come at once.
    pub fn wait(&mut self, outbox: &mut Outbox, round: &mut Round, mono: impl Fn() -> Duration) {
        let alone = self.expects_nobody();
        let answered = std::mem::take(&mut self.answered);
        let expected = answered + self.waiting;
        let patience = (self.took / PART_OF_A_COMMIT).min(WAIT_MAX);
        if alone || patience.is_zero() || !matches!(round.then, Then::Nothing) {
            return;
        }
        if self.passes > 0 {
            self.passes -= 1;
            return;
        }
        let until = mono() + patience;
        for _ in 0..LOOKS_MAX {
            if round.commands.len() >= expected || mono() >= until {
                break;
            }
            thread::yield_now();
            outbox.gather_more(round);
        }
        let returned = round.commands.len().saturating_sub(self.waiting);
        self.passed = if returned * 2 < answered { (self.passed * 2).clamp(1, PASSED_MAX) } else { 0 };
        self.passes = self.passed;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::writer::{Command, Inbox, call, inbox};

    const TOOK: Duration = Duration::from_micros(400);

    fn ask(inbox: &Inbox) {
        let (step, _answer) = call(|_| Ok(()));
        assert!(inbox.send(Command::Step(step)));
    }

    /// One round after a commit that answered two while one waits; how many looks it took, and with how
    /// many it goes on. `returns` come back while it waits.
    fn round(returning: &mut Returning, returns: usize) -> (u64, usize) {
        let (inbox, mut outbox) = inbox();
        ask(&inbox);
        returning.answered(2, outbox.len(), TOOK);
        let mut round = outbox.gathered();
        let (looks, left) = (Cell::new(0), Cell::new(returns));
        returning.wait(&mut outbox, &mut round, || {
            looks.set(looks.get() + 1);
            if left.get() > 0 && looks.get() > 1 {
                left.set(left.get() - 1);
                ask(&inbox);
            }
            TOOK / 40 * looks.get() as u32
        });
        (looks.get(), round.commands.len())
    }

    #[test]
    fn those_who_return_go_with_those_who_wait() {
        let mut returning = Returning::default();
        for _ in 0..3 {
            let (looks, gathered) = round(&mut returning, 2);
            assert_eq!(gathered, 3);
            assert!(looks < 10, "it goes on once all are there, not at the end of its patience");
        }
    }

    #[test]
    fn where_nobody_returns_it_waits_ever_more_seldom() {
        let mut returning = Returning::default();
        let waited: Vec<bool> = (0..400).map(|_| round(&mut returning, 0).0 > 0).collect();
        let at: Vec<usize> = waited.iter().enumerate().filter(|(_, waited)| **waited).map(|(at, _)| at).collect();
        assert_eq!(at, [0, 2, 5, 10, 19, 36, 69, 134, 199, 264, 329, 394]);
        assert_eq!(round(&mut returning, 0).0, 0);
    }

    #[test]
    fn it_does_not_wait_for_a_clock_that_stands_still() {
        let (inbox, mut outbox) = inbox();
        let mut returning = Returning::default();
        ask(&inbox);
        returning.answered(2, outbox.len(), TOOK);
        let mut round = outbox.gathered();
        returning.wait(&mut outbox, &mut round, || TOOK);
        assert_eq!(round.commands.len(), 1);
    }

    #[test]
    fn a_lone_caller_is_not_waited_for() {
        let (inbox, mut outbox) = inbox();
        let mut returning = Returning::default();
        returning.answered(1, 0, TOOK);
        ask(&inbox);
        let mut round = outbox.gathered();
        returning.wait(&mut outbox, &mut round, || panic!("it does not look at the clock"));
        assert_eq!(round.commands.len(), 1);
    }
}
