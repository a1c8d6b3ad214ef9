//! Describes the contents of a file, whatever its bytes: every job, every queue, the application's rows.

use millpond::{Circuit, Codec, JobInfo, Millpond, Queue, Unique};
use redb::{ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::all_jobs::all_jobs;
use crate::features::{APP, GROUPS, KEYS, LIMITED, limited};

const QUARANTINE: TableDefinition<u64, (&str, &[u8], &[u8])> = TableDefinition::new("millpond/quarantine");
pub const UNIQUE: TableDefinition<(u32, &str), &[u8]> = TableDefinition::new("millpond/unique");
const TIMED_KEYS: TableDefinition<(u32, u8, &str), &[u8]> = TableDefinition::new("millpond/timed_keys");
const UNIQUE_ENDED: TableDefinition<(u64, u32, &str), ()> = TableDefinition::new("millpond/unique_ended");

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/meta");

/// Exists since version 4.
pub const EXPIRING: TableDefinition<(u8, u64, u32, u64), ()> = TableDefinition::new("millpond/expiring");
const PLUGIN_STATE: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("millpond/plugin_state");
const PLUGIN_USAGE: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/plugin_usage");

pub async fn dump(pond: &Millpond) -> Value {
    let mut jobs = all_jobs(pond);
    jobs.sort_by_key(|job| job.id);
    let mut dump = json!({
        "jobs": jobs.iter().map(|job| self::job(pond, job)).collect::<Vec<_>>(),
        "queues": pond.queues().iter().map(queue).collect::<Vec<_>>(),
        "rates": rates(pond).await,
        "quarantine": quarantine(pond),
        "keys": all_keys(pond),
        "expiring": expiring(pond),
        "plugins": plugins(pond),
        "app": app(pond),
    });
    // Files of earlier builds have none.
    if pond.schedules().count().unwrap() > 0 {
        dump["schedules"] = schedules(pond, &jobs);
    }
    if pond.is_paused() {
        dump["all_paused"] = json!(true);
    }
    // Files that were never asked for it have none, and must not get one here.
    let read = pond.begin_read().unwrap();
    if read.open_table(META).unwrap().get("identity").unwrap().is_some() {
        dump["identity"] = json!(pond.identity().await.unwrap().to_string());
    }
    let dropped = pond.queues().into_iter().map(|queue| queue.counts().dropped_total).sum::<u64>();
    if dropped > 0 {
        dump["dropped"] = json!(dropped);
    }
    let circuits = circuits(pond);
    if !circuits.is_empty() {
        dump["circuits"] = circuits.into();
    }
    if pond.flows().count().unwrap() > 0 {
        let all = pond.flows().list("", 1_000).unwrap();
        let nodes = all.iter().map(|flow| pond.flows().nodes(&flow.name, None, 1_000).unwrap());
        dump["flow_nodes"] = nodes.map(|nodes| json!(nodes)).collect();
        dump["flows"] = json!(all);
    }
    let topics = pond.topics().unwrap();
    if !topics.is_empty() {
        let bindings = topics.iter().map(|topic| pond.topic(&topic.name).unwrap().bindings().unwrap());
        dump["topics"] = json!({ "all": topics, "bindings": bindings.collect::<Vec<_>>() });
    }
    let streams = pond.streams("", 1_000).unwrap();
    if !streams.is_empty() {
        let entries = streams.iter().map(|stream| pond.stream(&stream.name).unwrap().read(0, 1_000).unwrap());
        dump["streams"] = json!({ "entries": entries.collect::<Vec<_>>(), "consumers": pond.consumers().unwrap() });
        dump["streams"]["all"] = json!(streams);
    }
    let steps = jobs.iter().map(|job| json!({ "id": job.id, "steps": pond.steps(job.id).unwrap() }));
    let steps: Vec<_> = steps.filter(|job| job["steps"] != json!([])).collect();
    if !steps.is_empty() {
        dump["steps"] = steps.into();
    }
    let holders = holders(pond);
    if !holders.is_empty() {
        dump["holders"] = holders.into();
    }
    dump
}

/// The circuits that are not closed, of queues and of groups.
fn circuits(pond: &Millpond) -> Vec<Value> {
    let mut circuits = Vec::new();
    for queue in pond.queues() {
        let of_groups = GROUPS.map(|group| (Some(group), queue.group_circuit(group).unwrap()));
        for (group, circuit) in of_groups.into_iter().chain([(None, queue.circuit())]) {
            if !matches!(circuit, Circuit::Closed { .. }) {
                circuits.push(json!({ "queue": queue.name(), "group": group, "circuit": circuit.to_string() }));
            }
        }
    }
    circuits
}

/// Which job holds each key of the file with unique modes, and the keys that are held for a time.
fn holders(pond: &Millpond) -> Vec<Value> {
    let read = pond.begin_read().unwrap();
    let timed = read.open_table(TIMED_KEYS).unwrap();
    let timed = timed.iter().unwrap().map(|row| {
        let (key, _) = row.unwrap();
        let (queue, kind, key) = key.value();
        json!({ "queue": queue, "kind": kind, "key": key })
    });
    let timed: Vec<_> = timed.collect();
    if timed.is_empty() {
        return timed;
    }
    let queue = pond.queue("q").unwrap();
    let held = KEYS.into_iter().map(|key| json!({ "key": key, "id": queue.unique_holder(key).unwrap() }));
    timed.into_iter().chain(held).collect()
}

/// Each schedule, and which job is which run.
fn schedules(pond: &Millpond, jobs: &[JobInfo]) -> Value {
    let runs = jobs.iter().filter_map(|job| Some(json!({ "id": job.id, "run": job.scheduled_for.as_ref()? })));
    json!({ "all": pond.schedules().list("", 1_000).unwrap(), "runs": runs.collect::<Value>() })
}

fn job(pond: &Millpond, job: &JobInfo) -> Value {
    let errors = job.errors.iter().map(|error| {
        json!({
            "attempt": error.attempt,
            "kind": error.kind,
            "message": error.message,
            "started_at": error.started_at,
            "ended_at": error.ended_at,
        })
    });
    let mut described = json!({
        "id": job.id,
        "queue": job.queue,
        "kind": job.kind,
        "state": job.state,
        "priority": job.priority,
        "group": job.group,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "enqueued_at": job.enqueued_at,
        "run_at": job.run_at,
        "expires_at": job.expires_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "snoozes": job.snoozes,
        "errors": errors.collect::<Vec<_>>(),
        "reason": job.reason,
        "result": job.result.as_deref().map(text),
        "unique_key": job.unique_key,
        "payload": format!("{:?} {}", job.payload.codec, match job.payload.codec {
            Codec::Postcard => hex(&job.payload.bytes),
            _ => text(&job.payload.bytes),
        }),
        "why": (!job.state.is_final()).then(|| pond.explain(job.id).unwrap().to_string()),
    });
    // Jobs of earlier builds have none.
    if !job.tags.is_empty() || !job.headers.is_empty() {
        (described["tags"], described["headers"]) = (json!(job.tags), json!(job.headers));
    }
    if !job.logs.is_empty() {
        described["logs"] = json!(job.logs);
    }
    if let Some(key) = &job.idempotency_key {
        described["idempotency_key"] = json!(key);
    }
    if let Some(entry) = &job.entry {
        described["entry"] = json!(entry);
    }
    if job.weight != 1 {
        described["weight"] = json!(job.weight);
    }
    if job.unique.is_some_and(|unique| unique != Unique::default()) {
        described["unique"] = json!(job.unique);
    }
    described
}

fn queue(queue: &Queue) -> Value {
    let counts = queue.counts();
    let mut described = json!({
        "name": queue.name(),
        "paused": queue.is_paused(),
        "settings": queue.settings(),
        "counts": {
            "pending": counts.pending,
            "running": counts.running,
            "scheduled": counts.scheduled,
            "retrying": counts.retrying,
            "completed": counts.completed,
            "dead": counts.dead,
            "cancelled": counts.cancelled,
            "bytes": counts.bytes,
            "enqueued_total": counts.enqueued_total,
            "completed_total": counts.completed_total,
            "failures_total": counts.failures_total,
            "dead_total": counts.dead_total,
            "cancelled_total": counts.cancelled_total,
        },
    });
    if queue.settings().group_concurrency == 1
        && let Some(settings) = described["settings"].as_object_mut()
    {
        settings.remove("group_concurrency");
    }
    if !queue.overrides().is_empty() {
        described["overrides"] = json!(queue.overrides());
    }
    if !queue.paused_kinds().is_empty() {
        described["paused_kinds"] = json!(queue.paused_kinds());
    }
    described
}

/// What is left in the buckets. They are shown only while the queue has a worker, and it must not start anything.
async fn rates(pond: &Millpond) -> Value {
    if !pond.queues().iter().any(|queue| queue.name() == LIMITED) {
        return Value::Null;
    }
    let queue = pond.queue(LIMITED).unwrap();
    assert!(queue.is_paused());
    let worker = limited(pond);
    let (whole, one) = (queue.rate(), queue.group_rate("held").unwrap());
    let rates = json!({
        "queue": { "tokens": whole.available(), "wait": whole.available_in() },
        "group held": { "tokens": one.available(), "wait": one.available_in() },
    });
    worker.stop();
    rates
}

fn quarantine(pond: &Millpond) -> Value {
    let read = pond.begin_read().unwrap();
    let table = read.open_table(QUARANTINE).unwrap();
    let rows = table.iter().unwrap().map(|row| {
        let (number, row) = row.unwrap();
        let (table, key, value) = row.value();
        json!({ "number": number.value(), "table": table, "key": hex(key), "value": hex(value) })
    });
    rows.collect()
}

fn all_keys(pond: &Millpond) -> Value {
    let read = pond.begin_read().unwrap();
    let ended = read.open_table(UNIQUE_ENDED).unwrap();
    let ended = ended.iter().unwrap().map(|row| {
        let (key, _) = row.unwrap();
        let (until, queue, key) = key.value();
        json!({ "until": until, "queue": queue, "key": key })
    });
    json!({ "held": keys(&read.open_table(UNIQUE).unwrap()), "ended": ended.collect::<Value>() })
}

fn expiring(pond: &Millpond) -> Value {
    let read = pond.begin_read().unwrap();
    let rows = read.open_table(EXPIRING).unwrap();
    let rows = rows.iter().unwrap().map(|row| {
        let (line, at, queue, id) = row.unwrap().0.value();
        json!({ "line": line, "at": at, "queue": queue, "id": id })
    });
    rows.collect()
}

/// The job that holds each unique key.
pub fn keys(table: &impl ReadableTable<(u32, &'static str), &'static [u8]>) -> Value {
    let rows = table.iter().unwrap().map(|row| {
        let (key, row) = row.unwrap();
        let (queue, key) = key.value();
        // After the version byte and the checksum.
        let (id, until): (u64, u64) = postcard::from_bytes(&row.value()[5..]).unwrap();
        json!({ "queue": queue, "key": key, "id": id, "until": until })
    });
    rows.collect()
}

/// What plugins keep, their usage counts, and the plugins named in job records.
fn plugins(pond: &Millpond) -> Value {
    let read = pond.begin_read().unwrap();
    let kept = read.open_table(PLUGIN_STATE).unwrap();
    let kept = kept.iter().unwrap().map(|row| {
        let (key, row) = row.unwrap();
        let (plugin, key) = key.value();
        let value: bytes::Bytes = postcard::from_bytes(&row.value()[5..]).unwrap();
        json!({ "plugin": plugin, "key": key, "value": text(&value) })
    });
    let usage = read.open_table(PLUGIN_USAGE).unwrap();
    let usage = usage.iter().unwrap().map(|row| {
        let (plugin, row) = row.unwrap();
        let (keys, bytes): (u64, u64) = postcard::from_bytes(&row.value()[5..]).unwrap();
        json!({ "plugin": plugin.value(), "keys": keys, "bytes": bytes })
    });
    let mut jobs = all_jobs(pond);
    jobs.sort_by_key(|job| job.id);
    let jobs = jobs.iter().filter(|job| job.generation > 0 || !job.plugins.is_empty());
    // Versions are not compared: the same text can be assembled into other bytes in the future.
    let jobs = jobs.map(|job| {
        let attempts: Vec<u32> = job.plugins.iter().map(|(attempt, _)| *attempt).collect();
        json!({ "id": job.id, "generation": job.generation, "plugins": attempts })
    });
    json!({ "kept": kept.collect::<Value>(), "usage": usage.collect::<Value>(), "jobs": jobs.collect::<Value>() })
}

fn app(pond: &Millpond) -> Value {
    let read = pond.begin_read().unwrap();
    let Ok(table) = read.open_table(APP) else { return Value::Null };
    let rows = table.iter().unwrap().map(|row| {
        let (key, value) = row.unwrap();
        json!([key.value(), value.value()])
    });
    rows.collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
