//! The table at the end.

use std::time::Duration;

use anyhow::Result;
use millpond::Millpond;

use super::load::Load;
use super::proof::Proven;
use super::screen::grouped;
use crate::app::jobs::queue;

pub struct Summary {
    signups: u64,
    p50: Duration,
    p99: Duration,
    mails: u64,
    retries: u64,
    dead: u64,
    redriven: u64,
    lost: u64,
    duplicates: u64,
}

impl Summary {
    pub fn new(pond: &Millpond, burst: &Load, crashed: &Load, proven: &Proven, redriven: u64) -> Result<Self> {
        let (mut retries, mut dead) = (0, 0);
        for name in queue::ALL {
            let counts = pond.queue(name)?.counts();
            // The last failure of a dead letter is not followed by a retry.
            retries += counts.failures_total - counts.dead_total;
            dead += counts.dead_total;
        }
        Ok(Self {
            signups: (burst.acknowledged.len() + crashed.acknowledged.len()) as u64,
            p50: burst.percentile(50),
            p99: burst.percentile(99),
            mails: pond.queue(queue::MAIL)?.counts().completed_total,
            retries,
            dead,
            redriven,
            lost: proven.lost as u64,
            duplicates: proven.duplicates,
        })
    }

    pub fn print(&self) {
        let times = format!("{:.1?} / {:.1?}", self.p50, self.p99);
        let rows = [
            ("signups acknowledged", grouped(self.signups), ""),
            ("answer time p50 / p99", times, "in the burst"),
            ("mails delivered", grouped(self.mails), "to users stored but cut off, too"),
            ("retries", grouped(self.retries), ""),
            ("dead", grouped(self.dead), ""),
            ("redriven", grouped(self.redriven), ""),
            ("lost", grouped(self.lost), ""),
            ("duplicates outside the file", grouped(self.duplicates), "sent, but not yet acknowledged at a kill"),
        ];
        println!();
        for (name, value, note) in rows {
            println!("  {name:<27}  {value:>15}  {note}");
        }
    }
}
