use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use super::grant::{Grant, What};
use super::host::Host;
use super::limits::PluginLimits;
use super::sandbox::{PluginPlaces, Sandbox};
use super::service::Service;
use super::version::Version;
use super::watched::WatchedFile;
use crate::job::PluginHash;
use crate::sync::RwLock;

/// A plugin that a worker has registered: what it may, and the version that runs now.
pub(super) struct Deployed {
    pub setting: Setting,
    pub host: Arc<Host>,
    pub sandbox: &'static Sandbox,
    pub service: Service,
    pub places: PluginPlaces,
    /// Attempts under way hold on to the one that they began with.
    current: RwLock<Arc<Version>>,
}

/// What a plugin is set up with, less its code.
pub(super) struct Setting {
    pub name: String,
    pub limits: PluginLimits,
    pub grants: Vec<Grant>,
    pub config: BTreeMap<String, String>,
    /// Where its compiled code is kept.
    pub cache: Option<PathBuf>,
    /// Most calls of one instance; 0 is a fresh one for each.
    pub reuse: u32,
    /// The only version that may run, if one was named.
    pub expected: Option<PluginHash>,
    /// Finds the addresses of names.
    #[cfg(feature = "wasm-http")]
    pub resolver: super::http::Resolver,
    /// Its file, if that is looked at.
    pub watched: Option<WatchedFile>,
}

impl Deref for Deployed {
    type Target = Setting;

    fn deref(&self) -> &Setting {
        &self.setting
    }
}

impl Deployed {
    pub fn new(setting: Setting, version: Version, host: Arc<Host>, sandbox: &'static Sandbox) -> Self {
        let service = Service::new(setting.limits.traps_in_a_row);
        let current = RwLock::new(Arc::new(version));
        Self { setting, host, sandbox, service, places: sandbox.places(), current }
    }

    pub fn current(&self) -> Arc<Version> {
        self.current.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Attempts that start from now on run this one.
    pub fn replace(&self, version: Version) {
        *self.current.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(version);
    }

    /// Whether it was granted follow-up jobs of this kind into this queue. `own` is the queue of the job at hand.
    pub fn may_enqueue(&self, kind: &str, queue: &str, own: &str) -> bool {
        self.grants.iter().any(|grant| match &grant.what {
            What::Enqueue { kind: granted, queue: into } => granted == kind && into.as_deref().unwrap_or(own) == queue,
            #[cfg(any(feature = "wasm-http", feature = "wasm-wasi"))]
            _ => false,
        })
    }
}
