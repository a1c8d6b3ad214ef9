//! Tests that compare the encoding of every kind of row byte for byte.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::job::NewEntry;
use crate::job::{
    AttemptError, Backoff, BucketState, Callback, Codec, Dependent, Expiry, Extra, FailureKind, FlowEnd, FlowRow,
    JobId, Node, NodeState, OnFailure, Payload, PluginHash, StepRow, StepWhat, What,
};
use crate::job::{BindingRow, Destination, TopicRow};
use crate::job::{Capacity, GroupPolicy, Keep, QueueSettings, Retention, WhenFull};
use crate::job::{CircuitRow, Overrides, Priority, Progress, Rate, Record, Reported, State, Steered};
use crate::job::{ConsumerRow, Cursor, EntryOf, EntryPlace, EntryTag, StreamRow, StreamSettings};
use crate::job::{
    Definition, JobTemplate, Misfire, Overlap, Plan, Recurrence, ScheduleProgress, ScheduleRow, ScheduledFor,
};
use crate::job::{StoredLog, StoredPayload, StoredReport, Undo, UndoneEnd};
use crate::storage::life::groups::row::{GroupRow, Head, HeadAt, HeldBy, Stop};
use crate::storage::life::kept::Usage;
use crate::storage::rows::batch::Counters;
use crate::storage::rows::codec::{decode_record, encode, encode_record};
use crate::storage::rows::flow_rows::{Tell, Untold};
use crate::storage::rows::place::{Location, Member, Place};
use crate::storage::rows::queue_row::QueueRow;
use crate::storage::rows::sections::len_as_job;
use crate::storage::rows::start_mark::StartMark;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tally::Tally;
use crate::storage::rows::version::SCHEMA_VERSION;
use crate::storage::streams::PreparedEntry;
use crate::time::{Due, Now, SavedTime, TimeLine, Timestamp};

/// Rows with their names as text, one per line.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn add(&mut self, name: &str, row: &[u8]) {
        write!(self.0, "{name} ").unwrap();
        row.iter().for_each(|byte| write!(self.0, "{byte:02x}").unwrap());
        self.0.push('\n');
    }

    fn row(&mut self, name: &str, row: &impl Serialize) {
        self.add(name, &encode(row));
    }

    /// Values that keys and rows have as numbers.
    fn numbers<T: Serialize>(&mut self, name: &str, values: &[T]) {
        self.add(name, &postcard::to_allocvec(values).unwrap());
    }
}

fn time(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn plain() -> Record {
    Record {
        state: State::Pending,
        kind: 300,
        priority: Priority::default(),
        enqueued_at: time(0),
        attempts: 0,
        extra: None,
        payload: Payload { codec: Codec::Json, bytes: Bytes::from_static(b"{}") }.into(),
    }
}

fn full() -> Record {
    let error = AttemptError::new(2, FailureKind::Timeout, "too slow".into(), time(1), time(2));
    let extra = Extra {
        group: Some("group".into()),
        due: Some(Due { line: TimeLine::Engine, at: time(3) }),
        expiry: Some(Expiry::at(time(4))),
        max_attempts: Some(7),
        backoff: Some(Backoff::List(vec![secs(1), Duration::from_millis(1_500)])),
        timeout: Some(secs(30)),
        unique_key: Some("key".into()),
        snoozes: 5,
        crashes: 6,
        errors: vec![error],
        reason: Some("reason".into()),
        result: Some(Bytes::from_static(b"result")),
        started_at: Some(time(5)),
        ended_at: Some(time(6)),
        ..Extra::default()
    };
    Record { state: State::Retrying, attempts: 2, extra: Some(Box::new(extra)), ..plain() }
}

fn settings() -> QueueSettings {
    let retention = Retention::default().completed(Keep::new(secs(60), 7)).cancelled(Keep::NOTHING).dead(Keep::FOREVER);
    QueueSettings::default()
        .capacity(Capacity::jobs(1_000).bytes(1 << 20))
        .when_full(WhenFull::Wait)
        .groups(GroupPolicy::Skip)
        .retention(retention)
}

fn tally() -> Tally {
    Tally {
        pending: 1,
        scheduled: 2,
        retrying: 3,
        completed: 4,
        dead: 5,
        cancelled: 6,
        bytes: 7_000,
        enqueued_total: 8,
        completed_total: 9,
        failures_total: 10,
        dead_total: 11,
        cancelled_total: 12,
        blocked: 0,
        dropped_total: 0,
    }
}

fn descended() -> Record {
    let mut record = plain();
    record.lineage_mut().generation = 3;
    record.lineage_mut().ran(2, PluginHash::new([7; 32]));
    record
}

fn expires_in() -> Record {
    let mut record = plain();
    let due = Due { line: TimeLine::Age, at: Timestamp::from_millis(9_500) };
    record.extra_mut().expiry = Some(Expiry { due, shown: time(500) });
    record
}

fn weighs() -> Record {
    let mut record = plain();
    record.extra_mut().weight = Some(3);
    record
}

fn back() -> Record {
    let mut record = plain();
    let extra = record.extra_mut();
    (extra.unique_key, extra.is_back) = (Some("key".into()), true);
    record
}

fn steered() -> Steered {
    let overrides = Overrides::new().concurrency(2).rate(Rate::new(3, secs(1)).burst(4)).no_group_rate();
    Steered { overrides, ..Steered::default() }
}

fn in_flow() -> Record {
    let mut record = plain();
    record.state = State::Blocked;
    (record.extra_mut().flow, record.extra_mut().has_steps) = (Some(300), true);
    record
}

fn undoing() -> Record {
    let mut record = plain();
    record.extra_mut().has_steps = true;
    record.extra_mut().undo = Some(Undo { ends: UndoneEnd::Cancelled, attempts: 2 });
    record
}

fn flow() -> FlowRow {
    let mut flow = FlowRow::new("flow", time(1));
    flow.counts.blocked = 1;
    flow.counts.active = 2;
    (flow.counts.completed, flow.counts.dead, flow.counts.cancelled) = (3, 4, 5);
    flow.callbacks = vec![Callback { node: 7, when: FlowEnd::End, is_told: true }];
    (flow.callbacks_open, flow.untold, flow.deadline) = (1, 2, Some(Due::wall(time(3))));
    (flow.cancelled, flow.settled_at, flow.kept_since) = (Some("no".into()), Some(time(4)), Some(time(5)));
    flow
}

fn nodes() -> [Node; 2] {
    let signal = Node { name: Some("go".into()), ..Node::new(What::Signal { deadline: Some(Due::wall(time(3))) }) };
    let dependents = [OnFailure::Hold, OnFailure::Cancel, OnFailure::Run];
    let dependents = (1..).zip(dependents).map(|(node, on_failure)| Dependent { node, on_failure, is_done: node == 3 });
    let job = Node {
        state: NodeState::Blocked,
        waits: 2,
        failed: 1,
        held_by: Some(6),
        dependents: dependents.collect(),
        more_dependents: 4,
        result: Some(Bytes::from_static(b"result")),
        ..Node::new(What::Job { queue: 3, kind: 4 })
    };
    [signal, job]
}

fn steps() -> [StepRow; 6] {
    let bytes = Bytes::from_static(b"7");
    let what = [
        StepWhat::Done(bytes.clone()),
        StepWhat::Sleeps(Due::wall(time(2))),
        StepWhat::Waits(None),
        StepWhat::Signalled(bytes.clone()),
        StepWhat::Undoable(bytes.clone()),
        StepWhat::Undone(bytes, time(3)),
    ];
    what.map(|what| StepRow { at: time(1), what, is_coded: false })
}

fn stream() -> StreamRow {
    let settings = StreamSettings::default().max_age(secs(1)).max_bytes(300).max_entries(4).compact();
    StreamRow { settings, first: 1, next: 300, entries: 5, bytes: 6, compacted_to: 7, ..StreamRow::new(8, time(9)) }
}

fn consumer() -> ConsumerRow {
    let mut cursor = Cursor::at(1);
    cursor.done(3, 5);
    cursor.done(7, 300);
    let (stream, name) = ("stream".into(), "consumer".into());
    ConsumerRow { stream, name, cursor, epoch: 2, lost: 3, created_at: time(4) }
}

/// An entry in its stream, or one that a consumer has.
fn entry(offset: Option<u64>) -> Record {
    let mut record = plain();
    let of = offset.map(|offset| EntryOf::new("stream".into(), offset));
    let place = of.map(|of| Arc::new(EntryPlace { of, passed: None }));
    record.extra_mut().entry = Some(EntryTag { age: time(7), place });
    record
}

fn scheduled() -> Record {
    let mut record = plain();
    record.extra_mut().scheduled_for = Some(Box::new(ScheduledFor::new("nightly", time(7))));
    record
}

fn reported(progress: bool) -> Record {
    let lines = ["first", "second"].map(|text| (time(8), text));
    let reported = Reported::of_lines(3, lines).with_progress(progress.then(|| Progress::new(1, Some(300), "half")));
    let log = |reported| StoredLog { attempt: 2, started_at: time(7), ended_at: time(9), reported };
    let mut record = plain();
    record.extra_mut().push_log(log(StoredReport::Plain(reported)));
    record.extra_mut().push_log(log(StoredReport::Coded(b"coded".to_vec())));
    record
}

fn schedule() -> ScheduleRow {
    let cron = Recurrence::Cron { expression: "0 3 * * *".into(), zone: "Europe/Berlin".into() };
    let plan = Plan {
        recurs: cron,
        misfire: Misfire::All { at_most: 300 },
        overlap: Overlap::Queue,
        jitter: secs(60),
        starts_at: Some(time(1)),
        ends_at: Some(time(2)),
        at_most: Some(400),
    };
    let job = JobTemplate {
        queue: "queue".into(),
        kind: "kind".into(),
        expires_in: Some(secs(90)),
        record: Bytes::from_static(b"record"),
    };
    let progress = ScheduleProgress {
        next: Some(time(3)),
        due: Some(time(4)),
        after: time(5),
        anchor: time(6),
        computed_at: time(7),
        paused: true,
        held: Some("held".into()),
        runs: 500,
        last: Some(time(8)),
        jobs: vec![(3, JobId::new(10)), (4, JobId::new(9))],
        created_at: time(9),
        changed_at: time(10),
    };
    ScheduleRow { definition: Definition { plan, job }, progress }
}

fn binding() -> BindingRow {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    BindingRow {
        to: Destination::Queue(7),
        key: Some("order.*".into()),
        headers_all: vec![header("a", "1")],
        headers_any: vec![header("b", "2"), header("b", "3")],
        created_at: time(1),
    }
}

fn coded() -> Record {
    let payload = Payload { codec: Codec::Postcard, bytes: Bytes::from_static(b"coded") };
    Record { payload: StoredPayload::new(payload, true), ..plain() }
}

fn coded_end() -> Record {
    let mut record = coded();
    record.extra_mut().reason = Some("\u{1}coded:AAAA".into());
    record.extra_mut().result = Some(Bytes::from_static(b"coded result"));
    record.extra_mut().is_result_coded = true;
    record
}

fn places() -> [(&'static str, Place); 6] {
    let member = |parked| Place::Member(Member { group: "group".into(), parked, seq: 9 });
    [
        ("ready", Place::Ready { priority: 5 }),
        ("delayed", Place::Delayed { due: Due { line: TimeLine::Wall, at: time(0) } }),
        ("member", member(false)),
        ("parked", member(true)),
        ("dead", Place::Dead { at: time(0) }),
        ("finished", Place::Finished { state: State::Completed, at: time(0) }),
    ]
}

fn rows() -> String {
    let mut rows = Rows::default();
    rows.row("meta.schema", &SCHEMA_VERSION);
    let saved = SavedTime { engine: time(0), age: Timestamp::from_millis(9_000), wall: time(1), counted: time(2) };
    rows.row("meta.counters", &Counters { next_id: 1_000, next_position: 20, time: saved, clean: true });
    let queue = QueueRow {
        name: "queue".into(),
        paused: true,
        settings: settings(),
        tally: tally(),
        fills_groups: false,
        steered: None,
    };
    rows.row("queues", &queue);
    let fresh = QueueRow { paused: false, settings: QueueSettings::default(), tally: Tally::default(), ..queue };
    rows.row("queues.fresh", &fresh);
    rows.add("record.plain", &encode_record(&plain()));
    rows.add("record.full", &encode_record(&full()));
    rows.add("record.descended", &encode_record(&descended()));
    rows.add("record.expires_in", &encode_record(&expires_in()));
    rows.add("record.empty_extra", &encode_record(&Record { extra: Some(Box::default()), ..plain() }));
    for (name, place) in places() {
        rows.row(&format!("index.{name}"), &Location { queue: 3, place });
    }
    let heads = [
        ("ready", HeadAt::Ready { priority: 5, position: 11 }),
        ("due", HeadAt::Due(Due { line: TimeLine::Engine, at: time(0) })),
        ("held", HeadAt::Held),
    ];
    for (name, at) in heads {
        let heads = vec![Head { id: JobId::new(10), seq: 12, at }];
        let stop = if at == HeadAt::Held { Stop::Paused } else { Stop::Nothing };
        rows.row(&format!("groups.{name}"), &GroupRow { heads, stop });
    }
    rows.row("groups.empty", &GroupRow { heads: Vec::new(), stop: Stop::Paused });
    let mark = StartMark {
        queue: 3,
        priority: 5,
        position: 11,
        attempt: 2,
        max_attempts: 5,
        started_at: time(0),
        alone: true,
    };
    rows.row("running", &mark);
    rows.row("rates", &BucketState { tokens: 2.5, at: time(0), held_until: None });
    rows.row("rates.held", &BucketState { tokens: 0.0, at: time(0), held_until: Some(time(1)) });
    rows.row("unique", &(JobId::new(10), time(0)));
    rows.row("plugin_state", &Bytes::from_static(b"value"));
    rows.row("plugin_usage", &Usage { keys: 3, bytes: 400 });
    rows.row("quarantine.key", &(3u32, JobId::new(10)));
    rows.add("record.scheduled", &encode_record(&scheduled()));
    rows.row("schedules", &schedule());
    rows.row("meta.schedules_computed_at", &time(0));
    rows.add("record.coded", &encode_record(&coded()));
    rows.add("record.coded_end", &encode_record(&coded_end()));
    rows.row("meta.payload_codec", &"codec");
    rows.add("record.reported", &encode_record(&reported(true)));
    rows.add("record.reported_lines", &encode_record(&reported(false)));
    rows.add("record.weighs", &encode_record(&weighs()));
    rows.row("overrides", &steered());
    rows.row("overrides.paused_kinds", &Steered { paused_kinds: [3, 4].into(), ..Steered::default() });
    rows.add("record.back", &encode_record(&back()));
    let by = HeldBy { id: JobId::new(9), seq: 9 };
    rows.row("groups.held_by_dead", &GroupRow { heads: Vec::new(), stop: Stop::Held(by) });
    rows.row("groups.paused_and_held", &GroupRow { heads: Vec::new(), stop: Stop::PausedAndHeld(by) });
    rows.row("circuits", &CircuitRow { until: Timestamp::from_millis(9_000) });
    let first = Head { id: JobId::new(10), seq: 12, at: HeadAt::Ready { priority: 5, position: 11 } };
    let second = Head { id: JobId::new(11), seq: 13, at: HeadAt::Held };
    rows.row("groups.two_heads", &GroupRow { heads: vec![first, second], stop: Stop::Nothing });
    let settings = QueueSettings::default().group_concurrency(3);
    rows.row("queues.group_concurrency", &QueueRow { settings, ..QueueRow::new("queue".into()) });

    rows.add("record.in_flow", &encode_record(&in_flow()));
    rows.add("record.undoing", &encode_record(&undoing()));
    rows.row("index.blocked", &Location { queue: 3, place: Place::Blocked });
    let tally = Tally { blocked: 300, ..Tally::default() };
    rows.row("queues.blocked", &QueueRow { tally, ..QueueRow::new("queue".into()) });
    rows.row("flows", &flow());
    for (what, node) in ["signal", "job"].iter().zip(nodes()) {
        rows.row(&format!("flow_nodes.{what}"), &node);
    }
    let ends = vec![Tell { ended: Some(NodeState::Dead) }, Tell { ended: None }];
    rows.row("flow_untold", &Untold { ends, told: 300 });
    for (what, step) in ["done", "sleeps", "waits", "signalled", "undoable", "undone"].iter().zip(steps()) {
        rows.row(&format!("steps.{what}"), &step);
    }

    use State::*;
    rows.row("topics", &TopicRow { alternate: Some(Destination::Queue(7)), mandatory: true, created_at: time(1) });
    rows.row("topics.plain", &TopicRow { created_at: time(1), ..TopicRow::default() });
    rows.row("bindings", &binding());
    rows.row("bindings.stream", &BindingRow { to: Destination::Stream("stream".into()), ..binding() });
    rows.row("streams", &stream());
    rows.row("consumers", &consumer());
    rows.add("record.entry", &encode_record(&entry(None)));
    rows.add("record.entry_of", &encode_record(&entry(Some(300))));
    rows.row("meta.identity", &(u128::MAX - 7, 300u32, true));
    let tally = Tally { dropped_total: 300, ..Tally::default() };
    rows.row("queues.dropped", &QueueRow { tally, ..QueueRow::new("queue".into()) });
    rows.numbers("WhenFull.drops", &[WhenFull::DropOldest]);
    rows.numbers("State", &[Pending, Scheduled, Running, Retrying, Completed, Dead, Cancelled, Blocked]);
    rows.add("State.in_keys", &[Completed as u8, Cancelled as u8]);
    rows.add("TimeLine.in_keys", &[TimeLine::Wall as u8, TimeLine::Engine as u8, TimeLine::Age as u8]);
    rows.numbers("Codec", &[Codec::Json, Codec::Postcard, Codec::Raw]);
    use FailureKind::*;
    let of_plugins = [Trap, MemoryLimit, OutputTooLarge, CallLimit];
    rows.numbers("FailureKind", &[Error, Panic, Timeout, Undecodable, Crash]);
    rows.numbers("FailureKind.of_plugins", &of_plugins);
    let exponential = Backoff::Exponential { base: secs(1), cap: secs(2) };
    rows.numbers("Backoff", &[exponential, Backoff::Fixed(secs(3)), Backoff::List(vec![])]);
    rows.numbers("WhenFull", &[WhenFull::Refuse, WhenFull::Wait]);
    rows.numbers("GroupPolicy", &[GroupPolicy::Block, GroupPolicy::Skip, GroupPolicy::Hold]);
    rows.numbers("Misfire", &[Misfire::Skip, Misfire::Once, Misfire::All { at_most: 1 }]);
    rows.numbers("Overlap", &[Overlap::Allow, Overlap::Skip, Overlap::Queue]);
    rows.numbers("Recurrence", &[Recurrence::Every(secs(1)), Recurrence::Aligned(secs(1))]);
    rows.0
}

#[test]
fn every_row_is_encoded_as_in_earlier_builds() {
    let root = env!("CARGO_MANIFEST_DIR");
    let stored = std::fs::read_to_string(format!("{root}/tests/golden/v{SCHEMA_VERSION}/rows.txt"));
    let (stored, rows) = (stored.unwrap_or_default(), rows());
    let changed: Vec<_> = rows.lines().filter(|row| !stored.lines().any(|line| line == *row)).collect();
    assert!(
        stored == rows,
        "these rows are written otherwise than files of version {SCHEMA_VERSION} have them: raise the schema version \
         and write a migration\n{}\nall rows:\n{rows}",
        changed.join("\n")
    );
}

/// Every row of the list can be decoded by this build.
#[test]
fn every_record_that_is_written_is_read_back() {
    for record in [
        plain(),
        full(),
        descended(),
        expires_in(),
        scheduled(),
        coded(),
        coded_end(),
        reported(true),
        reported(false),
        weighs(),
        in_flow(),
        undoing(),
    ] {
        assert_eq!(decode_record(TableName::Ready, 1, &encode_record(&record)).unwrap(), record);
    }
    let location = Location { queue: 3, place: Place::Member(Member { group: Arc::from("g"), parked: true, seq: 1 }) };
    assert_eq!(
        crate::storage::rows::codec::decode::<Location>(TableName::Index, 1, &encode(&location)).unwrap(),
        location
    );
}

/// Records that earlier versions wrote. Files can still have them.
#[test]
fn every_record_of_an_earlier_version_is_read() {
    let empty = Record { extra: Some(Box::default()), ..plain() };
    let mut read = 0;
    for schema in 1..SCHEMA_VERSION {
        let rows = format!("{}/tests/golden/v{schema}/rows.txt", env!("CARGO_MANIFEST_DIR"));
        for line in std::fs::read_to_string(rows).unwrap().lines() {
            let (name, row) = line.split_once(' ').unwrap();
            let expected = match name {
                "record.plain" => plain(),
                "record.full" => full(),
                "record.descended" => descended(),
                "record.empty_extra" => empty.clone(),
                _ => continue,
            };
            let bytes = (0..row.len()).step_by(2).map(|at| u8::from_str_radix(&row[at..at + 2], 16).unwrap());
            assert_eq!(decode_record(TableName::Ready, 1, &bytes.collect()).unwrap(), expected, "v{schema}: {name}");
            read += 1;
        }
    }
    assert_eq!(read, 3 + 3 + 4);
}

#[test]
fn the_length_of_an_entry_as_a_job_is_that_of_its_row() {
    let mut rng = fastrand::Rng::with_seed(3);
    let text = |rng: &mut fastrand::Rng| "k".repeat(rng.usize(1..200));
    for _ in 0..2_000 {
        let payload = Payload::raw(vec![0; rng.usize(0..300)]);
        let bits = rng.u32(1..60);
        let (wall, age) = (time(rng.u64(0..1 << 50)), time(rng.u64(0..1 << bits)));
        let now = Now { wall, age, ..Now::default() };
        let mut new = NewEntry::new(rng.u32(0..1_000), payload.into(), now);
        new.key = rng.bool().then(|| text(&mut rng).into());
        new.generation = rng.u32(0..3);
        let stored = PreparedEntry::new(new, None).bytes;
        let mut record = decode_record(TableName::Entries, 0, &stored).unwrap();
        let group: Option<Arc<str>> = rng.bool().then(|| text(&mut rng).into());
        let of = EntryOf::new(text(&mut rng).into(), rng.u64(0..1 << bits));
        let expected = len_as_job(stored.len(), &record, group.as_deref(), &of);
        record.for_consumer(EntryPlace { of, passed: None }, group);
        assert_eq!(encode_record(&record).len(), expected, "{record:?}");
    }
}
