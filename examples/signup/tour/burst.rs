//! A thousand signups at once, and the jobs that they cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use millpond::Millpond;

use super::claims::Claims;
use super::gauges::{Gauges, TICK};
use super::load::{AT_ONCE, Load, sign_up};
use super::screen::{Row, Screen, grouped};
use crate::app::Site;
use crate::app::jobs::queue;
use crate::app::workers::{ANALYTICS_BURST, ANALYTICS_PER_SECOND, CRM_AT_ONCE, MAIL_AT_ONCE};
use crate::loopback::{GREYLISTING_DOMAIN, Loopback, NEVER, SLACK_TAKES_PER_SECOND};

const SIGNUPS: usize = 1_000;

/// The queues that a signup puts a job into.
pub const SIGNUP_QUEUES: [&str; 4] = [queue::MAIL, queue::SLACK, queue::CRM, queue::ANALYTICS];

/// One in this many mailboxes uses greylisting.
const GREYLISTING_EVERY: usize = 25;

pub async fn run(site: &Site, loopback: &Loopback, screen: &mut Screen, claims: &mut Claims) -> Result<Load> {
    screen.chapter(&format!("{} signups over HTTP, {AT_ONCE} at once", grouped(SIGNUPS as u64)));
    let gauges = Gauges::new(&site.pond, &SIGNUP_QUEUES)?;
    let begun = Instant::now();
    let load = answer(site, &gauges, screen).await?;
    let took = begun.elapsed();
    let waiting = gauges.waiting();
    claims.check(
        load.acknowledged.len() == SIGNUPS,
        "every signup was answered with 201",
        format!("all in {took:.1?}, p50 {:.1?}, p99 {:.1?}", load.percentile(50), load.percentile(99)),
    );
    claims.check(
        waiting > 0,
        "the answers did not wait for the work",
        format!("{} of {} jobs were still to do after the last one", grouped(waiting), grouped(4 * SIGNUPS as u64)),
    );

    screen.chapter("The work drains, each queue within its limits");
    let took = gauges.drain(screen).await?;
    println!("  {:.1} s after the last answer nothing waits any more.", took.as_secs_f64());
    check_limits(&site.pond, loopback, claims)?;
    Ok(load)
}

async fn answer(site: &Site, gauges: &Gauges, screen: &mut Screen) -> Result<Load> {
    let answered = Arc::new(AtomicUsize::new(0));
    let rows = || -> Vec<Row> {
        let done = answered.load(Ordering::Relaxed) as u64;
        let signups = Row { name: "signups", done, failed: 0, total: SIGNUPS as u64, note: String::new() };
        [signups].into_iter().chain(gauges.rows()).collect()
    };
    let load = sign_up(&site.url, emails(), answered.clone());
    tokio::pin!(load);
    loop {
        tokio::select! {
            load = &mut load => {
                screen.settle(&rows());
                return load;
            }
            () = tokio::time::sleep(TICK) => screen.show(&rows()),
        }
    }
}

fn emails() -> Vec<String> {
    let email = |n: usize| match n {
        0 => NEVER.to_owned(),
        n if n.is_multiple_of(GREYLISTING_EVERY) => format!("user-{n}{GREYLISTING_DOMAIN}"),
        n => format!("user-{n}@burst.example"),
    };
    (0..SIGNUPS).map(email).collect()
}

fn check_limits(pond: &Millpond, loopback: &Loopback, claims: &mut Claims) -> Result<()> {
    if let (Some(mail), Some(crm)) = (&loopback.mail, &loopback.crm) {
        let (mails, contacts) = (mail.most_at_once(), crm.ledger.most_at_once());
        claims.check(
            mails <= MAIL_AT_ONCE && contacts <= CRM_AT_ONCE,
            "no service was sent more at once than its worker's limit",
            format!("mail {mails} of {MAIL_AT_ONCE}, CRM {contacts} of {CRM_AT_ONCE}"),
        );
    }
    if let Some(mail) = &loopback.mail {
        let greylisted = SIGNUPS.div_ceil(GREYLISTING_EVERY) - 1;
        claims.check(
            mail.put_off_times() == greylisted as u64 && mail.users() == SIGNUPS - 1,
            "mail that was greylisted went out by a retry; one address will never work",
            format!("{} delivered, {greylisted} of them at the second attempt", grouped(mail.users() as u64)),
        );
    }
    if let Some(slack) = &loopback.slack {
        let failures = pond.queue(queue::SLACK)?.counts().failures_total;
        claims.check(
            slack.users() == SIGNUPS && slack.put_off_times() > 0 && failures == 0,
            "each 429 held Slack's queue for as long as it said, and used up no attempt",
            format!("{} times; Slack takes {SLACK_TAKES_PER_SECOND} a second", slack.put_off_times()),
        );
    }
    if let Some(analytics) = &loopback.analytics {
        let (arrivals, span) = analytics.arrivals();
        claims.check(
            analytics.keeps_to(ANALYTICS_PER_SECOND, ANALYTICS_BURST) && analytics.users() == SIGNUPS,
            "analytics was sent events no faster than its worker's rate",
            format!(
                "{} in {:.1} s; allowed are {ANALYTICS_PER_SECOND} a second, {ANALYTICS_BURST} at once after a pause",
                grouped(arrivals as u64),
                span.as_secs_f64()
            ),
        );
    }
    Ok(())
}
