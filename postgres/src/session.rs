//! One connection to the server, over which calls are pipelined.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row};

use crate::check;
use crate::error::{self, Error};
use crate::statements::{Kind, Statement};
use crate::tls::Connector;
use crate::waits::Waits;

/// How long a call waits for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long a connection may take until it can be used, all hosts of the address and the checks included.
const READY_MAX: Duration = Duration::from_secs(20);

pub(crate) type Parameters<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A connection to a server that was found to be good.
pub(crate) struct Session {
    client: Client,
    carries: JoinHandle<()>,
    schema: String,
    /// The server's process, by its number and the time at which it was started.
    pub process: Process,
    has_ended: AtomicBool,
    statements: Mutex<HashMap<Statement, tokio_postgres::Statement>>,
    /// The destinations that are there. A server that is set back is found over another connection.
    destinations: Mutex<HashSet<(Kind, String)>>,
}

/// A process of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub id: i32,
    /// In microseconds.
    pub started_at: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Session {
    /// Connects, and checks the server and the schema. If `listens`, hints go to `waits`. The process of the connection before is ended.
    pub async fn open(
        config: &Config,
        connector: &dyn Connector,
        schema: &str,
        waits: &Arc<Waits>,
        listens: bool,
        before: Option<Process>,
    ) -> Result<Self, Error> {
        let ready = timeout(READY_MAX, async {
            let connected = connector.connect(config, waits.clone()).await;
            let (client, carry) = connected.map_err(|error| Error::of_call(&error))?;
            // If the connection is not good, it ends when the client is dropped.
            let carries = tokio::spawn(carry);
            let mut client = client;
            let process = check::prepare(&mut client, schema).await?;
            if let Some(before) = before {
                end_process(&client, before).await.map_err(|error| Error::of_call(&error))?;
            }
            if listens {
                let listen = format!("listen {schema}");
                client.batch_execute(&listen).await.map_err(|error| Error::of_call(&error))?;
            }
            Ok(Self {
                client,
                carries,
                schema: schema.to_owned(),
                process,
                has_ended: AtomicBool::new(false),
                statements: Mutex::default(),
                destinations: Mutex::default(),
            })
        });
        ready.await.unwrap_or_else(|_| Err(Error::Unavailable(format!("no connection after {READY_MAX:?}"))))
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed) || self.client.is_closed()
    }

    /// Calls the server.
    pub async fn query(&self, statement: Statement, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.answer(async { self.client.query(&self.prepared(statement).await?, parameters).await }).await
    }

    /// Calls the server. Returns how many rows were changed.
    pub async fn execute(&self, statement: Statement, parameters: Parameters<'_>) -> Result<u64, Error> {
        self.answer(async { self.client.execute(&self.prepared(statement).await?, parameters).await }).await
    }

    /// Makes the row of a destination, if this session does not know it.
    pub async fn make(&self, kind: Kind, name: &str) -> Result<(), Error> {
        let key = (kind, name.to_owned());
        if !lock(&self.destinations).contains(&key) {
            self.execute(Statement::Destination, &[&i16::from(kind), &name]).await?;
            lock(&self.destinations).insert(key);
        }
        Ok(())
    }

    /// The rows of destinations may be gone: they are made again.
    pub fn forget_destinations(&self) {
        lock(&self.destinations).clear();
    }

    /// Tells all who listen. Its commit is not synced: a hint may be lost.
    pub async fn hint(&self, about: &str) -> Result<(), Error> {
        // Both are one transaction. The name of a destination has no characters that need escapes.
        let hint = format!("set local synchronous_commit = off; notify {}, '{about}'", self.schema);
        self.answer(self.client.batch_execute(&hint)).await
    }

    async fn prepared(&self, statement: Statement) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
        let known = lock(&self.statements).get(&statement).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let prepared = self.client.prepare(&statement.text(&self.schema)).await?;
        lock(&self.statements).insert(statement, prepared.clone());
        Ok(prepared)
    }

    /// Waits for an answer. After an error with which the connection or the schema may not be what it was, the session has ended: the
    /// next call opens another one, which checks all anew.
    async fn answer<T>(&self, call: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        match timeout(ANSWER_MAX, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if error::ends_session(&error) {
                    self.end();
                }
                Err(Error::of_call(&error))
            }
            Err(_) => {
                self.end();
                // What is on its way is not to be carried.
                self.carries.abort();
                Err(Error::Unavailable(format!("no answer within {ANSWER_MAX:?}")))
            }
        }
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

/// Ends the server's process of a connection that was lost, and waits until it has ended. It may still carry out a call whose answer
/// nobody will get.
async fn end_process(client: &Client, before: Process) -> Result<(), tokio_postgres::Error> {
    let end = "select pg_terminate_backend(pid, 5000) from pg_catalog.pg_stat_activity \
               where pid = $1 and (extract(epoch from backend_start) * 1000000)::bigint = $2";
    client.query(end, &[&before.id, &before.started_at]).await.map(drop)
}

/// The session for one purpose, which is opened anew when it has ended.
#[derive(Default)]
pub(crate) struct Slot(tokio::sync::Mutex<Latest>);

#[derive(Default)]
struct Latest {
    session: Option<Arc<Session>>,
    /// How often in a row it could not be opened, and when that was tried last.
    failed: u32,
    tried: Option<tokio::time::Instant>,
}

/// How long after a connection could not be made the next one is tried, the first time and at most. Links wait longer each time too.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Slot {
    /// The session, if it can be used, or a new one, which is opened with the process of the one before.
    pub async fn session<O>(&self, open: impl FnOnce(Option<Process>) -> O) -> Result<Arc<Session>, Error>
    where
        O: Future<Output = Result<Session, Error>>,
    {
        let mut latest = self.0.lock().await;
        if let Some(session) = latest.session.as_ref().filter(|session| !session.has_ended()) {
            return Ok(session.clone());
        }
        // Calls that wait for this lock do not all try at once.
        if let Some(tried) = latest.tried.filter(|_| latest.failed > 0) {
            let pause = PAUSE_FIRST.saturating_mul(1 << latest.failed.min(10)).min(PAUSE_MAX);
            tokio::time::sleep_until(tried + pause.mul_f64(0.8 + fastrand::f64() * 0.2)).await;
        }
        latest.tried = Some(tokio::time::Instant::now());
        let before = latest.session.as_ref().map(|session| session.process);
        match open(before).await {
            Ok(session) => {
                let session = Arc::new(session);
                (latest.session, latest.failed) = (Some(session.clone()), 0);
                Ok(session)
            }
            Err(error) => {
                latest.failed += 1;
                Err(error)
            }
        }
    }
}
