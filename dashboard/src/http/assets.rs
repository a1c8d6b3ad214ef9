//! The style, the script and the icon of the pages, which are part of the program.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::safety::asset_headers;

/// A file that pages need.
pub(crate) struct Asset {
    pub name: &'static str,
    kind: &'static str,
    content: &'static str,
}

/// All of them.
pub(crate) const ASSETS: [Asset; 3] = [
    Asset { name: "style.css", kind: "text/css; charset=utf-8", content: include_str!("../../assets/style.css") },
    Asset { name: "live.js", kind: "text/javascript; charset=utf-8", content: include_str!("../../assets/live.js") },
    Asset { name: "icon.svg", kind: "image/svg+xml", content: include_str!("../../assets/icon.svg") },
];

impl Asset {
    /// A number that changes with the content (FNV-1a). It is part of the address, so browsers can keep the asset for ever.
    pub fn version(&self) -> u32 {
        self.content.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// An asset by its name.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => (asset_headers(asset.kind), asset.content).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
