//! What is compared: one line for each system and setting, in the order of the tables.

/// One line of each table.
pub struct Line {
    /// Its name for `--systems`.
    pub system: &'static str,
    /// The setting that `System::open` gets.
    pub setting: &'static str,
    /// Its name in the tables.
    pub name: &'static str,
    /// The crates whose versions are printed.
    pub crates: &'static [&'static str],
    /// Whether a job that was acknowledged, or has ended, is still so after a power cut.
    pub durable: &'static str,
    /// W4: the number of waiting jobs. 100,000, or fewer where that would take minutes.
    pub backlog: u64,
    /// W6: the number of jobs, and the average milliseconds between them; a loop that polls every 500 ms takes long.
    pub idle: (u64, u64),
    /// Works that another line has too, and that are not run twice.
    pub skips: &'static [&'static str],
    /// How the system is used.
    pub note: &'static str,
}

const BRISK: (u64, u64) = (100, 10);

/// All lines; the first is the floor.
pub const LINES: &[Line] = &[
    Line {
        system: "redb",
        setting: "batched",
        name: "raw redb (the floor)",
        crates: &["redb 4"],
        durable: "yes: one fsync per commit",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "no queue: one writer thread, whose waking is in W1 too; one insert and one removal per job, up to 1,000 \
               in a commit",
    },
    Line {
        system: "millpond",
        setting: "default",
        name: "Millpond",
        crates: &["millpond"],
        durable: "yes: one fsync per commit",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "every setting as it comes",
    },
    Line {
        system: "sqlite",
        setting: "full",
        name: "plain SQLite, WAL, FULL",
        crates: &["rusqlite"],
        durable: "yes: one fsync per commit",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "no queue: the floor's writer thread over SQLite",
    },
    Line {
        system: "sqlite",
        setting: "default",
        name: "plain SQLite, as it opens",
        crates: &["rusqlite"],
        durable: "nearly: four fsyncs per commit, but the journal's removal is not synced",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "the same with a rollback journal and FULL, the defaults of a connection",
    },
    Line {
        system: "sqlite",
        setting: "single",
        name: "plain SQLite, WAL, FULL, a commit per job",
        crates: &["rusqlite"],
        durable: "yes: one fsync per commit",
        backlog: 5_000,
        idle: BRISK,
        skips: &["W1", "W3", "W6"],
        note: "the same without group commit: one job in each, as most write it first",
    },
    Line {
        system: "effectum",
        setting: "default",
        name: "effectum",
        crates: &["effectum"],
        durable: "nearly: three fsyncs per commit, but the journal's removal is not synced; no setting for more",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "rollback journal, NORMAL: its pragma for WAL is misspelt; a worker fetches when half its jobs are done",
    },
    Line {
        system: "effectum",
        setting: "wal",
        name: "effectum, WAL",
        crates: &["effectum"],
        durable: "no: commits are synced at checkpoints only",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "the file set to WAL before, as its source means it to be; NORMAL",
    },
    Line {
        system: "apalis",
        setting: "full",
        name: "apalis-sqlite, FULL",
        crates: &["apalis", "apalis-sqlite"],
        durable: "yes: one fsync per commit",
        backlog: 3_000,
        idle: BRISK,
        skips: &[],
        note: "`setup` on another pool, so that its `synchronous=OFF` stays there; woken by the update hook, polls \
               each 500 ms; each fetch looks at all that wait, so a small backlog flatters its W4",
    },
    Line {
        system: "apalis",
        setting: "default",
        name: "apalis-sqlite",
        crates: &["apalis", "apalis-sqlite"],
        durable: "no: `setup` leaves one connection of the pool, whichever ran it, with `synchronous=OFF`",
        backlog: 3_000,
        idle: BRISK,
        skips: &[],
        note: "as its README opens it; the rest as above",
    },
    Line {
        system: "rustqueue",
        setting: "default",
        name: "rustqueue",
        crates: &["rustqueue", "redb 2"],
        durable: "yes: one fsync per commit",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "a loop of one's own over `QueueManager`: `pull` as many as may run, `ack_batch`, woken by the producer",
    },
    Line {
        system: "rustqueue",
        setting: "coalescing",
        name: "rustqueue, write coalescing",
        crates: &["rustqueue", "redb 2"],
        durable: "yes: a call is answered after its batch's commit",
        backlog: 100_000,
        idle: BRISK,
        skips: &[],
        note: "the same with `BufferedRedbStorage` at its defaults: 10 ms or 100 calls",
    },
    Line {
        system: "rustqueue",
        setting: "run_worker",
        name: "rustqueue, `run_worker`",
        crates: &["rustqueue", "redb 2"],
        durable: "yes: one fsync per commit",
        backlog: 3_000,
        idle: (9, 600),
        skips: &["W1", "W2", "W3"],
        note: "its own loop, which runs one job at a time and polls each 500 ms: as many loops as the concurrency; it \
               enqueues as the first line of rustqueue",
    },
];

/// A work, and what its table shows.
pub struct Work {
    /// W1 to W6.
    pub id: &'static str,
    /// The heading.
    pub title: &'static str,
    /// The figures of its table.
    pub shows: Shows,
}

/// The columns of a work's table.
#[derive(Clone, Copy, PartialEq)]
pub enum Shows {
    /// Jobs a second.
    Rate,
    /// Jobs a second and the 99th percentile from enqueue to start.
    RateAndP99,
    /// The median from enqueue to start, and the 99th percentile.
    Latency,
}

/// In the order of the tables.
pub const WORKS: &[Work] = &[
    Work { id: "W1", title: "one producer, each enqueue awaited", shows: Shows::Rate },
    Work { id: "W2", title: "64 producers, each enqueue awaited", shows: Shows::Rate },
    Work { id: "W3", title: "one producer, 1,000 jobs in a call", shows: Shows::Rate },
    Work {
        id: "W4",
        title: "a backlog drained, concurrency 100, no-op handlers, until every end is stored",
        shows: Shows::Rate,
    },
    Work { id: "W5", title: "16 producers and a worker (32), until every end is stored", shows: Shows::RateAndP99 },
    Work { id: "W6", title: "idle: one job at a time, enqueue to handler start", shows: Shows::Latency },
];
