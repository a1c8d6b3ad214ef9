//! The application in a process of its own that kills itself in mid-load.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;

use super::retry;
use crate::app::Site;
use crate::app::jobs::queue;
use crate::loopback::Loopback;

/// The word that makes the program this.
pub const CRASH_CHILD: &str = "--crash-child";

/// Serves on `db`, says where on the first line of its output, and dies once `signups` more are stored.
pub async fn run(db: &Path, signups: u64) -> Result<ExitCode> {
    // The parent names its own stand-ins in the environment: they outlive this process.
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

/// SIGKILL: nothing is flushed, closed or told. The shell has `kill` built in wherever there is one.
fn die() -> ! {
    let _ = Command::new("sh").args(["-c", "kill -KILL $PPID"]).status();
    // Where there is no shell, this is the next hardest end.
    std::process::abort()
}
