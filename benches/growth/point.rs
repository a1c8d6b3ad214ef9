//! The settings of one measurement.

#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub backlog: u64,
    pub queues: u64,
    /// 0: jobs have no group.
    pub groups: u64,
    /// How many jobs run at a time, in all queues together.
    pub concurrency: u64,
    pub payload_bytes: u64,
}

impl Point {
    pub fn to_args(self) -> Vec<String> {
        [self.backlog, self.queues, self.groups, self.concurrency, self.payload_bytes].map(|n| n.to_string()).to_vec()
    }

    pub fn from_args(args: &[String]) -> Self {
        let numbers: Vec<u64> = args.iter().map(|arg| arg.parse().expect("a number")).collect();
        let [backlog, queues, groups, concurrency, payload_bytes] = numbers[..] else { panic!("{args:?}?") };
        Self { backlog, queues, groups, concurrency, payload_bytes }
    }

    /// The number of jobs that are enqueued at once: 1,000, or 4 MiB of them, or ten for each that can run where groups limit
    /// them, so that within a measurement as many are enqueued as are completed.
    pub fn batch(&self) -> u64 {
        let at_most = if self.groups == 0 { 1_000 } else { 10 * self.groups.min(self.concurrency) };
        ((4 << 20) / self.payload_bytes).min(at_most).clamp(1, 1_000)
    }
}
