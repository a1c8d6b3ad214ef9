//! Server-sent events: that something has changed, and what happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};

use crate::site::Site;

/// How often a page is told at most that something has changed.
const CHANGE_INTERVAL: Duration = Duration::from_secs(1);

/// Even if nothing changes, ages and rates do.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// How soon a browser connects again.
const RECONNECT_TIME: Duration = Duration::from_millis(250);

type Told = Result<Event, Infallible>;

/// Tells pages when to ask again.
pub(crate) async fn live(State(site): State<Arc<Site>>) -> Sse<impl Stream<Item = Told>> {
    let ending = ending(&site);
    let told = stream::unfold((site, None), |(site, seen)| async move {
        let revision = next_revision(&site, seen).await?;
        Some((Ok(Event::default().event("change").data(revision.to_string())), (site, Some(revision))))
    });
    Sse::new(begun().chain(told).take_until(ending)).keep_alive(KeepAlive::default())
}

/// Waits until the revision is another one than `seen`, or for the idle interval. `None` if the source has none any more.
async fn next_revision(site: &Site, seen: Option<u64>) -> Option<u64> {
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(CHANGE_INTERVAL).await;
        waited += CHANGE_INTERVAL;
        let revision = site.source.revision().await.ok()?;
        if seen != Some(revision) || waited >= IDLE_INTERVAL {
            return Some(revision);
        }
    }
}

/// What happens, each as JSON.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events",
    responses((status = 200, description = "Server-sent events. The data of each is a LiveEvent as JSON.",
        body = crate::api::LiveEvent, content_type = "text/event-stream"))
)]
pub(crate) async fn events(State(site): State<Arc<Site>>) -> Sse<impl Stream<Item = Told>> {
    let told = site.source.events();
    let told = told.map(|event| Ok(Event::default().data(serde_json::to_string(&event).unwrap_or_default())));
    Sse::new(begun().chain(told).take_until(ending(&site))).keep_alive(KeepAlive::default())
}

/// What a stream begins with.
fn begun() -> impl Stream<Item = Told> {
    stream::once(async { Ok(Event::default().retry(RECONNECT_TIME).comment("begun")) })
}

/// When a stream ends, even if there is more to tell.
fn ending(site: &Site) -> impl Future<Output = ()> + Send + use<> {
    let ending = tokio::time::timeout(site.connection_time(), site.stopping());
    async move { drop(ending.await) }
}
