//! The evidence for the promises: the file, and the records of the stand-ins.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Result;
use millpond::{JobFilter, JobInfo, Millpond};
use redb::{ReadableTable, TableDefinition, Value};

use super::burst::SIGNUP_QUEUES;
use crate::app::jobs::queue;
use crate::app::tables::{USERS, WELCOMED};
use crate::loopback::{Ledger, Loopback};

/// Dead letters in one page.
const PAGE: usize = 1_000;

/// Users are identified by their mail addresses.
pub struct Evidence {
    pub users: HashSet<String>,
    /// How often each user was welcomed, according to the file.
    pub welcomed: HashMap<String, u64>,
    /// The dead letters: queue and user.
    pub dead: HashSet<(String, String)>,
    /// The records of the stand-ins, by queue.
    ledgers: HashMap<&'static str, Arc<Ledger>>,
}

impl Evidence {
    pub fn gather(pond: &Millpond, loopback: &Loopback) -> Result<Self> {
        Ok(Self {
            users: rows(pond, USERS, |_| ())?.into_keys().collect(),
            welcomed: rows(pond, WELCOMED, |times| times)?,
            dead: dead_letters(pond)?,
            ledgers: loopback.ledgers(),
        })
    }

    pub fn is_dead(&self, queue: &str, user: &str) -> bool {
        self.dead.contains(&(queue.to_owned(), user.to_owned()))
    }

    pub fn dead_letters_of(&self, user: &str) -> usize {
        SIGNUP_QUEUES.iter().filter(|queue| self.is_dead(queue, user)).count()
    }

    /// A user's jobs that had no effect and are no dead letters.
    pub fn jobs_not_done(&self, user: &str) -> usize {
        SIGNUP_QUEUES.iter().filter(|queue| !self.is_done(queue, user) && !self.is_dead(queue, user)).count()
    }

    fn is_done(&self, queue: &str, user: &str) -> bool {
        let is_written = queue != queue::MAIL || self.welcomed.contains_key(user);
        is_written && self.ledgers.get(queue).is_none_or(|ledger| ledger.times_accepted(user) > 0)
    }

    pub fn has_no_trace_of(&self, user: &str) -> bool {
        !self.welcomed.contains_key(user) && self.ledgers.values().all(|ledger| ledger.times_accepted(user) == 0)
    }

    pub fn duplicates(&self) -> u64 {
        self.ledgers.values().map(|ledger| ledger.duplicates()).sum()
    }
}

fn rows<V: Value + 'static, T>(
    pond: &Millpond,
    table: TableDefinition<&str, V>,
    read: impl Fn(V::SelfType<'_>) -> T,
) -> Result<HashMap<String, T>> {
    let table = pond.begin_read()?.open_table(table)?;
    let mut rows = HashMap::new();
    for row in table.iter()? {
        let (user, value) = row?;
        rows.insert(user.value().to_owned(), read(value.value()));
    }
    Ok(rows)
}

fn dead_letters(pond: &Millpond) -> Result<HashSet<(String, String)>> {
    let mut dead = HashSet::new();
    let mut cursor = None;
    loop {
        let page = pond.dead_letters().list(&JobFilter::new(), cursor, PAGE)?;
        dead.extend(page.jobs.into_iter().map(|letter| (letter.queue.clone(), user_of(&letter))));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(dead);
        }
    }
}

/// The user that a dead letter's payload names.
fn user_of(letter: &JobInfo) -> String {
    let payload: serde_json::Value = letter.payload.decode().unwrap_or_default();
    let text = payload["email"].as_str().or_else(|| payload["text"].as_str()).unwrap_or_default();
    text.rsplit(' ').next().unwrap_or_default().to_owned()
}
