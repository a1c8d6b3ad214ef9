use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::deployed::Deployed;
use super::file;
use super::version::Version;
use crate::error::{Error, PluginError};
use crate::events::Event;
use crate::job::PluginHash;

/// Keys of its state in one answer.
const STATE_KEYS_MAX: usize = 1_000;

/// A plugin that a worker runs: to look after it, and to give it a new version. See
/// [`Worker::plugin`](crate::Worker::plugin).
///
/// ```no_run
/// # use millpond::{Millpond, Plugin, Worker};
/// # fn example(worker: Worker) -> Result<(), millpond::Error> {
/// if let Some(thumbnail) = worker.plugin("thumbnail") {
///     println!("{} is at {}", thumbnail.name(), thumbnail.hash());
///     thumbnail.reload(std::fs::read("plugins/thumbnail.wasm").unwrap())?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PluginHandle {
    deployed: Arc<Deployed>,
}

impl PluginHandle {
    pub(super) fn new(deployed: Arc<Deployed>) -> Self {
        Self { deployed }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.deployed.name
    }

    /// The version that attempts start with now.
    pub fn hash(&self) -> PluginHash {
        self.deployed.current().hash
    }

    /// Whether it is suspended, because it broke too often in a row. Its jobs wait until it is
    /// [resumed](Self::resume) or has a new version.
    pub fn is_suspended(&self) -> bool {
        // In a forked process the lock may be held for ever.
        self.deployed.host.store.check_process().is_ok() && self.deployed.service.is_suspended()
    }

    /// Ends its suspension, without a new version.
    pub fn resume(&self) {
        if self.deployed.host.store.check_process().is_ok() {
            self.deployed.service.resume();
        }
    }

    /// Gives it a new version, with the same limits, grants and settings, and [resumes](Self::resume) it.
    /// Attempts under way finish with the one that they began with. Compiling takes its time, on this thread.
    ///
    /// # Errors
    /// [`Error::Plugin`] as when it was registered; the version before goes on then. [`Error::Forked`].
    pub fn reload(&self, bytes: impl AsRef<[u8]>) -> Result<PluginHash, Error> {
        self.deployed.host.store.check_process()?;
        let Deployed { setting, sandbox, .. } = &*self.deployed;
        let name = &setting.name;
        let refused = |reason: PluginError| Error::Plugin { plugin: name.clone(), reason };
        let version = Version::make(bytes.as_ref(), &OnceLock::new(), setting, sandbox).map_err(refused)?;
        let hash = version.hash;
        self.deployed.replace(version);
        self.deployed.service.resume();
        tracing::info!(plugin = name, %hash, "a plugin has a new version");
        self.deployed.host.tell(Event::PluginReloaded { plugin: name.as_str().into(), hash });
        Ok(hash)
    }

    /// [`reload`](Self::reload) from a file, if it holds another version than the one that runs.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, and as [`reload`](Self::reload).
    pub fn reload_file(&self, path: impl AsRef<Path>) -> Result<PluginHash, Error> {
        self.deployed.host.store.check_process()?;
        let bytes = file::read(path.as_ref())?;
        if Version::hash(&bytes) == self.hash() { Ok(self.hash()) } else { self.reload(bytes) }
    }

    /// Keys of what it keeps, in order, from the first behind `after`: at most 1,000. What an attempt under way has written
    /// is not there yet.
    ///
    /// # Errors
    /// As every call that reads the file.
    pub fn state_keys(&self, after: Option<&str>) -> Result<Vec<String>, Error> {
        Ok(self.deployed.host.store.reader()?.plugin_keys(self.name(), "", after, STATE_KEYS_MAX)?)
    }

    /// What it keeps under a key. A counter is 8 bytes, the lowest first.
    ///
    /// # Errors
    /// As every call that reads the file.
    pub fn state(&self, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.deployed.host.store.reader()?.plugin_value(self.name(), key)?)
    }

    /// How often its file is to be looked at, if it is.
    pub(crate) fn watched_every(&self) -> Option<Duration> {
        self.deployed.watched.as_ref().map(|watched| watched.every)
    }

    /// Looks at its file, and gives it the version that is there if that is another.
    pub(crate) fn look_at_file(&self) {
        let Some(watched) = &self.deployed.watched else { return };
        let Some(mut looks) = watched.begin() else { return };
        if !looks.look(&watched.path) {
            return;
        }
        if let Err(error) = self.reload_file(&watched.path) {
            let (plugin, reason) = (self.name(), error.to_string());
            tracing::warn!(plugin, reason, "a plugin's file has changed, and the version before goes on");
            self.deployed.host.tell(Event::PluginNotReloaded { plugin: plugin.into(), reason });
        }
    }
}

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHandle").field("name", &self.name()).field("hash", &self.hash()).finish_non_exhaustive()
    }
}
