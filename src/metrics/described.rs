//! The unit and the description of each metric, for recorders that show them. docs/metrics.md has the same table.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

enum Shape {
    Counter,
    Gauge,
    Histogram,
}

use Shape::{Counter, Gauge, Histogram};

const ALL: [(&str, Shape, Unit, &str); 43] = [
    ("millpond.jobs.enqueued", Counter, Unit::Count, "Jobs that were enqueued."),
    ("millpond.jobs.started", Counter, Unit::Count, "Attempts that were started."),
    ("millpond.jobs.ended", Counter, Unit::Count, "Attempts that have ended."),
    ("millpond.jobs.dead", Counter, Unit::Count, "Jobs that became dead letters."),
    ("millpond.jobs.dropped", Counter, Unit::Count, "Jobs that were dropped from a full queue."),
    ("millpond.jobs.wait.duration", Histogram, Unit::Seconds, "From when a job could run until it starts."),
    ("millpond.jobs.run.duration", Histogram, Unit::Seconds, "How long an attempt takes."),
    ("millpond.queue.jobs", Gauge, Unit::Count, "Jobs in a state."),
    ("millpond.queue.oldest_ready.age", Gauge, Unit::Seconds, "How long the oldest ready job has waited."),
    ("millpond.stream.entries", Gauge, Unit::Count, "Entries of a stream."),
    ("millpond.stream.size", Gauge, Unit::Bytes, "The bytes that the entries of a stream have."),
    ("millpond.consumer.lag", Gauge, Unit::Count, "Entries that a consumer is not done with."),
    (
        "millpond.consumer.lag.age",
        Gauge,
        Unit::Seconds,
        "How long the first entry waits that a consumer is not done with.",
    ),
    ("millpond.consumer.lost", Counter, Unit::Count, "Entries that retention has removed before a consumer was done."),
    ("millpond.link.connected", Gauge, Unit::Count, "1 while the engine of a link answers, 0 otherwise."),
    ("millpond.link.jobs", Counter, Unit::Count, "Jobs that a link has sent or received."),
    ("millpond.link.lag", Gauge, Unit::Count, "Jobs that a link has still to move."),
    ("millpond.link.in_doubt", Gauge, Unit::Count, "Jobs that are being sent, and may have arrived or not."),
    ("millpond.link.held", Gauge, Unit::Count, "Jobs that this process holds by leases."),
    ("millpond.link.known", Counter, Unit::Count, "Jobs that were moved again, and were known already."),
    ("millpond.link.unreadable", Counter, Unit::Count, "Messages that could not be read as jobs."),
    ("millpond.link.engine_went_back", Counter, Unit::Count, "How often an engine had lost what it had acknowledged."),
    ("millpond.link.file_went_back", Counter, Unit::Count, "How often the file was found to be an older copy."),
    ("millpond.link.lost_batches", Counter, Unit::Count, "Batches that an engine has lost for good."),
    ("millpond.link.lost_leases", Counter, Unit::Count, "Leases that have ended before their jobs."),
    ("millpond.limiter.waits", Counter, Unit::Count, "How often a rate, a limit or a circuit let jobs wait."),
    ("millpond.window.refills", Counter, Unit::Count, "Pages of ready jobs that were read from the file."),
    ("millpond.commits", Counter, Unit::Count, "Commits made."),
    ("millpond.commit.duration", Histogram, Unit::Seconds, "How long a commit takes to become durable."),
    ("millpond.commit.operations", Histogram, Unit::Count, "Operations that share a commit."),
    ("millpond.writer.inbox", Gauge, Unit::Count, "Messages that wait for the writer."),
    ("millpond.storage.size", Gauge, Unit::Bytes, "The size of the file."),
    ("millpond.storage.written", Counter, Unit::Bytes, "Bytes handed to the file to be written."),
    ("millpond.storage.syncs", Counter, Unit::Count, "Times that the file was synced."),
    ("millpond.process.jobs", Gauge, Unit::Count, "Jobs that run."),
    ("millpond.process.jobs.limit", Gauge, Unit::Count, "Jobs that can run at a time."),
    ("millpond.degraded", Gauge, Unit::Count, "1 while the queue cannot work, 0 otherwise."),
    ("millpond.plugin.calls", Counter, Unit::Count, "Attempts of a plugin that have begun."),
    ("millpond.plugin.broken", Counter, Unit::Count, "Attempts of a plugin that broke."),
    ("millpond.plugin.traps", Counter, Unit::Count, "Attempts of a plugin that trapped."),
    ("millpond.plugin.compute.time", Counter, Unit::Microseconds, "How long threads were busy with a plugin."),
    ("millpond.plugin.memory.max", Gauge, Unit::Bytes, "The most memory that an attempt of a plugin had."),
    ("millpond.plugin.suspended", Gauge, Unit::Count, "1 while a plugin is suspended, 0 otherwise."),
];

pub(super) fn describe_all() {
    for (name, shape, unit, text) in ALL {
        match shape {
            Counter => describe_counter!(name, unit, text),
            Gauge => describe_gauge!(name, unit, text),
            Histogram => describe_histogram!(name, unit, text),
        }
    }
}
