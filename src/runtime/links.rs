//! Links that run in this process, and what this file says of them.

use super::engine::Engine;
use crate::error::Error;
use crate::links::{LinkDirection, LinkGuard, LinkInfo};

impl Engine {
    /// Adds a link until its guard is dropped.
    pub fn register_link(&self, link: LinkInfo) -> Result<LinkGuard, Error> {
        self.check_process()?;
        Ok(self.links.register(link))
    }

    /// All links. One that sends and does not say how many jobs it has still to send gets the jobs of its queue that have not ended.
    pub fn link_infos(&self) -> Vec<LinkInfo> {
        let mut links = self.links.all();
        for link in &mut links {
            if link.direction == LinkDirection::Forward && link.state.lag.is_none() {
                link.state.lag = Some(self.unfinished(&link.queue));
            }
        }
        links
    }

    /// The link that sends the jobs of this queue, if there is one.
    pub fn link_of(&self, queue: &str) -> Option<LinkInfo> {
        self.links.all().into_iter().find(|link| link.forwards(queue))
    }

    fn unfinished(&self, queue: &str) -> u64 {
        let Some(queue) = self.find_queue(queue) else { return 0 };
        let tally = self.tally(queue);
        tally.pending + tally.scheduled + tally.retrying + tally.blocked
    }
}
