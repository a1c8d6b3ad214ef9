//! The application's own tables. They are in the queue's file, so rows and jobs share commits.

use redb::TableDefinition;

/// Who has signed up: email -> name.
pub const USERS: TableDefinition<&str, &str> = TableDefinition::new("users");

/// How often each user was welcomed: email -> count. It is written together with the acknowledgement of the welcome
/// mail's job, so it is 1 for every user; a higher number would be a broken promise of the queue.
pub const WELCOMED: TableDefinition<&str, u64> = TableDefinition::new("welcomed");

/// The number of steps of each order: order -> number of the latest step.
pub const ORDERS: TableDefinition<u64, u64> = TableDefinition::new("orders");
