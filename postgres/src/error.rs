//! Why a server cannot be used, and what its own errors mean.

use tokio_postgres::error::SqlState;

/// Why a server cannot be used, or not yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be read.
    #[error("the address of the server cannot be read: {0}")]
    InvalidAddress(#[source] tokio_postgres::Error),
    /// The name of the schema is not valid.
    #[error(
        "{name:?} is not a valid name of a schema: it has 1 to 63 of `a-z`, `0-9` and `_`, and begins with a letter or `_`, but not with `pg_`"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// A limit that is out of its range.
    #[error("the limit `{limit}` is {value}, and it can be {least} to {most}")]
    InvalidLimit {
        /// The limit.
        limit: &'static str,
        /// What was given.
        value: usize,
        /// The least value.
        least: usize,
        /// The greatest value.
        most: usize,
    },
    /// The address asks for TLS, and the engine was given no way to do it.
    #[error(
        "the address asks for TLS by its `sslmode`: give a connector with `Connect::tls`, or enable the feature `rustls` and call `Connect::rustls`"
    )]
    NoTls,
    /// The certificates of the system cannot be read.
    #[error("the certificates with which a server's is verified cannot be used: {0}")]
    Certificates(String),
    /// The server is of a version that was never supported.
    #[error(
        "the PostgreSQL server has version {version}, and 15 is the first one that is supported: update the server"
    )]
    ServerTooOld {
        /// The server's version.
        version: String,
    },
    /// A setting of the server with which jobs would be lost or damaged.
    #[error("the PostgreSQL server has {setting}: {advice}")]
    Misconfigured {
        /// The setting.
        setting: String,
        /// What to do.
        advice: &'static str,
    },
    /// The server takes no writes.
    #[error("the PostgreSQL server takes no writes: {why}")]
    ReadOnly {
        /// Why, and what to do.
        why: &'static str,
    },
    /// There is a pooler between the engine and the server which gives each transaction another session.
    #[error(
        "a pooler gives the sessions of this engine to others between transactions: connect to the server itself, or set the pooler to keep sessions (`pool_mode = session`)"
    )]
    Pooler,
    /// The role lacks a right.
    #[error(
        "the role {role:?} lacks the right {right} on {on}: an administrator runs `grant {right} on {on} to {role:?}`"
    )]
    MissingRight {
        /// The role with which the engine has connected.
        role: String,
        /// The right.
        right: &'static str,
        /// On what.
        on: String,
    },
    /// The tables are not there, and the role may not make them.
    #[error(
        "the role {role:?} may not make the schema {schema:?} and its tables: an administrator runs the text of `Postgres::schema_sql`, or grants the right CREATE"
    )]
    NoSchema {
        /// The role with which the engine has connected.
        role: String,
        /// The schema.
        schema: String,
    },
    /// The tables were made by a newer build.
    #[error("the schema {schema:?} has version {version}, and this build knows {known}: update this machine")]
    NewerSchema {
        /// The schema.
        schema: String,
        /// Its version.
        version: i32,
        /// The latest version that this build knows.
        known: i32,
    },
    /// The server refuses a call.
    #[error("the PostgreSQL server refuses the call ({code}): {message}{advice}")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// What the server says.
        message: String,
        /// What to do, if this crate knows more than the server says.
        advice: &'static str,
    },
    /// The server does not answer.
    #[error("the PostgreSQL server does not answer: {0}")]
    Unavailable(String),
}

impl Error {
    /// What an error of a call means.
    pub(crate) fn of_call(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None => Self::Unavailable(with_sources(error)),
            // The statements of each session are its own, and have their names once.
            Some(db) if is_of_pooler(db.code()) => Self::Pooler,
            // It starts or stops, or somebody has ended the session.
            Some(db) if is_away(db.code()) => Self::Unavailable(db.message().to_owned()),
            Some(db) => {
                let (code, advice) = (db.code().code().to_owned(), advice(db.code()));
                Self::Refused { code, message: db.message().to_owned(), advice }
            }
        }
    }
}

/// Whether the next call shall look at the server and the tables anew, over a new connection.
pub(crate) fn ends_session(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else { return true };
    // A transaction that has failed by itself, a limit of the operator, or a lack of space: the session is as good as before.
    let class = &code.code()[..2];
    !(class == "40" || class == "53" || class == "23" || class == "55" || *code == SqlState::QUERY_CANCELED)
}

fn is_away(code: &SqlState) -> bool {
    matches!(&code.code()[..2], "08" | "57") && *code != SqlState::QUERY_CANCELED
}

/// What the error says, and what its sources say beside that.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = next.source();
    }
    text
}

fn is_of_pooler(code: &SqlState) -> bool {
    *code == SqlState::DUPLICATE_PSTATEMENT || *code == SqlState::INVALID_SQL_STATEMENT_NAME
}

fn advice(code: &SqlState) -> &'static str {
    match &code.code()[..2] {
        _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => ": grant the rights that `Postgres::check` names",
        _ if *code == SqlState::QUERY_CANCELED => {
            ": the `statement_timeout` of the role or the server is too short for a batch, or somebody has cancelled it"
        }
        _ if *code == SqlState::DISK_FULL => ": its disk is full, and senders wait until there is room",
        _ if *code == SqlState::TOO_MANY_CONNECTIONS => ": raise its `max_connections`; an engine uses up to three",
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => ": it has become a standby",
        _ if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME => {
            ": tables of the schema are gone, and the next call looks for them"
        }
        "28" | "3D" => ": see the role, the password and the database of the address, and the server's `pg_hba.conf`",
        "42" | "22" => ": the tables are not as this crate has made them; compare them with `Postgres::schema_sql`",
        "40" => ": it ran into another transaction, and is tried again",
        _ => "",
    }
}
