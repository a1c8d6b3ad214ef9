//! Prepares a connection, and checks that the server is one on which jobs are safe.

use tokio_postgres::Client;

use crate::error::Error;
use crate::schema;
use crate::session::Process;

/// The first version that is supported, and the last one with which this crate was tested.
const VERSION_LEAST: i32 = 15;
const VERSION_TESTED: i32 = 18;

/// Settings of the session that the statements rely on, whatever the server, the database or the role say. Each statement finds its rows
/// in an index and reads a few. The statistics of tables that were empty a moment ago must not talk the planner into anything else.
const SETTINGS: &str = "set default_transaction_isolation = 'read committed'; set client_min_messages = warning; set jit = off; \
    set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off; \
    set enable_mergejoin = off";

const FACTS: &str = "select current_setting('server_version_num')::int, current_setting('server_version'), \
    current_setting('server_encoding'), current_setting('fsync'), pg_is_in_recovery(), current_setting('transaction_read_only'), \
    current_user::text, a.pid, (extract(epoch from a.backend_start) * 1000000)::bigint \
    from pg_catalog.pg_stat_activity a where a.pid = pg_backend_pid()";

/// A commit that is not synced is lost when the server crashes. Other settings than `off` are stronger, or a choice among replicas.
const SYNCED: &str =
    "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'";

/// Prepares the session, checks the server, makes the schema if it is missing, and checks the rights.
pub(crate) async fn prepare(client: &mut Client, schema: &str) -> Result<Process, Error> {
    let of_call = |error: tokio_postgres::Error| Error::of_call(&error);
    let facts = client.query_one(FACTS, &[]).await.map_err(of_call)?;
    let (version, role) = (facts.get::<_, i32>(0) / 10_000, facts.get::<_, String>(6));
    if version < VERSION_LEAST {
        return Err(Error::ServerTooOld { version: facts.get(1) });
    }
    if version > VERSION_TESTED {
        tracing::info!(
            version,
            "this version of PostgreSQL is newer than those with which millpond-postgres was tested"
        );
    }
    let encoding: String = facts.get(2);
    if encoding != "UTF8" {
        let setting = format!("the encoding {encoding} in this database");
        return Err(Error::Misconfigured { setting, advice: "make a database with the encoding UTF8" });
    }
    if facts.get::<_, String>(3) != "on" {
        let setting = "`fsync = off`".to_owned();
        return Err(Error::Misconfigured { setting, advice: "a crash would lose or damage all jobs: set it to `on`" });
    }
    if facts.get::<_, bool>(4) {
        return Err(Error::ReadOnly { why: "it is a standby: connect to the primary" });
    }
    if facts.get::<_, String>(5) == "on" {
        let why = "`default_transaction_read_only` is set for the server, the database or the role: set it to `off`";
        return Err(Error::ReadOnly { why });
    }
    client.batch_execute(SETTINGS).await.map_err(of_call)?;
    client.query(SYNCED, &[]).await.map_err(of_call)?;
    schema::migrate(client, schema, &role, schema::STEPS).await?;
    schema::check_rights(client, schema, &role).await?;
    Ok(Process { id: facts.get(7), started_at: facts.get(8) })
}
