//! The wall clock is set back by hours, between two runs and during one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use millpond::{Clock, Handled, Job, Millpond, NewJob, Outcome, Rate, Retry, SystemClock, Timestamp};

use crate::child::{self, setting};

const HOUR_MILLIS: i64 = 3_600_000;
const DELAY: Duration = Duration::from_millis(300);
/// Times in the file are whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

/// The machine's clocks, with a wall clock that is set to another time.
struct Shifted {
    machine: SystemClock,
    millis: Arc<AtomicI64>,
}

impl Clock for Shifted {
    fn wall(&self) -> Timestamp {
        let shown = self.machine.wall().as_millis() as i64 + self.millis.load(Ordering::SeqCst);
        Timestamp::from_millis(shown as u64)
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn note(what: &str) {
    println!("{what} {}", since_epoch().as_micros());
}

/// Runs the waiting jobs; then, if told to, has its clock set back while it runs, and enqueues more.
pub fn child() {
    let (path, hours, work): (String, i64, String) = (setting("FILE"), setting("HOURS"), setting("WORK"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let millis = Arc::new(AtomicI64::new(hours * HOUR_MILLIS));
        let clock = Shifted { machine: SystemClock::new(), millis: millis.clone() };
        let pond = Millpond::builder().clock(clock).open(path).unwrap();
        match work.as_str() {
            "enqueue" => enqueue(&pond).await,
            _ => {
                start(&pond);
                done(&pond).await;
                millis.fetch_sub(10 * HOUR_MILLIS, Ordering::SeqCst);
                enqueue_more(&pond).await;
                done(&pond).await;
                pond.shutdown(Duration::from_secs(1)).await.unwrap();
                println!("ended");
            }
        }
    });
}

/// Enqueues, and waits to be killed.
async fn enqueue(pond: &Millpond) {
    note("asked");
    pond.enqueue("q", NewJob::raw("delayed", "").delay(DELAY)).await.unwrap();
    pond.enqueue("q", NewJob::raw("plain", "")).await.unwrap();
    pond.enqueue("q", NewJob::raw("member", "").group("g").delay(DELAY)).await.unwrap();
    pond.enqueue("q", NewJob::raw("behind", "").group("g")).await.unwrap();
    let in_an_hour = SystemTime::now() + Duration::from_secs(3_600);
    pond.enqueue("absolute", NewJob::raw("absolute", "").run_at(in_an_hour)).await.unwrap();
    println!("enqueued");
    std::future::pending::<()>().await;
}

/// Enqueues, during the run, a delayed job, one that is retried and some with a rate: none must wait for hours.
async fn enqueue_more(pond: &Millpond) {
    note("more");
    pond.enqueue("q", NewJob::raw("later", "").delay(DELAY)).await.unwrap();
    pond.enqueue("q", NewJob::raw("fails", "")).await.unwrap();
    pond.enqueue_many("rated", (0..5).map(|_| NewJob::raw("rated", ""))).await.unwrap();
}

fn start(pond: &Millpond) {
    let retry = Retry::fixed(DELAY).jitter(0.0);
    let handle = |job: Job<bytes::Bytes>| async move {
        note(&format!("start-{}-{}", job.kind(), job.attempt()));
        let fails = job.kind() == "fails" && job.attempt() == 1;
        Handled::Ok(if fails { Outcome::retry("on purpose") } else { Outcome::Done(None) })
    };
    let mut worker = pond.worker("q").retry(retry);
    for kind in ["delayed", "plain", "member", "behind", "later", "fails"] {
        worker = worker.handle_raw(kind, handle);
    }
    worker.start().unwrap();
    pond.worker("absolute").handle_raw("absolute", handle).start().unwrap();
    pond.worker("rated").rate_limit(Rate::per_second(20).burst(1)).handle_raw("rated", handle).start().unwrap();
}

/// Waits for all jobs except the one that is due, by the wall clock, in hours.
async fn done(pond: &Millpond) {
    while ["q", "rated"].iter().any(|queue| pond.queue(queue).unwrap().counts().unfinished() > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// --- the parent -------------------------------------------------------------------------------

#[test]
fn a_clock_set_back_by_hours_starts_nothing_early_and_holds_nothing_up() {
    for hours in [-10, -1, -100_000] {
        let dir = tempfile::tempdir().unwrap();
        let run = |hours: i64, work: &str| {
            let file = dir.path().join("queue.redb").display().to_string();
            child::start("clock", &[("FILE", file), ("HOURS", hours.to_string()), ("WORK", work.to_owned())])
        };
        let mut first = run(0, "enqueue");
        let mut lines_read = Vec::new();
        while lines_read.last().is_none_or(|line: &String| !line.ends_with("enqueued")) {
            lines_read.push(first.next().expect("it enqueues"));
        }
        first.kill();
        first.end();
        // A child that prints nothing for half a minute hangs.
        let (lines, status) = run(hours, "do").end();
        lines_read.extend(lines);
        assert!(
            status.success() && lines_read.iter().any(|line| line.ends_with("ended")),
            "{hours} h: {lines_read:#?}"
        );
        let at = |what: &str| -> Option<Duration> {
            lines_read.iter().find_map(|line| {
                let (said, micros) = line.rsplit_once(' ')?;
                said.ends_with(what).then(|| Duration::from_micros(micros.parse().unwrap()))
            })
        };
        let started = |what: &str| at(what).unwrap_or_else(|| panic!("{hours} h: no {what} in {lines_read:#?}"));
        let (asked, more) = (started("asked"), started("more"));
        for (what, not_before) in [
            ("start-delayed-1", asked + DELAY),
            ("start-member-1", asked + DELAY),
            ("start-behind-1", asked + DELAY),
            ("start-later-1", more + DELAY),
            ("start-fails-2", started("start-fails-1") + DELAY),
        ] {
            let at = started(what);
            assert!(at + ROUNDING >= not_before, "{hours} h: {what} is {:?} early", not_before - at);
        }
        assert_eq!(at("start-absolute-1"), None, "{hours} h: it is not due by the wall clock");
        let rated = lines_read.iter().filter(|line| line.contains("start-rated")).count();
        assert_eq!(rated, 5, "{hours} h");
    }
}
