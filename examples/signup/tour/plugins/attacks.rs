//! Hostile plugins and hostile pictures, and the kind of dead letter that each must end as.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use millpond::{FailureKind, JobInfo, Millpond, State};
use reqwest::Client;

use super::{picture, upload};
use crate::app::avatars::{THUMBNAIL, job_of};
use crate::tour::claims::Claims;

/// The folder of these plugins, which are committed built.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/built");

/// Characters of a message that are shown.
const SHOWN: usize = 110;

struct Attack {
    plugin: &'static str,
    does: &'static str,
    payload: &'static str,
    ends_as: FailureKind,
}

const ATTACKS: [Attack; 4] = [
    Attack { plugin: "infinite_loop", does: "computes for ever", payload: "", ends_as: FailureKind::Timeout },
    Attack { plugin: "memory_growth", does: "takes all memory", payload: "null", ends_as: FailureKind::MemoryLimit },
    Attack { plugin: "stack_overflow", does: "recurses for ever", payload: "\"calls\"", ends_as: FailureKind::Trap },
    Attack { plugin: "panics", does: "panics at length", payload: "\x1b[2J all is lost ", ends_as: FailureKind::Trap },
];

/// A different user sends an upload to each plugin, and one more user sends a picture that is a trap.
pub const USERS: usize = ATTACKS.len() + 1;

pub fn install(folder: &Path) -> Result<()> {
    for Attack { plugin, .. } in ATTACKS {
        let name = format!("{plugin}.wasm");
        fs::copy(Path::new(BUILT).join(&name), folder.join(&name)).with_context(|| format!("no guest {name}"))?;
    }
    Ok(())
}

pub async fn begin(url: &str, users: &[String]) -> Result<()> {
    let client = Client::new();
    for (Attack { plugin, does, payload, .. }, user) in ATTACKS.iter().zip(users) {
        println!("  {plugin:<15} {does}");
        upload(client.clone(), format!("{url}/avatars/{user}/{plugin}"), payload.as_bytes().to_vec()).await?;
    }
    println!("  {THUMBNAIL:<15} makes thumbnails, but is sent a picture that claims 60,000 x 60,000 pixels\n");
    let last = &users[ATTACKS.len()];
    upload(client, format!("{url}/avatars/{last}"), picture::bomb()).await
}

pub fn check(pond: &Millpond, users: &[String], claims: &mut Claims) -> Result<()> {
    for (Attack { plugin, does, ends_as, .. }, user) in ATTACKS.iter().zip(users) {
        let job = job(pond, user)?;
        // On a busy machine, any of them can exceed its time first.
        let named = job.errors.iter().find(|error| error.kind == *ends_as);
        let message = named.or(job.errors.last()).map_or("", |error| &error.message);
        claims.check(
            job.state == State::Dead && job.kind == *plugin && named.is_some(),
            &format!("{plugin}, which {does}, is in the dead letters: {ends_as:?}"),
            format!("job {}, {} attempts: {}", job.id, job.attempts, shown(message)),
        );
    }
    let job = job(pond, &users[ATTACKS.len()])?;
    let reason = job.reason.as_deref().unwrap_or_default();
    claims.check(
        job.state == State::Dead && job.kind == THUMBNAIL && job.attempts == 1 && !reason.is_empty(),
        "the picture that claims to be huge was made a dead letter by the thumbnails' plugin itself",
        format!("job {}, {} attempt: {}", job.id, job.attempts, shown(reason)),
    );
    Ok(())
}

fn job(pond: &Millpond, user: &str) -> Result<JobInfo> {
    let job = job_of(pond, user)?.with_context(|| format!("{user} has uploaded nothing"))?;
    Ok(pond.job(job)?)
}

fn shown(message: &str) -> String {
    let line: String = message.chars().take(SHOWN).collect();
    if line.len() < message.len() { line + "…" } else { line }
}
