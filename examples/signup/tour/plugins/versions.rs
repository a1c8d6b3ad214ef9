//! A new version of the thumbnails' plugin while jobs run, and before it a file that is not a plugin.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use millpond::State;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::EACH;
use crate::app::Site;
use crate::app::avatars::{THUMBNAIL, THUMBNAIL_WASM, job_of};
use crate::tour::claims::Claims;

/// The bytes that turn the first version into a second: a section named `build`, which no code reads.
const SECOND_BUILD: &[u8] = b"\0\x07\x05build2";

/// Digits of a version that are shown.
const SHOWN: usize = 12;

/// Writes the second version to the folder, tells the application, and returns the version's hash.
pub async fn replace(url: &str, folder: &Path, claims: &mut Claims) -> Result<String> {
    let file = folder.join(THUMBNAIL).with_extension("wasm");
    fs::write(&file, "<html>404 Not Found</html>")?;
    let (status, refusal) = reload(url).await?;
    claims.check(
        status == StatusCode::UNPROCESSABLE_ENTITY,
        "a new version that is no plugin was refused, and the one before went on",
        refusal.trim_end(),
    );
    let mut second = fs::read(THUMBNAIL_WASM)?;
    second.extend(SECOND_BUILD);
    fs::write(&file, second)?;
    let (status, answer) = reload(url).await?;
    ensure!(status.is_success(), "the new version was refused: {answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(answer["version"].as_str().context("the answer does not say which version runs")?.to_owned())
}

async fn reload(url: &str) -> Result<(StatusCode, String)> {
    let answer = Client::new().post(format!("{url}/plugins/{THUMBNAIL}/reload")).send().await?;
    Ok((answer.status(), answer.text().await?))
}

/// Each job says which version made it.
pub fn check(site: &Site, users: &[String], second: &str, claims: &mut Claims) -> Result<()> {
    let (mut first, mut by_first, mut by_second, mut failed) = (String::new(), 0, 0, 0);
    for user in users {
        let job = site.pond.job(job_of(&site.pond, user)?.with_context(|| format!("{user} has uploaded nothing"))?)?;
        failed += usize::from(job.state != State::Completed);
        let version = job.plugins.last().map(|(_, version)| version.to_string()).unwrap_or_default();
        if version == second {
            by_second += 1;
        } else {
            by_first += 1;
            first = version;
        }
    }
    claims.check(
        by_first > 0 && by_second >= EACH && failed == 0 && !first.is_empty(),
        "the plugin was replaced in mid-load: each attempt says which version made it, none failed",
        format!("{by_first} by {:.SHOWN$}, {by_second} by {second:.SHOWN$}", first),
    );
    Ok(())
}
