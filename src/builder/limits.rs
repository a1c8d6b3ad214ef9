//! The limits that workers share, as they are given when a file is opened.

use std::sync::Arc;

use super::Builder;
use crate::error::Error;
use crate::job::check_name;

impl Builder {
    /// A limit that jobs of any queues share: jobs that use it run at the same time only while their
    /// [weights](crate::NewJob::weight) add up to at most `units`. Which jobs use it is up to the workers
    /// ([`WorkerBuilder::limit`](crate::WorkerBuilder::limit), [`WorkerBuilder::limit_of`](crate::WorkerBuilder::limit_of)).
    /// Default: no limits. [`set_limit`](crate::Millpond::set_limit) changes the units later.
    ///
    /// The units in use are computed from the jobs that run in this process, so nothing has to be released after a crash.
    ///
    /// Opening the file fails with [`Error::InvalidConfig`] if `units` is 0, if the name is not one that a queue could have,
    /// or if two limits have the same name.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().limit("gpu", 4).open_backend(memory)?;
    /// pond.worker("training").limit("gpu").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// pond.worker("previews").limit("gpu").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    ///
    /// // While it runs, one preview can run beside it.
    /// pond.enqueue("training", NewJob::new(Charge { order: 7 }).weight(3)).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.limits()[0].used, 0);
    /// # Ok(()) });
    /// ```
    pub fn limit(mut self, name: impl Into<String>, units: u32) -> Self {
        self.limits.push((Arc::from(name.into()), units));
        self
    }

    pub(super) fn check_limits(&self) -> Result<(), Error> {
        for (n, (name, units)) in self.limits.iter().enumerate() {
            check_name("limit", name)?;
            if *units == 0 {
                return Err(Error::config(
                    "limit",
                    format!("limit {name:?} has 0 units: no job that uses it would run"),
                ));
            }
            if self.limits[..n].iter().any(|(earlier, _)| earlier == name) {
                return Err(Error::config("limit", format!("there are two limits with the name {name:?}")));
            }
        }
        Ok(())
    }
}
