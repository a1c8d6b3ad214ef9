//! The application in a process of its own, which kills itself under load.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;

use super::retry;
use crate::app::Site;
use crate::app::jobs::queue;
use crate::loopback::Loopback;

/// The argument that makes the program run as this child.
pub const CRASH_CHILD: &str = "--crash-child";

/// Serves the file `db`, prints its URL as the first line, and kills itself when `signups` more are stored.
pub async fn run(db: &Path, signups: u64) -> Result<ExitCode> {
    // The parent names its own stand-ins in the environment, because they must outlive this process.
    let loopback = Loopback::start().await?;
    let site = Site::open(db, 0, &loopback.outside, &retry()).await?;
    let mail = site.pond.queue(queue::MAIL)?;
    let last = mail.counts().enqueued_total + signups;
    println!("{}", site.url);
    while mail.counts().enqueued_total < last {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    die()
}

/// SIGKILL: nothing is flushed or closed. Every shell has `kill` built in.
fn die() -> ! {
    let _ = Command::new("sh").args(["-c", "kill -KILL $PPID"]).status();
    // If there is no shell, this is the most abrupt end that is left.
    std::process::abort()
}
