//! The addresses of the external services.

use std::env;

/// The addresses of the external services.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The mail server, as `host:port`.
    pub smtp: String,
    pub slack: String,
    pub crm: String,
    pub analytics: String,
    pub warehouse: String,
}

/// The environment variables that name real servers.
pub const SMTP: &str = "SIGNUP_SMTP";
pub const SLACK: &str = "SIGNUP_SLACK_URL";
pub const CRM: &str = "SIGNUP_CRM_URL";
pub const ANALYTICS: &str = "SIGNUP_ANALYTICS_URL";
pub const WAREHOUSE: &str = "SIGNUP_WAREHOUSE_URL";

/// The address of one service from the environment, if it is set.
pub fn named(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}
