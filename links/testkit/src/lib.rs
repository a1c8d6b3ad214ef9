//! What the tests of links share, whatever the engine. It is for this workspace only.

mod arrivals;
mod machines;
pub mod speed;

use std::path::Path;
use std::time::Duration;

use millpond::Millpond;
use millpond_links::{Link, LinkState};

pub use arrivals::{Arrivals, DeviceAndHub, hub, readings};
pub use machines::{Handled, TwoMachines, dies_with, machine, thumbnails};

/// How long a test waits for what has to happen.
pub const SOON: Duration = Duration::from_secs(60);

/// Opens the file of this name.
///
/// # Panics
/// If it cannot be opened.
pub fn open(dir: &Path, name: &str) -> Millpond {
    Millpond::open(dir.join(name)).expect("it can be opened")
}

/// Waits until this is so of a link.
///
/// # Panics
/// If it is not so in time. The message says what the link tells.
pub async fn until(link: &Link, so: impl Fn(&LinkState) -> bool) -> LinkState {
    let poll = async {
        loop {
            let state = link.state();
            if so(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, poll).await.unwrap_or_else(|_| panic!("{:?}", link.state()))
}
