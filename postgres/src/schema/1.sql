create table SCHEMA.version (
    version int primary key,
    made_at timestamptz not null default now()
);

-- Mailboxes and shared queues. `last` is the position of the latest job. Who appends holds the lock of the row until its commit, so
-- positions become visible in their order.
create table SCHEMA.destination (
    id int generated always as identity primary key,
    kind smallint not null check (kind in (0, 1)), -- 0: a mailbox, 1: a shared queue
    name text not null,
    last bigint not null default 0,
    unique (kind, name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The latest batch of each origin.
create table SCHEMA.cursor (
    destination int not null,
    origin text not null,
    batch bigint not null,
    hash bigint not null,
    ids text not null,
    revision bigint not null,
    primary key (destination, origin)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The jobs of mailboxes. A position is the server's time in microseconds, or one more than the one before.
create table SCHEMA.entry (
    destination int not null,
    position bigint not null,
    partition smallint not null,
    headers text not null,
    payload bytea not null,
    primary key (destination, position)
);
create index entry_of_partition on SCHEMA.entry (destination, partition, position);

-- How far each receiver has stored a mailbox in its file.
create table SCHEMA.reader (
    destination int not null,
    first_partition smallint not null,
    behind_partition smallint not null,
    position bigint not null,
    at timestamptz not null default now(),
    primary key (destination, first_partition, behind_partition)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The jobs of shared queues. `owner` is null while a job can be taken at once. Otherwise it can be taken from `until` on.
create table SCHEMA.job (
    destination int not null,
    position bigint not null,
    headers text not null,
    payload bytea not null,
    owner text,
    until timestamptz,
    fence bigint not null default 0,
    deliveries int not null default 0,
    primary key (destination, position),
    check ((owner is null) = (until is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
create index job_waits on SCHEMA.job (destination, position) where owner is null;
create index job_held on SCHEMA.job (destination, until) where owner is not null;
