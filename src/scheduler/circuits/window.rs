//! How the last attempts ended: a bit for each.

/// The last ends of attempts, at most as many as the window has.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// A ring: a bit is set for a failure.
    bits: Box<[u64]>,
    /// How many ends it can have.
    of: usize,
    /// Where the next end goes. If the window is full, the oldest one is there.
    next: usize,
    len: usize,
    failures: u32,
}

impl Window {
    pub fn new(of: u32) -> Self {
        let of = of.max(1) as usize;
        Self { bits: vec![0; of.div_ceil(64)].into(), of, next: 0, len: 0, failures: 0 }
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn len(&self) -> u32 {
        self.len as u32
    }

    fn is_failure(&self, at: usize) -> bool {
        self.bits[at / 64] >> (at % 64) & 1 == 1
    }

    fn set(&mut self, at: usize, failed: bool) {
        let bit = 1 << (at % 64);
        match failed {
            true => self.bits[at / 64] |= bit,
            false => self.bits[at / 64] &= !bit,
        }
    }

    /// Adds an end, and drops the oldest one if the window is full.
    pub fn push(&mut self, failed: bool) {
        match self.len < self.of {
            true => self.len += 1,
            false => self.failures -= u32::from(self.is_failure(self.next)),
        }
        self.set(self.next, failed);
        self.failures += u32::from(failed);
        self.next = (self.next + 1) % self.of;
    }

    /// The latest success was a failure. Without one in the window a failure is added.
    pub fn latest_success_failed(&mut self) {
        let latest = (1..=self.len).map(|back| (self.next + self.of - back) % self.of).find(|at| !self.is_failure(*at));
        match latest {
            Some(at) => {
                self.set(at, true);
                self.failures += 1;
            }
            None => self.push(true),
        }
    }

    pub fn clear(&mut self) {
        (self.next, self.len, self.failures) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ends_are_counted() {
        for of in [1, 2, 63, 64, 65, 130] {
            let mut window = Window::new(of);
            let mut all = Vec::new();
            for n in 0..400u32 {
                let failed = n * n % 7 < 3;
                window.push(failed);
                all.push(failed);
                let last = &all[all.len().saturating_sub(of as usize)..];
                let failures = last.iter().filter(|failed| **failed).count();
                assert_eq!((window.failures() as usize, window.len() as usize), (failures, last.len()), "{of}, {n}");
            }
            window.clear();
            assert_eq!((window.failures(), window.len()), (0, 0));
            window.push(true);
            assert_eq!((window.failures(), window.len()), (1, 1));
        }
    }

    #[test]
    fn a_success_can_turn_out_to_be_a_failure() {
        let mut window = Window::new(3);
        [false, true, true].into_iter().for_each(|failed| window.push(failed));
        window.latest_success_failed();
        assert_eq!((window.failures(), window.len()), (3, 3));
        window.latest_success_failed();
        assert_eq!((window.failures(), window.len()), (3, 3));
        window.push(false);
        assert_eq!(window.failures(), 2);
    }
}
