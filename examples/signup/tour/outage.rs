//! The CRM was down, and its jobs became dead letters. Now it works again, and they are redriven.

use std::time::Duration;

use anyhow::Result;
use millpond::{JobFilter, JobInfo, Pace};

use super::claims::Claims;
use super::gauges::Gauges;
use super::screen::{Screen, grouped};
use super::{ATTEMPTS, BACKOFF};
use crate::app::Site;
use crate::app::jobs::queue;
use crate::loopback::Loopback;

/// Redriven jobs become ready at this pace.
const REDRIVEN_PER_SECOND: u32 = 500;

/// Dead letters whose history is checked.
const LETTERS_READ_MAX: usize = 1_000;

/// Times are recorded in whole milliseconds.
const CLOCK_GRAIN: Duration = Duration::from_millis(1);

/// Redrives the dead letters of the CRM's queue, and returns their number.
pub async fn run(site: &Site, loopback: &Loopback, screen: &mut Screen, claims: &mut Claims) -> Result<u64> {
    screen.chapter("The CRM outage: dead letters, mended, redriven");
    let Some(crm) = &loopback.crm else {
        println!("  Left out: the CRM is yours, and should not be broken.");
        return Ok(0);
    };
    let letters = site.pond.dead_letters();
    let of_the_crm = JobFilter::new().queue(queue::CRM);
    let page = letters.list(&of_the_crm, None, LETTERS_READ_MAX)?.jobs;
    if let Some(letter) = page.first() {
        print_letter(letter);
    }
    claims.check(
        page.iter().all(backed_off),
        "each retry waited twice as long as the one before, or more, less the jitter",
        format!("{ATTEMPTS} attempts and {} waits of each of {} jobs", ATTEMPTS - 1, grouped(page.len() as u64)),
    );
    let dead = letters.count(&of_the_crm)?;
    claims.check(
        dead > 0 && crm.ledger.users() == 0,
        "what could not be done is kept",
        format!("{} dead letters with all their errors", grouped(dead)),
    );

    crm.mend();
    println!("\n  The CRM is mended. Its dead letters go back into the queue.\n");
    let gauges = Gauges::new(&site.pond, &[queue::CRM])?;
    let redriven = letters.redrive_all(&of_the_crm, Pace::per_second(REDRIVEN_PER_SECOND)).await?;
    gauges.drain(screen).await?;
    claims.check(
        redriven == dead && letters.count(&of_the_crm)? == 0 && crm.ledger.users() as u64 == dead,
        "every one of them was done after the redrive",
        format!("{} contacts in the CRM", grouped(crm.ledger.users() as u64)),
    );
    Ok(redriven)
}

fn print_letter(letter: &JobInfo) {
    println!("  job {} ({}), dead: {}", letter.id, letter.kind, letter.reason.as_deref().unwrap_or("no reason"));
    let mut last_end = None;
    for error in &letter.errors {
        let waited = last_end.map_or(String::new(), |end| format!("{:.0?} later: ", error.started_at.since(end)));
        println!("    attempt {}, {waited}{}", error.attempt, error.message);
        last_end = Some(error.ended_at);
    }
    println!();
}

/// Whether the waits between attempts were at least those of the back-off, minus its jitter of a fifth.
fn backed_off(letter: &JobInfo) -> bool {
    let waits = letter.errors.windows(2).map(|pair| pair[1].started_at.since(pair[0].ended_at) + CLOCK_GRAIN);
    let least = (0..).map(|doublings| BACKOFF * (1 << doublings) * 4 / 5);
    letter.attempts == ATTEMPTS && waits.zip(least).all(|(wait, least)| wait >= least)
}
