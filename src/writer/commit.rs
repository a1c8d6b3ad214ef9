//! Commits the gathered commands, even if some of them fail: a batch is undone and made again without the failed ones.

use super::batching::Behind;
use super::command::Command;
use super::committed::{Committed, append};
use super::jobs::drop_marks_of_the_finished;
use super::state::Writer;
use super::transaction::When;
use super::undone::UndoneBatch;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::time::Now;

/// How many transactions are tried, at most, for commands that failed behind another one, before other commands are
/// committed. At most one of these transactions is committed; the others are undone.
const TRIES_BETWEEN_COMMITS: usize = 64;

impl Writer {
    /// Commits `commands`, usually all of them together. A command that fails leaves no writes and does not affect the
    /// others: each is answered as if they had run one after another, in some order, and the failed ones not at all.
    ///
    /// A batch in which a command fails after it has written is undone and made again. All closures are called before it is
    /// undone, so that each of them is called only a few times, no matter how many fail: the first one that failed is
    /// answered, all that did not fail share the next transaction, and those that failed behind the first one are tried
    /// again with the next commit, after all other commands ([`Self::try_again`]).
    ///
    /// A closure that fails now and did not fail before, because it relied on the writes of a failed one, is answered. The
    /// commands that succeeded before it share the next transaction with all that cannot fail, and the closures behind it
    /// are tried again with the next commit too.
    pub fn commit(&mut self, commands: Vec<Command>, now: Now, listening: bool) -> Committed {
        let when = When { now, listening };
        let to_retry = std::mem::take(&mut self.to_retry);
        let mut commands = self.with_waiting(commands);
        let mut committed = Committed::default();
        self.room_made = false;
        let mut tries = 0;
        // Even without commands there can be ends to write.
        while !commands.is_empty() || (tries == 0 && to_retry.is_empty()) {
            let behind = if tries == 0 { Behind::Called } else { Behind::Left };
            let Err(undone) = self.try_once(commands, behind, when, &mut committed) else { break };
            tries += 1;
            commands = self.sort_out(*undone, tries, &mut committed);
        }
        self.try_again(to_retry, when, &mut committed);
        committed
    }

    /// Answers the command because of which a batch was undone; `tries` batches were. Returns the commands to try at once;
    /// those that can fail again wait for the next commit.
    fn sort_out(&mut self, undone: UndoneBatch, tries: usize, committed: &mut Committed) -> Vec<Command> {
        let UndoneBatch { by, error, to_retry, others } = undone;
        let (closures, plain): (Vec<_>, Vec<_>) = to_retry.into_iter().partition(Command::runs_application_code);
        self.to_retry.extend(closures);
        let mut next = others;
        if tries > 2 {
            // A closure that has succeeded twice and then fails does not depend on another one: it can fail at any time.
            let (closures, plain): (Vec<_>, Vec<_>) = next.into_iter().partition(Command::runs_application_code);
            self.to_retry.extend(closures);
            next = plain;
        }
        next.extend(plain);
        next.extend(failed(by, error, committed, &self.metrics));
        next
    }

    /// Tries commands again that failed behind another one, in one transaction as long as they succeed. The first one that
    /// fails is answered: it ran on the writes of those that succeeded. Those before it are made durable without it, and
    /// those behind it are tried with the next commit. So there is at most one commit here, and commands that arrive
    /// meanwhile are committed before the next one.
    fn try_again(&mut self, to_retry: Vec<Command>, when: When, committed: &mut Committed) {
        let (mut next, mut later) = (to_retry, Vec::new());
        let (mut tries, mut is_owed) = (0, false);
        while !next.is_empty() && committed.failure.is_none() && (is_owed || tries < TRIES_BETWEEN_COMMITS) {
            tries += 1;
            let Err(undone) = self.try_once(std::mem::take(&mut next), Behind::Left, when, committed) else { break };
            let UndoneBatch { by, error, to_retry: mut behind, others: before } = *undone;
            self.put_off.extend(failed(by, error, committed, &self.metrics));
            // The answer depends on the commands before it, which must therefore be made durable first.
            is_owed = !before.is_empty();
            if before.is_empty() {
                next = behind;
            } else {
                next = before;
                behind.append(&mut later);
                later = behind;
            }
        }
        next.append(&mut later);
        next.append(&mut self.to_retry);
        self.to_retry = next;
        if let Some(error) = committed.failure.as_ref().map(Error::share) {
            self.fail(Vec::new(), &error, committed);
        }
    }

    /// The commands, and before them those that waited for this commit.
    fn with_waiting(&mut self, commands: Vec<Command>) -> Vec<Command> {
        let mut all: Vec<Command> = self.jobs.unfinished.drain(..).map(Command::Finish).collect();
        all.extend(self.waiting.all_to_try());
        all.append(&mut self.put_off);
        append(&mut all, commands);
        drop_marks_of_the_finished(&mut all);
        all
    }
}

/// Handles a command that has failed by itself. Its caller is answered, and nothing of it is written, unless it is the end
/// of an attempt whose own writes failed. Then the attempt has failed: returns the command that writes that.
fn failed(command: Command, error: Error, committed: &mut Committed, metrics: &Metrics) -> Option<Command> {
    match command {
        Command::Finish(finish) if finish.is_given_up() => {
            tracing::error!(job = %finish.id(), %error, "the end of an attempt cannot be written: the next open recovers");
            None
        }
        Command::Finish(mut finish) => {
            if finish.has_hooks() {
                metrics.failed();
            }
            finish.fail(error);
            Some(Command::Finish(finish))
        }
        command => {
            committed.answers.push((command, Err(error)));
            None
        }
    }
}
