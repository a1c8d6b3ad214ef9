//! What the file and the process say of themselves.

use super::Millpond;
use crate::error::Error;
use crate::inspect::{ProcessInfo, StorageInfo, process, storage};

impl Millpond {
    /// The file's size, and what its commits have cost since it was opened. It reads counters and asks the file system for
    /// the size; it reads nothing of the file.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// # let path = dir.path().join("app.redb");
    /// let pond = Millpond::open(&path)?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    ///
    /// let storage = pond.storage()?;
    /// assert_eq!(storage.path.as_deref(), Some(&*path));
    /// assert_eq!(storage.file_bytes, Some(std::fs::metadata(&path)?.len()));
    /// assert_eq!(storage.commits_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn storage(&self) -> Result<StorageInfo, Error> {
        self.engine().check_process()?;
        Ok(storage(self.engine()))
    }

    /// How many jobs this process runs, how many it can run, and since when it has the file open.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let process = pond.process()?;
    /// println!("{} of {} slots are in use", process.running, process.running_max);
    /// # assert_eq!((process.running, process.stuck), (0, 0));
    /// # Ok(()) });
    /// ```
    pub fn process(&self) -> Result<ProcessInfo, Error> {
        self.engine().check_process()?;
        Ok(process(self.engine()))
    }
}
