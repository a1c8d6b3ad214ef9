//! A registered plugin, as the application sees it while its worker runs.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::deployed::Deployed;
use super::file;
use super::grant::Grant;
use super::limits::PluginLimits;
use super::service::ServiceCounts;
use super::serving::Serving;
use super::version::Version;
use crate::error::{Error, PluginError};
use crate::events::Event;
use crate::executor::ForeignHandler;
use crate::job::PluginHash;

/// The most keys of a plugin's state in one answer.
const STATE_KEYS_MAX: usize = 1_000;

/// A plugin that a worker runs. It shows the plugin's version and state, resumes a suspended plugin, and loads new
/// versions. [`Worker::plugin`](crate::Worker::plugin) returns it.
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
    serving: Arc<Serving>,
}

impl PluginHandle {
    pub(super) fn new(serving: Arc<Serving>) -> Self {
        Self { serving }
    }

    fn deployed(&self) -> &Deployed {
        &self.serving.plugin
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.deployed().name
    }

    /// The current version, which attempts that start now run.
    pub fn hash(&self) -> PluginHash {
        self.serving.current().hash
    }

    /// Whether the plugin is suspended, because too many attempts in a row broke. Its jobs wait until it is
    /// [resumed](Self::resume) or has a new version.
    pub fn is_suspended(&self) -> bool {
        // In a forked process a lock may be held forever, so nothing is read there.
        self.deployed().host.store.check_process().is_ok() && self.deployed().service.is_suspended()
    }

    /// The limits of the plugin and of each of its attempts.
    pub fn limits(&self) -> &PluginLimits {
        &self.deployed().limits
    }

    /// What the plugin is granted.
    pub fn grants(&self) -> &[Grant] {
        &self.deployed().grants
    }

    /// What has become of its attempts.
    pub(crate) fn counts(&self) -> ServiceCounts {
        self.deployed().service.counts()
    }

    /// Ends the plugin's suspension, without a new version.
    pub fn resume(&self) {
        if self.deployed().host.store.check_process().is_ok() {
            self.deployed().service.resume();
        }
    }

    /// Replaces the plugin's code by a new version, with the same limits, grants and settings, and
    /// [resumes](Self::resume) the plugin. Running attempts finish with the version that they started with. The code is
    /// compiled on the calling thread, which can take seconds.
    ///
    /// # Errors
    /// - [`Error::Plugin`] if the version is refused, for the same reasons as when a plugin is registered. The current
    ///   version stays.
    /// - [`Error::Forked`] in a forked process.
    pub fn reload(&self, bytes: impl AsRef<[u8]>) -> Result<PluginHash, Error> {
        self.deployed().host.store.check_process()?;
        let Deployed { setting, sandbox, .. } = self.deployed();
        let name = &setting.name;
        let refused = |reason: PluginError| Error::Plugin { plugin: name.clone(), reason };
        let version = Version::make(bytes.as_ref(), &OnceLock::new(), setting, sandbox).map_err(refused)?;
        let hash = version.hash;
        self.serving.replace(version);
        self.deployed().service.resume();
        tracing::info!(plugin = name, %hash, "a plugin has a new version");
        self.deployed().host.tell(Event::PluginReloaded { plugin: name.as_str().into(), hash });
        Ok(hash)
    }

    /// [Reloads](Self::reload) the plugin from a file, if the file holds another version than the current one. Returns
    /// the version that is current then.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, and the errors of [`reload`](Self::reload).
    pub fn reload_file(&self, path: impl AsRef<Path>) -> Result<PluginHash, Error> {
        self.deployed().host.store.check_process()?;
        let bytes = file::read(path.as_ref())?;
        if Version::hash(&bytes) == self.hash() { Ok(self.hash()) } else { self.reload(bytes) }
    }

    /// The keys of the plugin's state, in byte order, starting after the key `after`: at most 1,000. Keys that a
    /// running attempt has written are not among them until its job completes.
    ///
    /// # Errors
    /// The errors of every call that reads the file.
    pub fn state_keys(&self, after: Option<&str>) -> Result<Vec<String>, Error> {
        Ok(self.deployed().host.store.reader()?.plugin_keys(self.name(), "", after, STATE_KEYS_MAX)?)
    }

    /// The value under a key of the plugin's state. A counter is a signed number of 8 bytes, little-endian.
    ///
    /// # Errors
    /// The errors of every call that reads the file.
    pub fn state(&self, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.deployed().host.store.reader()?.plugin_value(self.name(), key)?)
    }
}

impl ForeignHandler for PluginHandle {
    fn watched_every(&self) -> Option<Duration> {
        self.deployed().watched.as_ref().map(|watched| watched.every)
    }

    fn check_file(&self) {
        let Some(watched) = &self.deployed().watched else { return };
        let Some(mut checks) = watched.begin() else { return };
        if !checks.is_due(&watched.path) {
            return;
        }
        if let Err(error) = self.reload_file(&watched.path) {
            let (plugin, reason) = (self.name(), error.to_string());
            tracing::warn!(plugin, reason, "a plugin's file has changed and cannot be used: the current version stays");
            self.deployed().host.tell(Event::PluginNotReloaded { plugin: plugin.into(), reason });
        }
    }
}

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHandle").field("name", &self.name()).field("hash", &self.hash()).finish_non_exhaustive()
    }
}
