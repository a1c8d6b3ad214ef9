//! The metrics that docs/metrics.md lists: each of them is told under real load, with its unit and its labels, and no other is.
//!
//! The recorder is one for the process, so this binary has one test. With the feature `wasm`, plugins are part of the load.

#[cfg(feature = "wasm")]
#[path = "../plugins/guest.rs"]
mod guest;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use millpond::testing::ManualClock;
use millpond::{Job, LinkDirection, LinkGuard, LinkInfo, Millpond, Outcome, Rate, Retry, StreamSettings};

use support::*;

/// A row of the tables in docs/metrics.md.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    name: String,
    shape: String,
    unit: String,
    labels: BTreeSet<String>,
}

/// The rows of docs/metrics.md, without those of plugins if this build has none.
fn documented() -> BTreeSet<Metric> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `millpond."));
    let metrics = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned());
        Metric {
            name: cells[0].trim_matches('`').to_owned(),
            shape: cells[1].to_owned(),
            unit: cells[2].to_owned(),
            labels: labels.filter(|label| !label.is_empty()).collect(),
        }
    });
    metrics.filter(|metric| cfg!(feature = "wasm") || !metric.name.starts_with("millpond.plugin.")).collect()
}

/// All that the recorder was told, over many snapshots: each takes the values out of it.
#[derive(Default)]
struct Told {
    metrics: BTreeSet<Metric>,
    /// The values of each metric and its labels, such as `millpond.jobs.ended kind=work outcome=dead queue=q`.
    values: BTreeMap<String, Vec<f64>>,
}

impl Told {
    fn take(&mut self, snapshotter: &Snapshotter) {
        for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
            let name = key.key().name().to_owned();
            assert!(description.is_some_and(|text| text.ends_with('.')), "{name} is not described");
            let shape = match key.kind() {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            let labels: BTreeMap<_, _> = key.key().labels().map(|label| (label.key(), label.value())).collect();
            let of: String = labels.iter().map(|(label, value)| format!(" {label}={value}")).collect();
            self.values.entry(format!("{name}{of}")).or_default().extend(match value {
                DebugValue::Counter(count) => vec![count as f64],
                DebugValue::Gauge(value) => vec![value.into_inner()],
                DebugValue::Histogram(values) => values.into_iter().map(|value| value.into_inner()).collect(),
            });
            let labels = labels.into_keys().map(str::to_owned).collect();
            let unit = unit.map_or("", |unit| unit.as_canonical_label()).to_owned();
            self.metrics.insert(Metric { name, shape: shape.to_owned(), unit, labels });
        }
    }

    /// What was told of this metric with these labels.
    fn of(&self, metric: &str) -> &[f64] {
        self.values.get(metric).map_or(&[], Vec::as_slice)
    }

    fn sum(&self, metric: &str) -> f64 {
        self.of(metric).iter().sum()
    }
}

/// A worker whose jobs end in each way.
fn all_outcomes(pond: &Millpond) {
    let seen = Log::new();
    let handler = move |job: Job<Work>| {
        let is_first = !seen.all().contains(&job.n);
        seen.push(job.n);
        async move {
            match job.n {
                1 if is_first => Err("once".into()),
                2 => Ok(Outcome::dead_letter("never")),
                3 if is_first => Ok(Outcome::snooze(SECOND)),
                4 if is_first => Ok(Outcome::rate_limited(SECOND)),
                5 => Ok(Outcome::cancel("no")),
                _ => Ok(Outcome::done()),
            }
        }
    };
    let worker = pond.worker("mail").concurrency(1).retry(Retry::fixed(SECOND).jitter(0.0));
    worker.handle(handler).start().unwrap();
}

/// A stream of which 4 of 10 entries are left, and a consumer that is paused before all of them.
async fn lost_entries(pond: &Millpond) {
    let orders = pond.stream("orders").unwrap();
    let crm = pond.consumer("orders", "crm").handle(|_: Job<Work>| async { Ok(()) }).start().await.unwrap();
    orders.consumer("crm").unwrap().pause().await.unwrap();
    orders.append_many((0..10).map(work)).await.unwrap();
    orders.configure(StreamSettings::default().max_entries(4)).await.unwrap();
    orders.sweep().await.unwrap();
    drop(crm);
}

/// Returns a link that runs.
async fn load(pond: &Millpond, clock: &ManualClock) -> LinkGuard {
    pond.enqueue_many("mail", (0..40).map(work)).await.unwrap();
    clock.advance(SECOND * 3);
    all_outcomes(pond);
    drained(pond).await;
    clock.advance(SECOND * 5);
    drained(pond).await;
    let slow = pond.worker("slow").rate_limit(Rate::per_second(1).burst(1));
    slow.handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    pond.enqueue_many("slow", (0..3).map(work)).await.unwrap();
    pond.enqueue_many("idle", (0..2).map(work)).await.unwrap();
    lost_entries(pond).await;
    let link = pond.register_link(LinkInfo::new("idle", LinkDirection::Forward, "hub", "an engine").unwrap()).unwrap();
    link.handle().update(|state| (state.connected, state.jobs, state.engine_went_back) = (true, 7, 1));
    #[cfg(feature = "wasm")]
    {
        let worker = pond.worker("guests").retry(Retry::none());
        worker.handle_wasm("job", guest::plugin(guest::TRAP)).start().unwrap();
        pond.enqueue("guests", millpond::NewJob::raw("job", "x")).await.unwrap();
    }
    drained(pond).await;
    link
}

#[tokio::test]
async fn every_metric_of_the_table_is_told_under_load_and_no_other_is() {
    let recorder = DebuggingRecorder::new();
    let (snapshotter, mut told) = (recorder.snapshotter(), Told::default());
    recorder.install().unwrap();
    let disk = OnDisk::new();
    let pond = disk.builder().window_jobs_max(8).max_running(99).open(disk.path()).unwrap();
    let link = load(&pond, &disk.clock).await;

    told.take(&snapshotter);
    let outcomes = ["completed", "retried", "snoozed", "rate_limited", "cancelled", "dead", "given_back"];
    let ended =
        outcomes.map(|outcome| told.sum(&format!("millpond.jobs.ended kind=work outcome={outcome} queue=mail")));
    assert_eq!(ended, [38.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(told.sum("millpond.jobs.started kind=work queue=mail"), 43.0);
    let waits = told.of("millpond.jobs.wait.duration kind=work queue=mail");
    assert_eq!((waits.len(), waits[0]), (43, 3.0));
    assert_eq!(waits.iter().copied().fold(0.0, f64::max), 8.0, "those behind the rate limit");
    assert_eq!(told.of("millpond.jobs.run.duration kind=work queue=mail").len(), 43);
    assert_eq!(told.sum("millpond.commits"), pond.metrics().commits_total as f64);
    assert_eq!(told.of("millpond.commit.duration").len() as u64, pond.metrics().commits_total);
    assert_eq!(told.sum("millpond.commit.operations"), pond.metrics().operations_total as f64);
    assert!(told.of("millpond.degraded").is_empty(), "nothing was read yet");

    while told.of("millpond.plugin.suspended kind=job plugin=guest queue=guests").is_empty() == cfg!(feature = "wasm")
        || told.of("millpond.storage.syncs").is_empty()
    {
        // The clock is moved again only if nothing is under way: a thread reads once for each 10 seconds.
        disk.clock.advance(Duration::from_secs(10));
        for _ in 0..100 {
            settled(&pond).await;
            told.take(&snapshotter);
        }
    }
    assert_eq!(told.of("millpond.queue.jobs queue=idle state=pending").first(), Some(&2.0));
    assert_eq!(told.of("millpond.jobs.enqueued queue=mail").first(), Some(&40.0));
    assert_eq!(told.of("millpond.jobs.dead queue=mail").first(), Some(&1.0));
    assert!(told.sum("millpond.limiter.waits queue=slow") >= 1.0);
    assert!(told.sum("millpond.limiter.waits queue=idle") < 1.0);
    assert!(told.of("millpond.queue.oldest_ready.age queue=idle").iter().any(|age| *age >= 10.0));
    let bytes = pond.stream("orders").unwrap().info().unwrap().bytes as f64;
    for (metric, value) in [
        ("millpond.stream.entries stream=orders", 4.0),
        ("millpond.stream.size stream=orders", bytes),
        ("millpond.consumer.lag consumer=crm stream=orders", 4.0),
        ("millpond.consumer.lost consumer=crm stream=orders", 6.0),
        ("millpond.link.connected link=idle -> hub queue=idle", 1.0),
        ("millpond.link.lag link=idle -> hub queue=idle", 2.0),
    ] {
        assert_eq!(told.of(metric).first(), Some(&value), "{metric}");
    }
    for (metric, value) in [("jobs", 7.0), ("engine_went_back", 1.0), ("lost_leases", 0.0)] {
        assert_eq!(told.sum(&format!("millpond.link.{metric} link=idle -> hub queue=idle")), value, "{metric}");
    }
    assert!(told.of("millpond.consumer.lag.age consumer=crm stream=orders").iter().any(|age| *age >= 10.0));
    assert!(told.sum("millpond.window.refills") >= 1.0);
    assert_eq!(told.of("millpond.process.jobs.limit").first(), Some(&99.0));
    assert!(told.sum("millpond.storage.written") > 4_096.0 && told.sum("millpond.storage.size") > 4_096.0);
    #[cfg(feature = "wasm")]
    assert!(told.sum("millpond.plugin.memory.max kind=job plugin=guest queue=guests") >= 65_536.0);
    #[cfg(feature = "wasm")]
    for metric in ["calls", "broken", "traps"] {
        let metric = format!("millpond.plugin.{metric} kind=job plugin=guest queue=guests");
        assert_eq!(told.of(&metric).first(), Some(&1.0), "{metric}");
    }

    let documented = documented();
    let (missing, unknown): (Vec<_>, Vec<_>) =
        (documented.difference(&told.metrics).collect(), told.metrics.difference(&documented).collect());
    assert!(missing.is_empty() && unknown.is_empty(), "not told: {missing:#?}\nnot in the table: {unknown:#?}");
    let (connected, jobs) =
        ("millpond.link.connected link=idle -> hub queue=idle", "millpond.link.jobs link=idle -> hub queue=idle");
    let sent = told.sum(jobs);
    // The link is started again, and counts from 0.
    drop(link);
    let link = pond.register_link(LinkInfo::new("idle", LinkDirection::Forward, "hub", "an engine").unwrap()).unwrap();
    link.handle().update(|state| state.jobs = 3);
    for _ in 0..1_000 {
        if told.sum(jobs) > sent && told.of(connected).last() == Some(&0.0) {
            break;
        }
        disk.clock.advance(Duration::from_secs(10));
        for _ in 0..100 {
            settled(&pond).await;
            told.take(&snapshotter);
        }
    }
    assert_eq!(told.of(connected).last(), Some(&0.0));
    assert_eq!(told.sum(jobs), sent + 3.0);
    close(pond).await;
}
