//! Links to other machines as the dashboard shows them. The crate `millpond-links` moves jobs and tells of itself like this; here
//! nothing is moved, so that the example needs no server.

use anyhow::Result;
use millpond::{LinkDirection, LinkGuard, LinkInfo, Millpond};

/// A link that works, and one whose engine has gone. They are shown until the guards are dropped.
pub fn make(pond: &Millpond) -> Result<[LinkGuard; 2]> {
    let info = |queue, direction, remote| LinkInfo::new(queue, direction, remote, "NATS JetStream");
    let receives = pond.register_link(info("orders", LinkDirection::Receive, "shops")?)?;
    receives.handle().update(|state| {
        (state.connected, state.jobs, state.position, state.lag) = (true, 48_210, Some(50_118), Some(12));
        (state.known, state.engine_went_back) = (500, 1);
    });
    let sends = pond.register_link(info("archive", LinkDirection::Forward, "warehouse")?)?;
    sends.handle().update(|state| {
        (state.connected, state.jobs, state.position, state.in_doubt) = (true, 1_204, Some(31), 40);
    });
    sends.handle().failed("no answer from the engine: timed out after 5s");
    Ok([receives, sends])
}
