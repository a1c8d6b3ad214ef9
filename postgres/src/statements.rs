//! The SQL of the engine. Each is one statement, so that it is a transaction by itself and needs one round trip.
//!
//! Times are those of the server. `SCHEMA` stands for the name of the schema, `CLOCK` for the time in microseconds, and `BYTES` for the
//! size of a job, for which its bytes are not read. Positions, revisions and fences are at least that time, so that none is given out
//! twice when an older copy of the database is restored.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Statement {
    /// Makes a destination if it is not there: kind, name.
    Destination,
    /// Waits until no append of the origin is under way: key of the origin.
    Barrier,
    /// The cursor of an origin: kind, name, origin.
    Cursor,
    /// Appends the first batch of an origin to a mailbox or a shared queue. See [`APPEND`].
    AppendFirst(Kind),
    /// Appends a batch of an origin that has a cursor, whose revision is the last parameter.
    AppendNext(Kind),
    /// Reads all partitions of a mailbox: name, position, jobs, bytes.
    ReadAll,
    /// Reads some partitions: name, position, jobs, bytes, first partition, last partition.
    ReadSome,
    /// Notes how far a receiver has stored a mailbox: name, first partition, partition behind, position.
    Reader,
    /// Removes what was read and is old: name, first partition, last partition, age in microseconds, jobs.
    RemoveRead,
    /// Removes jobs up to a position: name, position, jobs.
    Trim,
    /// The receivers of a mailbox: name.
    Readers,
    /// Forgets a receiver: name, first partition, partition behind.
    ForgetReader,
    /// Takes jobs: name, jobs, owner, seconds, bytes.
    Take,
    /// Extends leases: name, positions, fences, seconds.
    Extend,
    /// Removes jobs: name, positions, fences.
    End,
    /// Ends leases at once: name, positions, fences.
    GiveBack,
    /// Ends leases, whose jobs wait: name, positions, fences, seconds.
    GiveBackLater,
}

/// A kind of destination, as it is in its row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Mailbox = 0,
    Shared = 1,
}

impl Statement {
    pub fn text(self, schema: &str) -> String {
        let text = match self {
            Self::Destination => DESTINATION.to_owned(),
            Self::Barrier => "select pg_advisory_xact_lock($1)".to_owned(),
            Self::Cursor => CURSOR.to_owned(),
            Self::AppendFirst(kind) => append(MOVED_FIRST, kind),
            Self::AppendNext(kind) => append(MOVED_NEXT, kind),
            Self::ReadAll => READ.replace("PAGE", PAGE_OF_ALL),
            Self::ReadSome => READ.replace("PAGE", PAGE_OF_SOME),
            Self::Reader => READER.to_owned(),
            Self::RemoveRead => REMOVE_READ.to_owned(),
            Self::Trim => TRIM.to_owned(),
            Self::Readers => READERS.to_owned(),
            Self::ForgetReader => FORGET_READER.to_owned(),
            Self::Take => TAKE.to_owned(),
            Self::Extend => held("update SCHEMA.job j set until = clock_timestamp() + make_interval(secs => $4)"),
            Self::End => held("delete from SCHEMA.job j"),
            Self::GiveBack => {
                held("update SCHEMA.job j set owner = null, until = null, fence = greatest(j.fence + 1, CLOCK)")
            }
            Self::GiveBackLater => held(
                "update SCHEMA.job j set owner = '', until = clock_timestamp() + make_interval(secs => $4), \
                 fence = greatest(j.fence + 1, CLOCK)",
            ),
        };
        text.replace("BYTES", "(octet_length(payload) + octet_length(headers))")
            .replace("CLOCK", "(extract(epoch from clock_timestamp()) * 1000000)::bigint")
            .replace("SCHEMA", schema)
    }
}

const DESTINATION: &str = "
insert into SCHEMA.destination (kind, name) select $1, $2
where not exists (select from SCHEMA.destination where kind = $1 and name = $2)
on conflict do nothing";

const CURSOR: &str = "
select c.batch, c.hash, c.ids, c.revision from SCHEMA.cursor c join SCHEMA.destination d on d.id = c.destination
where d.kind = $1 and d.name = $2 and c.origin = $3";

/// Sets the cursor, moves the last position of the destination by the number of jobs, and stores them at the positions before it.
///
/// Parameters: kind, name, origin, key of the origin, batch, hash, ids, partitions, headers, payloads, expected revision.
///
/// `behind` waits for the lock of the destination's row, and then gets the row as the transaction before has left it. If the cursor is
/// not the expected one, `moved` is empty, and nothing else is done. The lock of the origin's key is for `Barrier`.
const APPEND: &str = "
with barrier as materialized (select pg_advisory_xact_lock($4::bigint)),
moved as (MOVED),
behind as (
    update SCHEMA.destination d set last = greatest(d.last, CLOCK) + cardinality($8::smallint[])
    where d.kind = $1 and d.name = $2 and exists (select from moved)
    returning d.id, d.last - cardinality($8::smallint[]) as before
),
stored as (STORED)
select revision from moved";

const MOVED_FIRST: &str = "
    insert into SCHEMA.cursor (destination, origin, batch, hash, ids, revision)
    select d.id, $3, $5::bigint, $6::bigint, $7::text, CLOCK from SCHEMA.destination d, barrier where d.kind = $1 and d.name = $2
    on conflict do nothing returning revision";

const MOVED_NEXT: &str = "
    update SCHEMA.cursor c set batch = $5::bigint, hash = $6::bigint, ids = $7::text, revision = greatest(c.revision + 1, CLOCK)
    from SCHEMA.destination d, barrier
    where d.kind = $1 and d.name = $2 and c.destination = d.id and c.origin = $3 and c.revision = $11::bigint
    returning c.revision";

const STORED: [&str; 2] = [
    "insert into SCHEMA.entry (destination, position, partition, headers, payload)
    select b.id, b.before + e.place, e.partition, e.headers, e.payload
    from behind b, unnest($8::smallint[], $9::text[], $10::bytea[]) with ordinality as e (partition, headers, payload, place)",
    "insert into SCHEMA.job (destination, position, headers, payload)
    select b.id, b.before + e.place, e.headers, e.payload
    from behind b, unnest($9::text[], $10::bytea[]) with ordinality as e (headers, payload, place)",
];

fn append(moved: &str, kind: Kind) -> String {
    APPEND.replace("MOVED", moved).replace("STORED", STORED[kind as usize])
}

/// A page ends before the job with which it would have more than so many bytes, unless that is its first one. A mailbox that is there
/// has at least one row, without a position if the page is empty.
const READ: &str = "
with d as (select id, last from SCHEMA.destination where kind = 0 and name = $1)
select d.last, page.position, page.partition, page.headers, page.payload
from d left join lateral (
    select p.*, sum(BYTES) over (order by p.position rows unbounded preceding) - BYTES as before from (PAGE) p
) page on page.before < $4::bigint
order by page.position";

const PAGE_OF_ALL: &str = "
        select e.position, e.partition, e.headers, e.payload from SCHEMA.entry e
        where e.destination = d.id and e.position > $2 order by e.position limit $3";

const PAGE_OF_SOME: &str = "
        select e.* from generate_series($5::int, $6::int) as part (number), lateral (
            select e.position, e.partition, e.headers, e.payload from SCHEMA.entry e
            where e.destination = d.id and e.partition = part.number::smallint and e.position > $2 order by e.position limit $3
        ) e order by e.position limit $3";

const READER: &str = "
insert into SCHEMA.reader as r (destination, first_partition, behind_partition, position)
select d.id, $2, $3, $4 from SCHEMA.destination d where d.kind = 0 and d.name = $1
on conflict (destination, first_partition, behind_partition) do update set position = excluded.position, at = now()";

/// Of each partition, what all its receivers have stored. If there is no receiver, `confirmed` is null and nothing is removed.
const REMOVE_READ: &str = "
with d as (select id from SCHEMA.destination where kind = 0 and name = $1),
old as (
    select e.position
    from d, generate_series($2::int, $3::int) as part (number),
    lateral (
        select min(r.position) as position from SCHEMA.reader r
        where r.destination = d.id and part.number >= r.first_partition and part.number < r.behind_partition
    ) confirmed,
    lateral (
        select e.position from SCHEMA.entry e
        where e.destination = d.id and e.partition = part.number::smallint and e.position <= confirmed.position
        and e.position <= (extract(epoch from now()) * 1000000)::bigint - $4::bigint
        order by e.position limit $5
    ) e
    limit $5
)
delete from SCHEMA.entry e where e.destination = (select id from d) and e.position = any(array(select position from old))";

const TRIM: &str = "
with d as (select id from SCHEMA.destination where kind = 0 and name = $1),
old as (
    select e.position from SCHEMA.entry e
    where e.destination = (select id from d) and e.position <= $2 order by e.position limit $3
)
delete from SCHEMA.entry e where e.destination = (select id from d) and e.position = any(array(select position from old))";

const READERS: &str = "
select r.first_partition, r.behind_partition, r.position, r.at from SCHEMA.reader r join SCHEMA.destination d on d.id = r.destination
where d.kind = 0 and d.name = $1 order by 1, 2";

const FORGET_READER: &str = "
delete from SCHEMA.reader r using SCHEMA.destination d
where d.id = r.destination and d.kind = 0 and d.name = $1 and r.first_partition = $2 and r.behind_partition = $3";

/// First the jobs whose leases have ended, which are the oldest ones, and then those that wait. Rows that another session has locked
/// are passed over. Each part reads as many rows of its index as it takes.
const TAKE: &str = "
with d as (select id from SCHEMA.destination where kind = 1 and name = $1),
lapsed as materialized (
    select j.position, BYTES as bytes from SCHEMA.job j
    where j.destination = (select id from d) and j.owner is not null and j.until <= now()
    order by j.until limit $2::bigint for update skip locked
),
waiting as materialized (
    select j.position, BYTES as bytes from SCHEMA.job j
    where j.destination = (select id from d) and j.owner is null
    order by j.position limit $2::bigint - (select count(*) from lapsed) for update skip locked
),
page as (
    select p.*, sum(p.bytes) over (order by p.position rows unbounded preceding) - p.bytes as before
    from (select * from lapsed union all select * from waiting) p
)
update SCHEMA.job j set owner = $3, until = clock_timestamp() + make_interval(secs => $4),
    fence = greatest(j.fence + 1, CLOCK), deliveries = j.deliveries + 1
where j.destination = (select id from d) and j.position = any(array(select position from page where before < $5::bigint))
returning j.position, j.fence, j.deliveries, j.headers, j.payload";

/// A change of jobs whose leases are those that are given: the fence of each is the one at the same place as its position. A lease that
/// nobody has taken over counts, even if its time has passed. Positions are looked up in the primary key, whatever the statistics say.
fn held(change: &str) -> String {
    format!(
        "{change}
where j.destination = (select id from SCHEMA.destination where kind = 1 and name = $1) and j.position = any($2::bigint[])
and j.fence = ($3::bigint[])[array_position($2::bigint[], j.position)]
returning j.position, j.fence"
    )
}

/// The kind's number in a row.
impl From<Kind> for i16 {
    fn from(kind: Kind) -> Self {
        kind as Self
    }
}
