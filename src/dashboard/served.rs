//! Where the pages and the API of an open queue are served.

use std::sync::Arc;

use millpond_dashboard::axum::Router;
use millpond_dashboard::{Listen, Options, ServeError, Server};

use super::PondSource;
use crate::Millpond;

/// The pages and the API of a queue, to be nested where the application likes.
///
/// Unless the options say otherwise, only requests from the same machine are answered. Whether they are is known only where
/// the application is served with `into_make_service_with_connect_info::<SocketAddr>`; all others are refused.
///
/// [`router_of`](super::router_of) does the same for a [`PondSource`] that hides parts of payloads. The router holds a
/// handle of the queue.
///
/// ```no_run
/// # async fn run(pond: millpond::Millpond) -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::SocketAddr;
///
/// use millpond::dashboard::{self, Options};
///
/// let app = axum::Router::new().nest("/admin/queues", dashboard::router(&pond, Options::new()));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
/// # Ok(()) }
/// ```
///
/// # Panics
/// Outside of a tokio runtime.
pub fn router(pond: &Millpond, options: Options) -> Router {
    super::router_of(Arc::new(PondSource::new(pond)), options)
}

/// Serves the pages and the API of a queue alone, at an address or a Unix socket, until the server is stopped or dropped.
///
/// ```no_run
/// # async fn run(pond: millpond::Millpond) -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::SocketAddr;
///
/// use millpond::dashboard::{self, Options};
///
/// let server = dashboard::serve(&pond, Options::new(), SocketAddr::from(([127, 0, 0, 1], 3001))).await?;
/// # server.stop().await;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`ServeError`]: other machines can reach the address and there is no [token](Options::token), or the operating system
/// refuses the address or the socket.
pub async fn serve(pond: &Millpond, options: Options, listen: impl Into<Listen>) -> Result<Server, ServeError> {
    super::serve_source(Arc::new(PondSource::new(pond)), options, listen).await
}
