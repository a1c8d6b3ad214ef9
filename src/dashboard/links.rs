//! Links.

use crate::{LinkInfo, Millpond};

use super::api::{Link, LinkDirection};
use super::jobs::time;

/// The links of the process.
pub(super) fn list(pond: &Millpond) -> Vec<Link> {
    pond.links().into_iter().map(shown).collect()
}

/// Those of one queue.
pub(super) fn of_queue(pond: &Millpond, queue: &str) -> Vec<Link> {
    pond.links().into_iter().filter(|link| link.queue == queue).map(shown).collect()
}

fn shown(link: LinkInfo) -> Link {
    let LinkInfo { name, queue, direction, remote, engine, started_at, state } = link;
    Link {
        name,
        queue,
        direction: match direction {
            crate::LinkDirection::Forward => LinkDirection::Forward,
            crate::LinkDirection::Receive => LinkDirection::Receive,
            crate::LinkDirection::Take => LinkDirection::Take,
        },
        remote,
        engine,
        started_at: time(started_at),
        is_connected: state.connected,
        since: state.since.map(time),
        last_error: state.last_error,
        last_error_at: state.last_error_at.map(time),
        jobs: state.jobs,
        latest_at: state.latest_at.map(time),
        position: state.position,
        lag: state.lag,
        in_doubt: state.in_doubt,
        known: state.known,
        engine_went_back: state.engine_went_back,
        file_went_back: state.file_went_back,
        lost_batches: state.lost_batches,
        unreadable: state.unreadable,
        held: state.held,
        lost_leases: state.lost_leases,
    }
}
