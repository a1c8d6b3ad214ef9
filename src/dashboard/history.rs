//! What each queue has done in the last hour, and how fast it is. It is kept in memory.

mod sampler;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::api::{Counts, History, Point, Time};
pub(super) use sampler::{Histories, Sampler};

/// Points that are kept for each queue: an hour.
const POINTS_MAX: usize = 60;

/// The length of time that one point is about.
const MINUTE: Duration = Duration::from_secs(60);

/// Samples that the rates are computed from.
const RECENT_MAX: usize = 12;

/// Queues of which something is kept, by name: about 3 MB. Others have no history.
const QUEUES_MAX: usize = 1_000;

/// A rate is not computed over less than this: one job in a millisecond is not a thousand in a second.
const RATED_MIN: Duration = Duration::from_secs(1);

/// How many jobs per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub enqueued: f64,
    pub completed: f64,
}

/// Points and samples. It is told the time, and reads no clock.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    queues: BTreeMap<String, Track>,
    all: VecDeque<Point>,
    /// The current minute so far, of all queues.
    all_now: Option<Point>,
    /// When the current minute began.
    minute: Option<Duration>,
}

#[derive(Debug)]
struct Track {
    points: VecDeque<Point>,
    /// The latest samples, the oldest first.
    recent: VecDeque<(Duration, Counts)>,
    /// The counts at the beginning of the current minute.
    before: Counts,
    /// The current minute so far.
    now: Point,
}

impl Recorder {
    /// Takes the counts of all queues. `now` is a time that never goes back, `at` the time that a point is shown with.
    pub fn sample(&mut self, now: Duration, at: Time, queues: &BTreeMap<String, Counts>) {
        self.queues.retain(|name, _| queues.contains_key(name));
        for (name, counts) in queues {
            if let Some(track) = self.queues.get_mut(name) {
                push(&mut track.recent, (now, *counts), RECENT_MAX);
                track.now = since(&track.before, counts, at);
            } else if self.queues.len() < QUEUES_MAX {
                // A queue that is new here may have another one's past: its jobs before now are not counted.
                let recent = VecDeque::from([(now, *counts)]);
                let now = Point { at, ..Point::default() };
                self.queues.insert(name.clone(), Track { points: VecDeque::new(), recent, before: *counts, now });
            }
        }
        self.all_now =
            Some(self.queues.values().fold(Point { at, ..Point::default() }, |sum, track| add(sum, track.now)));
        let begun = *self.minute.get_or_insert(now);
        if now.saturating_sub(begun) >= MINUTE {
            self.end_minute(at, queues);
            self.minute = Some(now);
        }
    }

    fn end_minute(&mut self, at: Time, queues: &BTreeMap<String, Counts>) {
        let none = Point { at, ..Point::default() };
        for (name, track) in &mut self.queues {
            let Some(counts) = queues.get(name) else { continue };
            push(&mut track.points, std::mem::replace(&mut track.now, none), POINTS_MAX);
            track.before = *counts;
        }
        push(&mut self.all, self.all_now.replace(none).unwrap_or(none), POINTS_MAX);
    }

    /// The last hour of all queues.
    pub fn history(&self) -> History {
        History { points: self.all.iter().copied().chain(self.all_now).collect() }
    }

    /// The last hour of a queue.
    pub fn history_of(&self, queue: &str) -> History {
        let points = self.queues.get(queue).map(|track| track.points.iter().copied().chain([track.now]).collect());
        History { points: points.unwrap_or_default() }
    }

    /// How fast the queue was between the oldest sample that is kept and the latest one.
    pub fn rates(&self, queue: &str) -> Rates {
        let recent = self.queues.get(queue).map(|track| &track.recent);
        let Some((from, to)) = recent.and_then(|recent| recent.front().zip(recent.back())) else {
            return Rates::default();
        };
        let took = to.0.saturating_sub(from.0);
        if took < RATED_MIN {
            return Rates::default();
        }
        let done = since(&from.1, &to.1, Time::default());
        let rate = |jobs: u64| jobs as f64 / took.as_secs_f64();
        Rates { enqueued: rate(done.enqueued), completed: rate(done.completed) }
    }
}

fn since(before: &Counts, now: &Counts, at: Time) -> Point {
    Point {
        at,
        enqueued: now.enqueued_total.saturating_sub(before.enqueued_total),
        completed: now.completed_total.saturating_sub(before.completed_total),
        failed: now.failures_total.saturating_sub(before.failures_total),
    }
}

fn add(sum: Point, point: Point) -> Point {
    Point {
        at: sum.at,
        enqueued: sum.enqueued + point.enqueued,
        completed: sum.completed + point.completed,
        failed: sum.failed + point.failed,
    }
}

fn push<T>(kept: &mut VecDeque<T>, item: T, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue that enqueues 10 jobs, completes 5 and fails 1 in each second.
    fn at(second: u64) -> Counts {
        Counts {
            enqueued_total: 1_000 + 10 * second,
            completed_total: 5 * second,
            failures_total: second,
            ..Counts::default()
        }
    }

    fn record(recorder: &mut Recorder, seconds: impl Iterator<Item = u64>, names: &[&str]) {
        for second in seconds {
            let queues = names.iter().map(|name| (name.to_string(), at(second))).collect();
            recorder.sample(Duration::from_secs(second), Time(second * 1_000), &queues);
        }
    }

    #[test]
    fn each_minute_becomes_a_point_and_an_hour_is_kept() {
        let mut recorder = Recorder::default();
        record(&mut recorder, (0..=180).step_by(5), &["mail", "crm"]);
        let point = |minute: u64| Point { at: Time(minute * 60_000), enqueued: 600, completed: 300, failed: 60 };
        let begun = Point { at: Time(180_000), ..Point::default() };
        assert_eq!(recorder.history_of("mail").points, [point(1), point(2), point(3), begun]);
        assert_eq!(recorder.history().points[0], Point { enqueued: 1_200, completed: 600, failed: 120, ..point(1) });
        record(&mut recorder, (185..=100 * 60).step_by(5), &["mail", "crm"]);
        let points = recorder.history_of("mail").points;
        assert_eq!((points.len(), points[0], points[59]), (61, point(41), point(100)));
        assert_eq!(recorder.history().points.len(), 61);
        record(&mut recorder, [6_010].into_iter(), &["mail", "crm"]);
        let so_far = Point { at: Time(6_010_000), enqueued: 100, completed: 50, failed: 10 };
        assert_eq!(recorder.history_of("mail").points[60], so_far);
        assert_eq!(recorder.history_of("other").points, []);
    }

    #[test]
    fn rates_are_those_of_the_latest_minute() {
        let mut recorder = Recorder::default();
        record(&mut recorder, [0].into_iter(), &["mail"]);
        assert_eq!(recorder.rates("mail"), Rates::default(), "one sample says nothing");
        record(&mut recorder, (5..=300).step_by(5), &["mail"]);
        assert_eq!(recorder.rates("mail"), Rates { enqueued: 10.0, completed: 5.0 });
        let stopped = BTreeMap::from([("mail".to_owned(), at(300))]);
        (61..75).for_each(|five| recorder.sample(Duration::from_secs(five * 5), Time(0), &stopped));
        assert_eq!(recorder.rates("mail"), Rates::default());
    }

    #[test]
    fn a_queue_that_is_gone_is_forgotten_and_a_new_one_has_no_past() {
        let mut recorder = Recorder::default();
        record(&mut recorder, (0..=60).step_by(5), &["mail"]);
        record(&mut recorder, (65..=120).step_by(5), &["emails"]);
        assert_eq!(recorder.history_of("mail").points, []);
        let points = recorder.history_of("emails").points;
        assert_eq!(points[0], Point { at: Time(120_000), enqueued: 550, completed: 275, failed: 55 });
    }

    #[test]
    fn no_more_than_a_thousand_queues_are_kept() {
        let mut recorder = Recorder::default();
        let queues = (0..2_000).map(|n| (format!("{n}"), at(0))).collect();
        recorder.sample(Duration::ZERO, Time(0), &queues);
        assert_eq!(recorder.queues.len(), QUEUES_MAX);
    }
}
