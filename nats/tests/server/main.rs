//! Links over real NATS servers, which the tests start. Without a server they say so and pass.

mod cluster;
mod fleet;
mod mailbox;
mod secure;
mod shared;
mod speed;
mod support;
