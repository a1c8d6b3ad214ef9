//! A server of one stand-in's routes on a free port.

use anyhow::Result;
use axum::Router;
use tokio::net::TcpListener;

/// Serves `routes` until the process ends, and returns the URL.
pub async fn serve(routes: Router) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}
