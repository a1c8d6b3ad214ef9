//! Stand-ins for the external services: real SMTP and HTTP servers on loopback, each with a weakness.
//!
//! One is started for every service that the environment does not name. They record what they receive, so that the tour
//! knows what has arrived.

mod analytics;
mod crm;
mod http;
mod ledger;
mod slack;
mod smtp;
mod warehouse;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;

use crate::app::jobs::queue;
use crate::app::{Outside, outside};

pub use crm::Crm;
pub use ledger::Ledger;
pub use slack::TAKEN_PER_SECOND as SLACK_TAKES_PER_SECOND;
pub use smtp::{GREYLISTING_DOMAIN, NEVER};
pub use warehouse::Warehouse;

/// The external services, and those of them that are stand-ins.
pub struct Loopback {
    pub outside: Outside,
    pub mail: Option<Arc<Ledger>>,
    pub slack: Option<Arc<Ledger>>,
    pub crm: Option<Arc<Crm>>,
    pub analytics: Option<Arc<Ledger>>,
    pub warehouse: Option<Arc<Warehouse>>,
}

impl Loopback {
    /// Starts a stand-in for every service the environment does not name.
    pub async fn start() -> Result<Self> {
        let (smtp, mail) = stand_in(outside::SMTP, smtp::start).await?;
        let (slack_url, slack) = stand_in(outside::SLACK, slack::start).await?;
        let (crm_url, crm) = stand_in(outside::CRM, crm::start).await?;
        let (analytics_url, analytics) = stand_in(outside::ANALYTICS, analytics::start).await?;
        let (warehouse_url, warehouse) = stand_in(outside::WAREHOUSE, warehouse::start).await?;
        let outside =
            Outside { smtp, slack: slack_url, crm: crm_url, analytics: analytics_url, warehouse: warehouse_url };
        Ok(Self { outside, mail, slack, crm, analytics, warehouse })
    }

    /// Whether all services are stand-ins.
    pub fn is_complete(&self) -> bool {
        self.ledgers().len() == 4 && self.warehouse.is_some()
    }

    /// The records of the stand-ins that a signup sends jobs to, by queue.
    pub fn ledgers(&self) -> HashMap<&'static str, Arc<Ledger>> {
        let crm = self.crm.as_ref().map(|crm| crm.ledger.clone());
        let ledgers = [
            (queue::MAIL, self.mail.clone()),
            (queue::SLACK, self.slack.clone()),
            (queue::CRM, crm),
            (queue::ANALYTICS, self.analytics.clone()),
        ];
        ledgers.into_iter().filter_map(|(queue, ledger)| Some((queue, ledger?))).collect()
    }
}

/// The address of a service, and the stand-in behind it unless `variable` names a real one.
async fn stand_in<T>(
    variable: &str,
    start: impl AsyncFnOnce() -> Result<(String, Arc<T>)>,
) -> Result<(String, Option<Arc<T>>)> {
    match outside::named(variable) {
        Some(address) => Ok((address, None)),
        None => start().await.map(|(address, service)| (address, Some(service))),
    }
}
