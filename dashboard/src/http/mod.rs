//! What programs ask for: the JSON API, live updates, metrics, health, and the assets of the pages.

mod api;
mod assets;
mod health;
mod live;
mod problem;

pub(crate) use api::Query;
pub(crate) use api::router as api;
pub(crate) use assets::{ASSETS, asset};
pub(crate) use health::{is_live, is_ready, metrics};
pub(crate) use live::live;
