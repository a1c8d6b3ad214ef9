//! A plugin that a worker has registered, without its code: its settings, and whether it is suspended.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use super::grant::{Grant, What};
use super::host::Host;
use super::limits::PluginLimits;
use super::overlay::To;
use super::sandbox::{PluginPlaces, Sandbox};
use super::service::Service;
use super::watched::WatchedFile;
use crate::job::PluginHash;

/// A plugin that a worker has registered, without its code.
pub(super) struct Deployed {
    pub setting: Setting,
    pub host: Arc<Host>,
    pub sandbox: &'static Sandbox,
    pub service: Service,
    pub places: PluginPlaces,
}

/// The settings of a plugin, without its code.
pub(super) struct Setting {
    pub name: String,
    pub limits: PluginLimits,
    pub grants: Vec<Grant>,
    pub config: BTreeMap<String, String>,
    /// The directory for its compiled code, if it is kept.
    pub cache: Option<PathBuf>,
    /// The most attempts that one instance runs. 0 means a fresh instance for each attempt.
    pub reuse: u32,
    /// The only version that is allowed to run, if one was set.
    pub expected: Option<PluginHash>,
    /// Finds the addresses of names.
    #[cfg(feature = "wasm-http")]
    pub resolver: super::http::Resolver,
    /// Its file, if it is watched for new versions.
    pub watched: Option<WatchedFile>,
}

impl Deref for Deployed {
    type Target = Setting;

    fn deref(&self) -> &Setting {
        &self.setting
    }
}

impl Deployed {
    pub fn new(setting: Setting, host: Arc<Host>, sandbox: &'static Sandbox) -> Self {
        let service = Service::new(setting.limits.traps_in_a_row);
        Self { setting, host, sandbox, service, places: sandbox.places() }
    }

    /// Whether the plugin is granted jobs, entries or messages of this kind there. `own` is the queue of the running job.
    pub fn may_send(&self, kind: &str, to: &To, own: &str) -> bool {
        self.grants.iter().any(|grant| match (&grant.what, to) {
            (What::Enqueue { kind: granted, queue: into }, To::Queue(queue)) => {
                granted == kind && into.as_deref().unwrap_or(own) == &**queue
            }
            (What::Append { kind: granted, stream: to }, To::Stream(stream)) => granted == kind && to == stream,
            (What::Publish { kind: granted, topic: to }, To::Topic { topic, .. }) => granted == kind && to == topic,
            _ => false,
        })
    }
}
