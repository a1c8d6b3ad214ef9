//! The axes and their points.

use crate::point::Point;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Full,
    /// Tests the program; the figures mean nothing.
    Small,
}

impl Scale {
    pub fn asked_for() -> Self {
        match std::env::var("GROWTH_SCALE").as_deref() {
            Err(_) | Ok("full") => Self::Full,
            Ok("small") => Self::Small,
            Ok(other) => panic!("GROWTH_SCALE={other}: full or small"),
        }
    }

    /// The number of turns of each point; the median counts.
    pub fn turns(self) -> usize {
        if self == Self::Full { 3 } else { 1 }
    }

    /// How long one measurement takes, after a warm-up.
    pub fn measured_ms(self) -> u64 {
        if self == Self::Full { 4_000 } else { 500 }
    }

    fn at_most(self, full: u64, small: u64) -> u64 {
        if self == Self::Full { full } else { small }
    }
}

pub struct Axis {
    pub name: &'static str,
    pub title: &'static str,
    /// The label of the axis.
    pub label: &'static str,
    /// What is the same at each point.
    pub base: String,
    pub is_bytes: bool,
    /// The points, each with its value along the axis.
    pub points: Vec<(u64, Point)>,
}

impl Axis {
    pub fn all(scale: Scale) -> Vec<Self> {
        let base = Point {
            backlog: scale.at_most(100_000, 10_000),
            queues: 1,
            groups: 0,
            concurrency: 100,
            payload_bytes: 128,
        };
        let waiting = |jobs: u64| format!("{} jobs waiting", thousands(jobs));
        // Enough that with the largest number of groups each group has a job.
        let in_groups = scale.at_most(1_000_000, 10_000);
        // Few enough that one MiB for each fits on the disk.
        let with_payload = 2_000;
        vec![
            Self {
                name: "backlog",
                title: "More jobs waiting",
                label: "jobs waiting",
                base: "1 queue, no groups, concurrency 100, payloads of 128 B".into(),
                is_bytes: false,
                points: decades(10_000, scale.at_most(10_000_000, 100_000), |n| Point { backlog: n, ..base }),
            },
            Self {
                name: "queues",
                title: "More queues",
                label: "queues, each with a worker",
                base: format!(
                    "{} in all queues together, no groups, 100 running in all, payloads of 128 B",
                    waiting(base.backlog)
                ),
                is_bytes: false,
                points: decades(1, scale.at_most(1_000, 100), |n| Point { queues: n, ..base }),
            },
            Self {
                name: "groups",
                title: "More groups",
                label: "groups, one job of each at a time",
                base: format!("{}, 1 queue, concurrency 100, payloads of 128 B", waiting(in_groups)),
                is_bytes: false,
                points: decades(1, in_groups, |n| Point { groups: n, backlog: in_groups, ..base }),
            },
            Self {
                name: "concurrency",
                title: "More jobs running at a time",
                label: "concurrency",
                base: format!("{}, 1 queue, no groups, payloads of 128 B", waiting(base.backlog)),
                is_bytes: false,
                points: decades(1, scale.at_most(10_000, 1_000), |n| Point { concurrency: n, ..base }),
            },
            Self {
                name: "payload",
                title: "Larger payloads",
                label: "payload",
                base: format!("{}, 1 queue, no groups, concurrency 100", waiting(with_payload)),
                is_bytes: true,
                points: [16, 128, 1 << 10, 8 << 10, 64 << 10, 1 << 20]
                    .into_iter()
                    .take_while(|&bytes| bytes <= scale.at_most(1 << 20, 64 << 10))
                    .map(|n| (n, Point { payload_bytes: n, backlog: with_payload, ..base }))
                    .collect(),
            },
        ]
    }
}

fn decades(first: u64, last: u64, point: impl Fn(u64) -> Point) -> Vec<(u64, Point)> {
    std::iter::successors(Some(first), |n| Some(n * 10)).take_while(|&n| n <= last).map(|n| (n, point(n))).collect()
}

pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|digits| std::str::from_utf8(digits).expect("digits")).collect();
    groups.join(",")
}
