//! The queues, and the kinds of jobs in them.

use millpond::Kind;
use serde::{Deserialize, Serialize};

/// The queues, one per external service: a service that is slow or down delays only the jobs of its own queue.
pub mod queue {
    pub const MAIL: &str = "mail";
    pub const SLACK: &str = "slack";
    pub const CRM: &str = "crm";
    pub const ANALYTICS: &str = "analytics";
    pub const ORDERS: &str = "orders";

    pub const ALL: [&str; 5] = [MAIL, SLACK, CRM, ANALYTICS, ORDERS];
}

/// The mail that greets a new user.
#[derive(Debug, Serialize, Deserialize)]
pub struct Welcome {
    pub email: String,
    pub name: String,
}

impl Kind for Welcome {
    const KIND: &'static str = "welcome";
}

/// A line in the team's channel, in the form Slack's webhooks take.
#[derive(Debug, Serialize, Deserialize)]
pub struct SlackNote {
    pub text: String,
}

impl Kind for SlackNote {
    const KIND: &'static str = "slack-note";
}

/// A user, for the CRM.
#[derive(Debug, Serialize, Deserialize)]
pub struct CrmContact {
    pub email: String,
    pub name: String,
}

impl Kind for CrmContact {
    const KIND: &'static str = "crm-contact";
}

/// An action of a user, for the statistics.
#[derive(Debug, Serialize, Deserialize)]
pub struct AnalyticsEvent {
    pub event: String,
    pub email: String,
}

impl Kind for AnalyticsEvent {
    const KIND: &'static str = "analytics-event";
}

/// A step in an order's life, for the warehouse. `number` counts an order's steps from 1.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderStep {
    pub order: u64,
    pub number: u64,
    pub action: OrderAction,
}

impl Kind for OrderStep {
    const KIND: &'static str = "order-step";
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderAction {
    Create,
    Update,
    Cancel,
}
