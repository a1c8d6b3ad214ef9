//! The tables, and how they are made.
//!
//! A table of versions says what was made. Each step of [`STEPS`] is one version, and runs once, in one transaction.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::Error;

/// What makes each version of the one before. `SCHEMA` stands for the name of the schema. A step that was released is never changed.
pub(crate) const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// The rights that the engine's role needs: on which tables, and which.
const RIGHTS: &[(&str, &[&str])] = &[
    ("version", &["SELECT"]),
    ("destination", &["SELECT", "INSERT", "UPDATE"]),
    ("cursor", &["SELECT", "INSERT", "UPDATE"]),
    ("entry", &["SELECT", "INSERT", "DELETE"]),
    ("reader", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("job", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
];

/// What makes all versions of a schema, with the rights for a role.
pub(crate) fn text(schema: &str, role: Option<&str>) -> String {
    let mut text = format!("begin;\ncreate schema if not exists {schema};\n");
    for (version, step) in (1..).zip(STEPS) {
        text.push_str(&step.replace("SCHEMA", schema));
        text.push_str(&format!("insert into {schema}.version (version) values ({version});\n"));
    }
    if let Some(role) = role {
        let role = format!("\"{}\"", role.replace('"', "\"\""));
        text.push_str(&format!("grant usage on schema {schema} to {role};\n"));
        for (table, rights) in RIGHTS {
            text.push_str(&format!("grant {} on {schema}.{table} to {role};\n", rights.join(", ").to_lowercase()));
        }
    }
    text.push_str("commit;\n");
    text
}

/// The version of the schema. 0: there is none.
async fn version(client: &Client, schema: &str) -> Result<i32, tokio_postgres::Error> {
    // Also right for a role that may not use the schema: then the rights are missing, not the tables.
    let exists = "select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
                  where n.nspname = $1 and c.relname = 'version')";
    if !client.query_one(exists, &[&schema]).await?.get::<_, bool>(0) {
        return Ok(0);
    }
    let latest = client.query_one(&format!("select coalesce(max(version), 0) from {schema}.version"), &[]).await?;
    Ok(latest.get(0))
}

/// Makes what is missing of the schema. Engines that start at the same time do it one after another.
pub(crate) async fn migrate(client: &mut Client, schema: &str, role: &str, steps: &[&str]) -> Result<(), Error> {
    let of_call = |error: &tokio_postgres::Error| Error::of_call(error);
    let known = i32::try_from(steps.len()).unwrap_or(i32::MAX);
    let has = match usable(client, schema, role).await? {
        true => version(client, schema).await.map_err(|error| match is_denied(&error) {
            true => missing(role, "SELECT", format!("table {schema}.version")),
            false => of_call(&error),
        })?,
        false => 0,
    };
    if has == known {
        return Ok(());
    }
    if has > known {
        return Err(Error::NewerSchema { schema: schema.to_owned(), version: has, known });
    }
    let made = async {
        let transaction = client.transaction().await?;
        let lock = "select pg_advisory_xact_lock(hashtextextended('millpond schema ' || $1, 0))";
        transaction.query(lock, &[&schema]).await?;
        let exists = "select exists (select from pg_catalog.pg_namespace where nspname = $1)";
        if !transaction.query_one(exists, &[&schema]).await?.get::<_, bool>(0) {
            transaction.batch_execute(&format!("create schema {schema}")).await?;
        }
        // Another engine may have made it while this one waited for the lock.
        let has = version(transaction.client(), schema).await?;
        for (number, step) in (1..).zip(steps).skip(usize::try_from(has).unwrap_or(0)) {
            transaction.batch_execute(&step.replace("SCHEMA", schema)).await?;
            let insert = format!("insert into {schema}.version (version) values ($1)");
            transaction.execute(&insert, &[&number]).await?;
        }
        transaction.commit().await
    };
    made.await.map_err(|error: tokio_postgres::Error| match is_denied(&error) {
        true => Error::NoSchema { role: role.to_owned(), schema: schema.to_owned() },
        false => of_call(&error),
    })
}

fn is_denied(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

fn missing(role: &str, right: &'static str, on: String) -> Error {
    Error::MissingRight { role: role.to_owned(), right, on }
}

/// Whether the schema is there. If it is, the role may use it.
async fn usable(client: &Client, schema: &str, role: &str) -> Result<bool, Error> {
    let may = "select has_schema_privilege(oid, 'USAGE') from pg_catalog.pg_namespace where nspname = $1";
    let may = client.query_opt(may, &[&schema]).await.map_err(|error| Error::of_call(&error))?;
    match may.map(|row| row.get::<_, bool>(0)) {
        None => Ok(false),
        Some(true) => Ok(true),
        Some(false) => Err(missing(role, "USAGE", format!("schema {schema}"))),
    }
}

/// Whether the role has all rights on the tables.
pub(crate) async fn check_rights(client: &Client, schema: &str, role: &str) -> Result<(), Error> {
    let all = RIGHTS.iter().flat_map(|(table, rights)| rights.iter().map(move |right| (*table, *right)));
    let (tables, rights): (Vec<String>, Vec<&'static str>) =
        all.map(|(table, right)| (format!("{schema}.{table}"), right)).unzip();
    let lacks = "select place from unnest($1::text[], $2::text[]) with ordinality as needed (name, needs, place) \
                 where not has_table_privilege(name, needs) order by place limit 1";
    let lacks = client.query_opt(lacks, &[&tables, &rights]).await.map_err(|error| Error::of_call(&error))?;
    let place = lacks.and_then(|row| usize::try_from(row.get::<_, i64>(0) - 1).ok());
    match place.and_then(|place| Some((tables.get(place)?, rights.get(place)?))) {
        Some((table, right)) => Err(missing(role, right, format!("table {table}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
