//! Waits briefly before a commit for callers that were just answered, because most of them enqueue again at once.
//!
//! Without this wait many callers split into two halves: one waits for the disk while the calls of the other gather, so each
//! commit serves half of them. With it one commit serves all of them, and the rate nearly doubles.

use std::time::Duration;

use crate::sync::thread;
use crate::writer::{Round, Then, WriterReceiver};

/// The wait is at most this part of what the last commit took, so it costs little if no caller returns.
const PART_OF_A_COMMIT: u32 = 4;

/// The wait is at most this long, on slow disks.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// The clock is read at most this many times: a test's clock may stand still.
const READS_MAX: u32 = 1_000;

/// If few callers return, at most this many commits are made without a wait before the next wait.
const SKIPS_MAX: u32 = 64;

/// How many callers may return, and whether it is worth waiting for them.
#[derive(Default)]
pub(super) struct Regather {
    /// Callers that the last commit has answered.
    answered: usize,
    /// Commands that had gathered by then.
    waiting: usize,
    /// How long the last commit took.
    took: Duration,
    /// How many more commits are made without a wait.
    skips_left: u32,
    /// How many commits were made without a wait after the last wait.
    skips: u32,
}

impl Regather {
    /// Notes a commit: how many callers it answers, how many commands wait by now, and how long it took.
    pub fn answered(&mut self, answered: usize, waiting: usize, took: Duration) {
        (self.answered, self.waiting, self.took) = (answered, waiting, took);
    }

    /// Whether no caller was answered, or only one and no command waits.
    pub fn expects_no_one(&self) -> bool {
        self.answered == 0 || self.answered + self.waiting < 2
    }

    /// Gathers what the callers that were answered send next, if they send it at once.
    pub fn wait(&mut self, receiver: &mut WriterReceiver, round: &mut Round, mono: impl Fn() -> Duration) {
        let alone = self.expects_no_one();
        let answered = std::mem::take(&mut self.answered);
        let expected = answered + self.waiting;
        let wait_max = (self.took / PART_OF_A_COMMIT).min(WAIT_MAX);
        if alone || wait_max.is_zero() || !matches!(round.then, Then::Nothing) {
            return;
        }
        if self.skips_left > 0 {
            self.skips_left -= 1;
            return;
        }
        let until = mono() + wait_max;
        for _ in 0..READS_MAX {
            if round.commands.len() >= expected || mono() >= until {
                break;
            }
            thread::yield_now();
            receiver.gather_more(round);
        }
        let returned = round.commands.len().saturating_sub(self.waiting);
        self.skips = if returned * 2 < answered { (self.skips * 2).clamp(1, SKIPS_MAX) } else { 0 };
        self.skips_left = self.skips;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::writer::{Command, WriterSender, call, writer_channel};

    const TOOK: Duration = Duration::from_micros(400);

    fn ask(sender: &WriterSender) {
        let (step, _answer) = call(|_| Ok(()));
        assert!(sender.send(Command::Step(step)));
    }

    /// One round after a commit that answered two callers while one waits: how often it read the clock, and with how
    /// many commands it goes on. `returns` callers come back while it waits.
    fn round(regather: &mut Regather, returns: usize) -> (u64, usize) {
        let (sender, mut receiver) = writer_channel();
        ask(&sender);
        regather.answered(2, receiver.len(), TOOK);
        let mut round = receiver.gathered();
        let (reads, left) = (Cell::new(0), Cell::new(returns));
        regather.wait(&mut receiver, &mut round, || {
            reads.set(reads.get() + 1);
            if left.get() > 0 && reads.get() > 1 {
                left.set(left.get() - 1);
                ask(&sender);
            }
            TOOK / 40 * reads.get() as u32
        });
        (reads.get(), round.commands.len())
    }

    #[test]
    fn callers_that_return_share_a_commit_with_those_that_wait() {
        let mut regather = Regather::default();
        for _ in 0..3 {
            let (reads, gathered) = round(&mut regather, 2);
            assert_eq!(gathered, 3);
            assert!(reads < 10, "it goes on once all are there, not at the end of its longest wait");
        }
    }

    #[test]
    fn if_no_caller_returns_it_waits_less_and_less_often() {
        let mut regather = Regather::default();
        let waited: Vec<bool> = (0..400).map(|_| round(&mut regather, 0).0 > 0).collect();
        let at: Vec<usize> = waited.iter().enumerate().filter(|(_, waited)| **waited).map(|(at, _)| at).collect();
        assert_eq!(at, [0, 2, 5, 10, 19, 36, 69, 134, 199, 264, 329, 394]);
        assert_eq!(round(&mut regather, 0).0, 0);
    }

    #[test]
    fn it_does_not_wait_for_a_clock_that_stands_still() {
        let (sender, mut receiver) = writer_channel();
        let mut regather = Regather::default();
        ask(&sender);
        regather.answered(2, receiver.len(), TOOK);
        let mut round = receiver.gathered();
        regather.wait(&mut receiver, &mut round, || TOOK);
        assert_eq!(round.commands.len(), 1);
    }

    #[test]
    fn a_lone_caller_is_not_waited_for() {
        let (sender, mut receiver) = writer_channel();
        let mut regather = Regather::default();
        regather.answered(1, 0, TOOK);
        ask(&sender);
        let mut round = receiver.gathered();
        regather.wait(&mut receiver, &mut round, || panic!("it does not read the clock"));
        assert_eq!(round.commands.len(), 1);
    }
}
