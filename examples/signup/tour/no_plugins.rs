//! Replaces `plugins/` if plugins are not built in.

use std::path::Path;

use anyhow::Result;

use super::claims::Claims;
use super::load::Load;
use super::screen::Screen;
use crate::app::Site;

pub fn install(_: &Path) -> Result<()> {
    Ok(())
}

pub async fn run(_: &Site, _: &Path, _: &Load, _: &mut Screen, _: &mut Claims) -> Result<()> {
    println!("\nPlugins are left out: `cargo run --release --features wasm --example signup` has them.");
    Ok(())
}
