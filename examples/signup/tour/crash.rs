//! The application is killed under load, again and again, and opens the same file each time.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::burst::SIGNUP_QUEUES;
use super::claims::Claims;
use super::gauges::Gauges;
use super::load::{Load, sign_up};
use super::screen::{Screen, grouped};
use super::{CRASH_CHILD, retry};
use crate::app::{Outside, Site, outside};
use crate::loopback::Loopback;

const KILLS: usize = 3;

/// A process kills itself when it has stored this many signups, while more arrive.
const SIGNUPS_SURVIVED: usize = 500;

/// More signups than arrive before it is dead.
const SIGNUPS_ASKED: usize = 5_000;

/// A process that takes longer to start, or to end after the load, hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts load on one process after another, and each kills itself. The 201 responses are recorded in this process, which
/// lives on.
pub async fn run(file: &Path, loopback: &Loopback, screen: &mut Screen, claims: &mut Claims) -> Result<Load> {
    screen.chapter(&format!("A process serves on the same file and kills itself in mid-load, {KILLS} times"));
    let mut all = Load::default();
    for kill in 1..=KILLS {
        let begun = Instant::now();
        let (mut child, url) = spawn(file, &loopback.outside).await?;
        let pid = child.id().unwrap_or_default();
        let emails = (0..SIGNUPS_ASKED).map(|n| format!("user-{n}@crash-{kill}.example")).collect();
        let load = sign_up(&url, emails, Arc::new(AtomicUsize::new(0))).await?;
        let status = timeout(PATIENCE, child.wait()).await.context("the process did not die")??;
        let (acknowledged, cut_off) = (load.acknowledged.len(), load.cut_off.len());
        claims.check(
            was_killed(status) && acknowledged > 0 && cut_off > 0 && load.refused.is_empty(),
            &format!("process {pid} died in mid-load after {:.1?}", begun.elapsed()),
            format!("{status}; {acknowledged} signups acknowledged, {cut_off} cut off without an answer"),
        );
        all.merge(load);
    }
    Ok(all)
}

/// Opens the file after the last kill and waits until all jobs have ended.
pub async fn reopen(file: &Path, loopback: &Loopback, screen: &mut Screen, claims: &mut Claims) -> Result<Site> {
    screen.chapter("The same file is opened again, and the work goes on");
    let begun = Instant::now();
    let site = Site::open(file, 0, &loopback.outside, &retry()).await?;
    let opened = begun.elapsed();
    let gauges = Gauges::new(&site.pond, &SIGNUP_QUEUES)?;
    let waiting = gauges.waiting();
    println!("  Jobs known to have run when a process died start first and alone: one that kills");
    println!("  processes would be found out. Then all go on.\n");
    let drained = gauges.drain(screen).await?;
    claims.check(
        waiting > 0,
        "the dead processes left work, and now nothing waits any more",
        format!("opened in {opened:.1?}, {} jobs in {:.1} s", grouped(waiting), drained.as_secs_f64()),
    );
    Ok(site)
}

/// Starts this program again as [`CRASH_CHILD`], and returns its URL.
async fn spawn(file: &Path, services: &Outside) -> Result<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(CRASH_CHILD)
        .arg("--db")
        .arg(file)
        .args(["--signups", &SIGNUPS_SURVIVED.to_string()])
        .env(outside::SMTP, &services.smtp)
        .env(outside::SLACK, &services.slack)
        .env(outside::CRM, &services.crm)
        .env(outside::ANALYTICS, &services.analytics)
        .env(outside::WAREHOUSE, &services.warehouse)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().context("its output is piped")?;
    let mut lines = BufReader::new(output).lines();
    let first = timeout(PATIENCE, lines.next_line()).await.context("the process does not come up")?;
    let url = first?.context("the process ended before it served")?;
    Ok((child, url))
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    const SIGKILL: i32 = 9;
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(SIGKILL)
}

#[cfg(not(unix))]
fn was_killed(status: ExitStatus) -> bool {
    !status.success()
}
