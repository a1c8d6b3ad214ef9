//! The limits that jobs of any queues share.

use super::Millpond;
use crate::error::Error;
use crate::inspect::{LimitInfo, limits};

impl Millpond {
    /// The [limits](crate::Builder::limit) that jobs share, in the order in which they were given.
    pub fn limits(&self) -> Vec<LimitInfo> {
        limits(self.engine())
    }

    /// Sets how many units a [limit](crate::Builder::limit) has, until the file is closed. If running jobs use more,
    /// they finish.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for 0, or if there is no limit of this name; [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder().limit("gpu", 4).open_backend(memory)?;
    /// pond.set_limit("gpu", 2)?;
    /// assert_eq!(pond.limits()[0].units, 2);
    /// assert!(matches!(pond.set_limit("cpu", 2), Err(Error::InvalidConfig { field: "limit", .. })));
    /// # Ok(()) });
    /// ```
    pub fn set_limit(&self, name: &str, units: u32) -> Result<(), Error> {
        self.engine().check_process()?;
        if units == 0 {
            return Err(Error::config(
                "limit",
                "0 units would let no job run that uses it: it must be at least 1".into(),
            ));
        }
        match self.engine().set_limit(name, units) {
            true => Ok(()),
            false => Err(Error::config("limit", format!("the open file has no limit {name:?} (`Builder::limit`)"))),
        }
    }
}
