//! Which entries of a stream a consumer is done with.

use serde::{Deserialize, Serialize};

/// Which entries a consumer is done with: all below `low`, and those in the ranges above it. An entry that becomes a job counts
/// as done: from then on the job is responsible for it. So an entry that takes long, or that fails, does not hold the cursor back,
/// and there are at most about as many ranges as the consumer has entries in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The first entry that is not done.
    pub low: u64,
    /// Ranges of entries that are done, as their first entry and the one behind the last: in order, apart from one another, and
    /// behind `low`.
    done: Vec<(u64, u64)>,
}

impl Cursor {
    pub fn at(low: u64) -> Self {
        Self { low, done: Vec::new() }
    }

    /// Whether this entry is not done.
    pub fn is_open(&self, offset: u64) -> bool {
        if offset < self.low {
            return false;
        }
        let behind = self.done.partition_point(|(from, _)| *from <= offset);
        behind == 0 || self.done[behind - 1].1 <= offset
    }

    /// The entries from `from` until before `to` are done.
    pub fn done(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from.max(self.low), to);
        if from >= to {
            return;
        }
        if from == self.low && self.done.first().is_none_or(|(next, _)| to < *next) {
            self.low = to;
            return;
        }
        let first = self.done.partition_point(|(_, end)| *end < from);
        let behind = self.done.partition_point(|(start, _)| *start <= to);
        if let Some((start, _)) = self.done[first..behind].first() {
            from = from.min(*start);
        }
        if let Some((_, end)) = self.done[first..behind].last() {
            to = to.max(*end);
        }
        self.done.splice(first..behind, [(from, to)]);
        if from <= self.low {
            self.low = to;
            self.done.remove(0);
        }
    }

    /// The entries before `to` are gone from the stream. Returns whether any of them was not done.
    pub fn skip_to(&mut self, to: u64) -> bool {
        if to <= self.low {
            return false;
        }
        let (low, mut at) = (self.low, self.low);
        for (from, end) in &self.done {
            if *from > at {
                break;
            }
            at = *end;
        }
        self.done(low, to);
        at < to
    }

    /// The ranges behind `low` that are done.
    pub fn done_ranges(&self) -> &[(u64, u64)] {
        &self.done
    }

    /// How many entries from `low` on are done.
    pub fn done_behind_low(&self) -> u64 {
        self.done.iter().map(|(from, to)| to - from).sum()
    }

    /// What a damaged row could say and no consumer does.
    pub fn problem(&self) -> Option<&'static str> {
        let mut last = self.low;
        for (from, to) in &self.done {
            if *from <= last || to <= from {
                return Some("the ranges of its cursor are out of order");
            }
            last = *to;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_what_a_set_of_offsets_says() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let low = rng.u64(0..5);
            let mut cursor = Cursor::at(low);
            let mut done: BTreeSet<u64> = (0..low).collect();
            for _ in 0..rng.usize(0..30) {
                let from = rng.u64(0..40);
                let to = from + rng.u64(0..6);
                if rng.u8(0..8) == 0 {
                    let lost = (cursor.low..to).any(|offset| !done.contains(&offset));
                    assert_eq!(cursor.skip_to(to), lost, "seed {seed}");
                    done.extend(0..to);
                } else {
                    cursor.done(from, to);
                    done.extend(from..to);
                }
                for offset in 0..50 {
                    assert_eq!(
                        cursor.is_open(offset),
                        !done.contains(&offset),
                        "seed {seed}, entry {offset}: {cursor:?}"
                    );
                }
                assert_eq!(cursor.problem(), None, "seed {seed}: {cursor:?}");
                assert_eq!(cursor.low, (0..).find(|offset| !done.contains(offset)).unwrap(), "seed {seed}");
            }
        }
    }

    #[test]
    fn entries_that_end_in_order_need_no_ranges() {
        let mut cursor = Cursor::default();
        for offset in 0..1_000 {
            cursor.done(offset, offset + 1);
        }
        assert_eq!((cursor.low, cursor.done_ranges()), (1_000, &[][..]));
    }
}
