//! PostgreSQL as an engine, over real servers, which the tests start. Without one they say so and pass.

mod answers;
mod jobs;
mod keep;
mod kills;
mod leases;
mod links;
mod order;
mod refusals;
mod shared;
mod speed;
mod support;
#[cfg(feature = "rustls")]
mod tls;

use millpond_links::conformance;
use support::Server;

#[tokio::test]
async fn postgresql_is_a_log_on_which_links_can_rely() {
    let Some(server) = Server::start() else { return };
    let engine = server.engine();
    engine.check().await.unwrap();
    conformance::check(&engine).await;
}

#[tokio::test]
async fn postgresql_has_leases_on_which_links_can_rely() {
    let Some(server) = Server::start() else { return };
    conformance::check_leases(&server.engine()).await;
}

#[tokio::test]
async fn an_engine_without_hints_is_as_good() {
    let Some(server) = Server::start() else { return };
    conformance::check(&server.connect().hints(None).start().unwrap()).await;
}
