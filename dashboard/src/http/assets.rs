//! The style, the script and the icon of the pages, which are part of the program.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::safety::asset_headers;

/// A file that pages need.
pub(crate) struct Asset {
    pub name: &'static str,
    /// A number that changes with the content. It is part of the address, so browsers can keep the asset for ever.
    pub version: u32,
    kind: &'static str,
    content: &'static str,
}

/// All of them.
pub(crate) const ASSETS: [Asset; 3] = [
    Asset::new("style.css", "text/css; charset=utf-8", include_str!("../../assets/style.css")),
    Asset::new("live.js", "text/javascript; charset=utf-8", include_str!("../../assets/live.js")),
    Asset::new("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
];

impl Asset {
    const fn new(name: &'static str, kind: &'static str, content: &'static str) -> Self {
        Self { name, version: hash(content.as_bytes()), kind, content }
    }
}

/// FNV-1a, which the compiler can compute.
const fn hash(bytes: &[u8]) -> u32 {
    let (mut hash, mut at) = (0x811c_9dc5_u32, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// An asset by its name.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => (asset_headers(asset.kind), asset.content).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
