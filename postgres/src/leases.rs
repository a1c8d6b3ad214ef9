//! PostgreSQL as an engine of shared queues.
//!
//! A job is a row. Who takes it writes its name, the end of the lease and a new fence into the row. The fence is the lease's token: a
//! change is carried out only if the row still has it.

use std::collections::HashSet;
use std::time::Duration;

use millpond_links::{Ended, Held, InDoubt, Lease, LeaseId, Leased, SharedQueue, Unavailable};
use tokio::time::Instant;
use tokio_postgres::Row;

use crate::error::Error;
use crate::postgres::{PAGE_BYTES, Postgres, Purpose, count, seconds, unavailable};
use crate::rows;
use crate::statements::Statement;
use crate::waits::{WAIT, hint};

/// The most bytes of an owner's name that a row has.
const OWNER_BYTES_MAX: usize = 200;

impl Lease for Postgres {
    async fn take(
        &self,
        queue: &SharedQueue,
        owner: &str,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Leased>, Unavailable> {
        let wait = self.inner.waits.about(&hint(&queue.clone().into()));
        let (until, owner) = (Instant::now() + WAIT, owner_of(owner));
        let (name, max, lease) = (queue.name(), count(max), seconds(lease));
        loop {
            let hinted = wait.notified();
            tokio::pin!(hinted);
            hinted.as_mut().enable();
            let session = self.inner.session(Purpose::Lease).await.map_err(unavailable)?;
            let taken = session.query(Statement::Take, &[&name, &max, &owner, &lease, &PAGE_BYTES]).await;
            let mut taken: Vec<Leased> = taken.map_err(unavailable)?.iter().map(leased).collect();
            if !taken.is_empty() || Instant::now() >= until {
                taken.sort_unstable_by_key(|leased| leased.id.job);
                return Ok(taken);
            }
            self.inner.look_again(hinted, until).await;
        }
    }

    async fn extend(&self, queue: &SharedQueue, held: &[LeaseId], lease: Duration) -> Result<Vec<Held>, Unavailable> {
        let extended = self.change(Statement::Extend, queue, held, Some(lease)).await.map_err(unavailable)?;
        Ok(held.iter().map(|id| if extended.contains(&key(id)) { Held::Yours } else { Held::Lost }).collect())
    }

    async fn end(&self, queue: &SharedQueue, ended: &[LeaseId]) -> Result<Vec<Ended>, InDoubt> {
        let removed = self.change(Statement::End, queue, ended, None).await;
        let removed = removed.map_err(|error| InDoubt(error.to_string()))?;
        Ok(ended.iter().map(|id| if removed.contains(&key(id)) { Ended::Ended } else { Ended::Lost }).collect())
    }

    async fn give_back(&self, queue: &SharedQueue, held: &[LeaseId], after: Duration) -> Result<(), Unavailable> {
        let given = match after.is_zero() {
            true => self.change(Statement::GiveBack, queue, held, None).await,
            false => self.change(Statement::GiveBackLater, queue, held, Some(after)).await,
        };
        if !given.map_err(unavailable)?.is_empty() && after.is_zero() {
            self.inner.tell(&queue.clone().into(), Purpose::Lease);
        }
        Ok(())
    }
}

impl Postgres {
    /// Changes the jobs of these leases. Returns those whose leases were not lost.
    async fn change(
        &self,
        statement: Statement,
        queue: &SharedQueue,
        held: &[LeaseId],
        time: Option<Duration>,
    ) -> Result<HashSet<(u64, i64)>, Error> {
        let session = self.inner.session(Purpose::Lease).await?;
        // A token of another engine holds nothing here.
        let (positions, fences): (Vec<i64>, Vec<i64>) =
            held.iter().map(key).filter(|(_, fence)| *fence > 0).map(|(job, fence)| (job as i64, fence)).unzip();
        let name = queue.name();
        let rows = match time.map(seconds) {
            Some(seconds) => session.query(statement, &[&name, &positions, &fences, &seconds]).await?,
            None => session.query(statement, &[&name, &positions, &fences]).await?,
        };
        Ok(rows.iter().map(|row| (row.get::<_, i64>(0) as u64, row.get(1))).collect())
    }
}

/// The number of a job, and the fence that the lease's token is: 0 if it is none.
fn key(id: &LeaseId) -> (u64, i64) {
    (id.job, id.token.parse().unwrap_or(0))
}

fn leased(row: &Row) -> Leased {
    let [position, fence] = [0, 1].map(|column| row.get::<_, i64>(column));
    let id = LeaseId { job: position as u64, token: fence.to_string() };
    let (delivery, headers, payload) = (row.get::<_, i32>(2) as u32, row.get(3), row.get(4));
    Leased { id, delivery, envelope: rows::envelope(0, headers, payload) }
}

/// The name as a row can have it.
fn owner_of(owner: &str) -> String {
    let mut name: String = owner.chars().filter(|letter| *letter != '\0').collect();
    while name.len() > OWNER_BYTES_MAX {
        name.pop();
    }
    name
}
