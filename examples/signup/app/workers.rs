//! The workers: one per queue, each within the limits of the service that it calls.

use anyhow::Result;
use millpond::{Context, Data, Handled, Job, Kind, Millpond, Outcome, Rate, Retry};
use redb::ReadableTable;

use super::jobs::{AnalyticsEvent, CrmContact, OrderStep, SlackNote, Welcome, queue};
use super::mail::{Answer, Mailer};
use super::outside::Outside;
use super::tables::WELCOMED;
use super::webhooks::Webhook;

/// The number of connections that the mail server and the CRM allow.
pub const MAIL_AT_ONCE: usize = 20;
pub const CRM_AT_ONCE: usize = 10;

/// The number of events per second in our analytics plan, and how many it allows at once after a pause.
pub const ANALYTICS_PER_SECOND: u32 = 250;
pub const ANALYTICS_BURST: u32 = 25;

/// The number of orders that are processed at the same time. Within an order it is always one step at a time.
const ORDERS_AT_ONCE: usize = 16;

/// Starts them all. They run until the handle is shut down.
pub fn start(pond: &Millpond, outside: &Outside, retry: &Retry) -> Result<()> {
    let analytics_rate = Rate::per_second(ANALYTICS_PER_SECOND).burst(ANALYTICS_BURST);
    pond.worker(queue::MAIL)
        .concurrency(MAIL_AT_ONCE)
        .retry(retry.clone())
        .data(Mailer::new(&outside.smtp, MAIL_AT_ONCE as u32)?)
        .handle(welcome)
        .start()?;
    // Slack does not document its limit: it answers 429, and then the queue waits for as long as the answer says.
    pond.worker(queue::SLACK)
        .retry(retry.clone())
        .data(Webhook::new(&outside.slack)?)
        .handle(post::<SlackNote>)
        .start()?;
    pond.worker(queue::CRM)
        .concurrency(CRM_AT_ONCE)
        .retry(retry.clone())
        .data(Webhook::new(&outside.crm)?)
        .handle(post::<CrmContact>)
        .start()?;
    pond.worker(queue::ANALYTICS)
        .rate_limit(analytics_rate)
        .retry(retry.clone())
        .data(Webhook::new(&outside.analytics)?)
        .handle(post::<AnalyticsEvent>)
        .start()?;
    pond.worker(queue::ORDERS)
        .concurrency(ORDERS_AT_ONCE)
        .retry(retry.clone())
        .data(Webhook::new(&outside.warehouse)?)
        .handle(post::<OrderStep>)
        .start()?;
    Ok(())
}

async fn welcome(job: Job<Welcome>, mailer: Data<Mailer>, ctx: Context) -> Handled<Outcome> {
    if let Answer::Refused(error) = mailer.welcome(job.id(), &job).await? {
        return Ok(Outcome::dead_letter(format!("{} cannot be reached: {error}", job.email)));
    }
    let email = job.email.clone();
    // Committed together with the acknowledgement of this job: after a crash, both are stored or neither.
    ctx.on_complete(move |tx| {
        let mut welcomed = tx.open_table(WELCOMED)?;
        let times = welcomed.get(&*email)?.map_or(0, |times| times.value()) + 1;
        welcomed.insert(&*email, times)?;
        Ok(())
    });
    Ok(Outcome::Done(None))
}

async fn post<K: Kind>(job: Job<K>, hook: Data<Webhook>) -> Handled<Outcome> {
    let body = serde_json::to_vec(&*job)?;
    Ok(hook.post(job.id(), body).await?)
}
