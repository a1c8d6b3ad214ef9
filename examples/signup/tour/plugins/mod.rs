//! Users upload pictures. A plugin makes thumbnails of them and is replaced under load, while hostile plugins run too.

mod attacks;
mod picture;
mod thumbnails;
mod versions;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use millpond::JobFilter;
use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;

use super::claims::Claims;
use super::gauges::{Gauges, TICK};
use super::load::Load;
use super::screen::Screen;
use crate::app::Site;
use crate::app::avatars::{QUEUE, plugins_beside};

/// Uploads before, during and after the change to the new version.
const EACH: usize = 100;

/// Thumbnails that are made before the new version is loaded.
const MADE_BY_THE_FIRST: u64 = 20;

/// Copies the hostile plugins to the application's folder of plugins.
pub fn install(file: &Path) -> Result<()> {
    let folder = plugins_beside(file);
    fs::create_dir_all(&folder)?;
    attacks::install(&folder)
}

pub async fn run(site: &Site, file: &Path, burst: &Load, screen: &mut Screen, claims: &mut Claims) -> Result<()> {
    screen.chapter("Uploads go through plugins, each attempt in a sandbox: one is good, four are hostile");
    let folder = plugins_beside(file);
    let gauges = Gauges::new(&site.pond, &[QUEUE])?;
    let (attackers, users) = burst.acknowledged.split_at(attacks::USERS);
    let users = users.get(..3 * EACH).context("too few have signed up")?;
    let (before, rest) = users.split_at(EACH);
    let (meanwhile, after) = rest.split_at(EACH);

    attacks::begin(&site.url, attackers).await?;
    upload_all(&site.url, before).await?;
    while completed(site)? < MADE_BY_THE_FIRST && gauges.waiting() > 0 {
        screen.show(&gauges.rows());
        tokio::time::sleep(TICK / 10).await;
    }
    let (uploaded, replaced) =
        tokio::join!(upload_all(&site.url, meanwhile), versions::replace(&site.url, &folder, claims));
    uploaded?;
    upload_all(&site.url, after).await?;
    gauges.drain(screen).await?;

    thumbnails::check(site, users, claims).await?;
    versions::check(site, users, &replaced?, claims)?;
    attacks::check(&site.pond, attackers, claims)?;
    let purged = site.pond.dead_letters().purge_all(&JobFilter::new().queue(QUEUE)).await?;
    println!("\n  These {purged} dead letters have been seen, and are purged.");
    Ok(())
}

fn completed(site: &Site) -> Result<u64> {
    Ok(site.pond.queue(QUEUE)?.counts().completed_total)
}

async fn upload_all(url: &str, users: &[String]) -> Result<()> {
    let client = Client::new();
    let mut uploads = JoinSet::new();
    for user in users {
        uploads.spawn(upload(client.clone(), format!("{url}/avatars/{user}"), picture::png(user)));
    }
    uploads.join_all().await.into_iter().collect()
}

async fn upload(client: Client, url: String, picture: Vec<u8>) -> Result<()> {
    let status = client.put(&url).body(picture).send().await?.status();
    ensure!(status == StatusCode::ACCEPTED, "{url} was answered with {status}");
    Ok(())
}
