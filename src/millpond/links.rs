//! The links that run in this process.

use super::Millpond;
use crate::error::Error;
use crate::links::{LinkGuard, LinkInfo};

impl Millpond {
    /// The links that run in this process, in the order in which they were started: what moves jobs between a queue of this file and
    /// other machines. Empty without links, and in a process that was forked from the one that opened the file. Nothing is read of
    /// the file.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// for LinkInfo { name, engine, state, .. } in pond.links() {
    ///     let lag = state.lag.map_or("an unknown number of".to_owned(), |jobs| jobs.to_string());
    ///     println!("{name}: {engine} answers: {}, {lag} jobs are still to be moved", state.connected);
    /// }
    /// # Ok(()) });
    /// ```
    pub fn links(&self) -> Vec<LinkInfo> {
        if self.engine().is_forked() {
            return Vec::new();
        }
        self.engine().link_infos()
    }

    /// Registers a link, so that [`links`](Self::links), the dashboard, the metrics and [`explain`](Self::explain) know it. Crates
    /// that move jobs, such as `millpond-links`, call this; an application need not. The link is removed when the guard is dropped.
    ///
    /// A link of the direction [`Forward`](crate::LinkDirection::Forward) is the worker of its queue: while its engine does not answer
    /// and the queue has no worker, [`explain`](Self::explain) says of the jobs of the queue that they wait for the link. If the name
    /// of the link is in use, it gets a number behind it.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let info = LinkInfo::new("readings", LinkDirection::Forward, "hub", "carrier pigeons")?;
    /// let guard = pond.register_link(info)?;
    /// let link = guard.handle();
    /// link.update(|state| (state.connected, state.jobs) = (true, 5));
    /// link.failed("no pigeon has come back");
    ///
    /// let info = &pond.links()[0];
    /// assert_eq!((info.name.as_str(), info.state.jobs), ("readings -> hub", 5));
    /// assert_eq!(info.state.last_error.as_deref(), Some("no pigeon has come back"));
    /// drop(guard);
    /// assert!(pond.links().is_empty());
    /// # Ok(()) });
    /// ```
    pub fn register_link(&self, link: LinkInfo) -> Result<LinkGuard, Error> {
        self.engine().register_link(link)
    }
}
