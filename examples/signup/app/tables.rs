//! The application's own tables. They are in the queue's file, so rows and jobs share commits.

use redb::TableDefinition;

/// Who has signed up: email -> name.
pub const USERS: TableDefinition<&str, &str> = TableDefinition::new("users");

/// Who was welcomed: email -> how often. Written with the acknowledgement of the welcome mail's job, so
/// it says 1 for everybody; a number above would be a broken promise of the queue.
pub const WELCOMED: TableDefinition<&str, u64> = TableDefinition::new("welcomed");

/// How many steps each order has taken: order -> number of the latest.
pub const ORDERS: TableDefinition<u64, u64> = TableDefinition::new("orders");
