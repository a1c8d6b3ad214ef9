//! The running application: the open file, the workers, the HTTP server.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use millpond::{Millpond, Retry};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Outside, avatars, dashboard, routes, workers};

/// Longest wait for running jobs when the application stops. Jobs that are not done by then return to their queues and
/// run after the next start.
const DRAIN: Duration = Duration::from_secs(5);

pub struct Site {
    pub pond: Millpond,
    pub url: String,
    server: JoinHandle<()>,
}

impl Site {
    /// Opens `file`, or creates it, and serves on `port` of loopback; 0 means any free port.
    pub async fn open(file: &Path, port: u16, outside: &Outside, retry: &Retry) -> Result<Self> {
        let pond = Millpond::open(file)?;
        workers::start(&pond, outside, retry)?;
        let listener =
            TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("port {port} is not free"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = routes(pond.clone()).merge(avatars::open(&pond, file, retry).await?);
        let service = dashboard::mount(routes, &pond).into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).await {
                eprintln!("the HTTP server stopped: {error}");
            }
        });
        Ok(Self { pond, url, server })
    }

    /// Stops accepting requests, lets running jobs finish, and closes the file.
    pub async fn close(self) -> Result<()> {
        self.server.abort();
        self.pond.shutdown(DRAIN).await?;
        Ok(())
    }
}
