//! Rows that could not be read. Their bytes are not shown: they can contain payloads.

use crate::Millpond;

use super::api::{Paging, Problem, QuarantinePage, QuarantinedRow};

pub(super) fn list(pond: &Millpond, page: &Paging) -> Result<QuarantinePage, Problem> {
    let after = page.start().map(str::parse::<u64>).transpose();
    let after = after.map_err(|_| Problem::invalid("`after` is not the number of a row"))?.unwrap_or(0);
    let quarantine = pond.quarantine();
    let found = quarantine.list(after, page.entries())?;
    // A page can be short although more follow.
    let next = match found.last() {
        Some(last) if !quarantine.list(last.number, 1)?.is_empty() => Some(last.number.to_string()),
        _ => None,
    };
    let rows = found.into_iter().map(|row| QuarantinedRow {
        number: row.number,
        table: row.table.to_string(),
        queue: row.queue,
        job: row.id.map(|id| id.to_string()),
        bytes: row.value.len() as u64,
        why: row.why,
    });
    Ok(QuarantinePage { total: quarantine.count()?, rows: rows.collect(), next })
}
