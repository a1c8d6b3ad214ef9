//! Rows that could not be read.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A row of the file that could not be read and was put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantinedRow {
    /// Its number.
    pub number: u64,
    /// The table that it is from.
    pub table: String,
    /// The queue that it belongs to, if that is known.
    pub queue: Option<String>,
    /// The job that it belongs to, if that is known.
    pub job: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// Why it could not be read.
    pub why: String,
}

/// Some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantinePage {
    /// How many rows there are.
    pub total: u64,
    /// The rows, by number.
    pub rows: Vec<QuarantinedRow>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}
