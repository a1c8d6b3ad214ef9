//! Replaces `avatars.rs` if plugins are not built in: the application without pictures.

use std::path::Path;

use anyhow::Result;
use axum::Router;
use millpond::{Millpond, Retry};

pub async fn open(_: &Millpond, _: &Path, _: &Retry) -> Result<Router> {
    Ok(Router::new())
}
