//! The guided tour: puts load on the application, makes services fail, kills the process, and checks every promise.

mod burst;
mod child;
mod claims;
mod crash;
mod evidence;
mod gauges;
mod load;
mod orders;
mod outage;
#[cfg_attr(not(feature = "wasm"), path = "no_plugins.rs")]
mod plugins;
mod proof;
mod screen;
mod summary;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use millpond::Retry;

use crate::app::Site;
use crate::loopback::Loopback;
use claims::Claims;
use screen::Screen;
use summary::Summary;

pub use child::{CRASH_CHILD, run as crash_child};

/// Attempts in all in the tour, which does not wait for the default back-off of seconds to minutes.
const ATTEMPTS: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(200);

fn retry() -> Retry {
    Retry::exponential(BACKOFF).max_attempts(ATTEMPTS)
}

pub async fn run() -> Result<ExitCode> {
    let begun = Instant::now();
    let loopback = Loopback::start().await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("signup.redb");
    let (mut screen, mut claims) = (Screen::new(), Claims::default());
    introduce(&loopback);
    if let Some(crm) = &loopback.crm {
        crm.break_down();
    }

    plugins::install(&file)?;
    let site = Site::open(&file, 0, &loopback.outside, &retry()).await?;
    let burst = burst::run(&site, &loopback, &mut screen, &mut claims).await?;
    let redriven = outage::run(&site, &loopback, &mut screen, &mut claims).await?;
    orders::run(&site, &loopback, &mut screen, &mut claims).await?;
    plugins::run(&site, &file, &burst, &mut screen, &mut claims).await?;
    site.close().await?;

    let crashed = crash::run(&file, &loopback, &mut screen, &mut claims).await?;
    let site = crash::reopen(&file, &loopback, &mut screen, &mut claims).await?;
    let proven = proof::run(&site.pond, &loopback, &[&burst, &crashed], &mut claims)?;
    let summary = Summary::new(&site.pond, &burst, &crashed, &proven, redriven)?;
    site.close().await?;

    summary.print();
    claims.conclude(begun.elapsed())
}

fn introduce(loopback: &Loopback) {
    let outside = &loopback.outside;
    let whose = |is_stand_in: bool, weakness: &'static str| if is_stand_in { weakness } else { "yours" };
    println!(
        "\
A shop takes signups over HTTP. Each one is a row, a mail, a Slack message, a
CRM contact and an analytics event, committed together in one file. The services
outside are real servers on loopback, most of them with a weakness:

  mail       {:<31}  {}
  slack      {:<31}  {}
  crm        {:<31}  {}
  analytics  {:<31}  {}
  warehouse  {:<31}  {}",
        outside.smtp,
        whose(loopback.mail.is_some(), "slow; greylists some; one address never works"),
        outside.slack,
        whose(loopback.slack.is_some(), "answers 429 above its limit"),
        outside.crm,
        whose(loopback.crm.is_some(), "down"),
        outside.analytics,
        whose(loopback.analytics.is_some(), "fine"),
        outside.warehouse,
        whose(loopback.warehouse.is_some(), "stumbles over one step of every order"),
    );
}
