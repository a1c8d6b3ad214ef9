//! Checks that each user gets a thumbnail of the picture that was uploaded.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use reqwest::Client;

use super::picture;
use crate::app::Site;
use crate::app::avatars::THUMBNAIL_SIDE;
use crate::tour::claims::Claims;
use crate::tour::screen::grouped;

pub async fn check(site: &Site, users: &[String], claims: &mut Claims) -> Result<()> {
    let client = Client::new();
    let (mut thumbnails, mut bytes) = (HashSet::new(), 0);
    for user in users {
        let answer = client.get(format!("{}/avatars/{user}", site.url)).send().await?;
        let thumbnail = answer.bytes().await?;
        if picture::jpeg_sides(&thumbnail).is_some_and(|(width, height)| width.max(height) == THUMBNAIL_SIDE) {
            bytes += thumbnail.len();
            thumbnails.insert(thumbnail);
        }
    }
    let uploaded = users.first().map(|user| picture::png(user).len()).context("nobody has uploaded anything")?;
    let mean = bytes.checked_div(thumbnails.len()).unwrap_or_default();
    claims.check(
        thumbnails.len() == users.len(),
        "every picture has become a thumbnail, and is served as one",
        format!(
            "{} JPEGs of {} bytes or so and {THUMBNAIL_SIDE} pixels, of PNGs of {} bytes",
            thumbnails.len(),
            grouped(mean as u64),
            grouped(uploaded as u64)
        ),
    );
    Ok(())
}
