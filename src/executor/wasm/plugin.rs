//! The builder of a plugin: its code, settings, limits and grants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::attempt;
use super::deployed::{Deployed, Setting};
use super::grant::Grant;
use super::handle::PluginHandle;
use super::host::Host;
use super::info::PluginInfo;
use super::limits::PluginLimits;
use super::sandbox::{Nan, Sandbox};
use super::serving::Serving;
use super::version::{Code, Version};
use super::watched::WatchedFile;
use super::{file, scan};
use crate::error::{Error, PluginError};
use crate::executor::{ForeignHandler, Handling};
use crate::handler::Runnable;
use crate::job::{PluginHash, check_name};

/// A handler that is a WebAssembly component, with its settings. It runs in a sandbox, with a fresh instance for each
/// attempt, and can affect neither the process nor other jobs.
///
/// A plugin is compiled when the first worker with it starts. Clones share the compiled code, also if their settings
/// differ. So if several kinds or workers use the same file, make one `Plugin` and clone it.
///
/// ```no_run
/// use millpond::{Grant, Millpond, Plugin, PluginLimits};
/// use std::time::Duration;
///
/// # fn example(pond: Millpond) -> Result<(), millpond::Error> {
/// let thumbnail = Plugin::from_file("plugins/thumbnail.wasm")?
///     .limits(PluginLimits::default().time(Duration::from_secs(5)).memory_bytes(128 << 20))
///     .config("width", "320")
///     .grant(Grant::enqueue("publish"));
/// pond.worker("images").handle_wasm("thumbnail", thumbnail).start()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a plugin does nothing until a worker has it"]
pub struct Plugin {
    name: String,
    bytes: Bytes,
    code: Arc<OnceLock<Code>>,
    limits: PluginLimits,
    grants: Vec<Grant>,
    config: BTreeMap<String, String>,
    cache: Option<PathBuf>,
    reuse: u32,
    nan: Nan,
    #[cfg(feature = "wasm-http")]
    resolver: super::http::Resolver,
    /// The file that its bytes were read from.
    file: Option<PathBuf>,
    watch: Option<Duration>,
    expected: Option<PluginHash>,
}

impl Plugin {
    /// Reads a plugin from a `.wasm` file: a component, or a core module that describes its interfaces. The plugin's
    /// name is the file's name without its extension.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, and the errors of [`from_bytes`](Self::from_bytes).
    ///
    /// ```
    /// use millpond::{Error, Plugin};
    ///
    /// assert!(matches!(Plugin::from_file("no/such.wasm"), Err(Error::Io { .. })));
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let plugin = Self::from_bytes(path.file_stem().unwrap_or_default().to_string_lossy(), file::read(path)?)?;
        Ok(Self { file: Some(path.to_owned()), ..plugin })
    }

    /// Makes a plugin from `bytes`. The plugin's state belongs to `name`, so all versions with this name share it.
    ///
    /// # Errors
    /// - [`Error::InvalidName`] if `name` is not a valid name.
    /// - [`Error::Plugin`] if the bytes are not WebAssembly, or are too large. All other checks happen when the worker
    ///   starts, which compiles the plugin.
    ///
    /// ```
    /// use millpond::{Error, Plugin, PluginError};
    ///
    /// let native = b"\x7fELF\x02\x01\x01";
    /// let refused = Plugin::from_bytes("thumbnail", &native[..]);
    /// assert!(matches!(refused, Err(Error::Plugin { reason: PluginError::NotWasm, .. })));
    /// ```
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let (name, bytes) = (name.into(), bytes.into());
        check_name("plugin", &name)?;
        match scan::check_head(&bytes) {
            Ok(()) => Ok(Self {
                name,
                bytes,
                code: Arc::default(),
                limits: PluginLimits::default(),
                grants: Vec::new(),
                config: BTreeMap::new(),
                cache: None,
                reuse: 0,
                nan: Nan::AsItComes,
                #[cfg(feature = "wasm-http")]
                resolver: Default::default(),
                file: None,
                watch: None,
                expected: None,
            }),
            Err(reason) => Err(Error::Plugin { plugin: name, reason }),
        }
    }

    /// Sets the limits of the plugin and of each attempt. Default: [`PluginLimits::default`].
    pub fn limits(mut self, limits: PluginLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Allows the plugin something beyond its own job. Default: no grants.
    pub fn grant(mut self, grant: impl Into<Grant>) -> Self {
        self.grants.push(grant.into());
        self
    }

    /// Adds a setting that the plugin can read. Default: no settings.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Keeps the plugin's compiled code in this directory, so that the next start loads it instead of compiling it
    /// again. Default: compiled code is not kept.
    ///
    /// The files hold native code, so the directory is created for its owner alone (mode 0700). It is not used if it
    /// belongs to another user than the one that the process runs as, if anybody else has permissions there, or if it
    /// is a symbolic link. A file in it is not used if it belongs to another user, if others can write it, or if it is
    /// not a regular file. In these cases a warning is logged and the plugin is compiled. On systems other than Unix
    /// nothing is kept, because permissions cannot be checked there. Files of old versions stay until you remove them.
    pub fn cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache = Some(directory.into());
        self
    }

    /// Uses an instance for up to `calls` attempts instead of a fresh instance for each. This makes an attempt about 20
    /// times cheaper, but the next job can see what a job left in the guest's memory. Do not use it if the payloads
    /// belong to different tenants. Only an instance that has completed its job is used again. Default: 1, a fresh
    /// instance for each attempt.
    pub fn reuse(mut self, calls: u32) -> Self {
        self.reuse = if calls > 1 { calls } else { 0 };
        self
    }

    /// Gives every NaN (not a number) the same bits, so that results do not depend on the processor. Use it if results
    /// are compared between machines. It makes floating-point arithmetic slower. Default: the processor decides the
    /// bits, which are the same each time on one machine.
    ///
    /// ```no_run
    /// let price = millpond::Plugin::from_file("price.wasm")?.canonical_nan();
    /// # let _ = price;
    /// # Ok::<(), millpond::Error>(())
    /// ```
    pub fn canonical_nan(mut self) -> Self {
        self.nan = Nan::Canonical;
        // The compiled code is another, so it is not shared with the clones made before.
        self.code = Arc::default();
        self
    }

    /// Resolves the names of hosts with this function instead of the system's resolver, for tests or for a resolver of
    /// your own. The addresses that it returns are checked against the grants as well. The function is allowed to
    /// block: each call runs on a thread of its own. At most 4 calls run at a time for this plugin and its clones, and
    /// 64 for all plugins of the process. Further requests wait within their own timeouts. Default: the system's
    /// resolver. Feature `wasm-http`.
    ///
    /// ```
    /// # fn example(plugin: millpond::Plugin) {
    /// use std::net::{IpAddr, Ipv4Addr};
    ///
    /// let plugin = plugin.resolver(|host| match host {
    ///     "api.example.org" => Ok(vec![IpAddr::V4(Ipv4Addr::new(203, 0, 114, 7))]),
    ///     _ => Err(std::io::ErrorKind::NotFound.into()),
    /// });
    /// # let _ = plugin; }
    /// ```
    #[cfg(feature = "wasm-http")]
    pub fn resolver(
        mut self,
        resolve: impl Fn(&str) -> std::io::Result<Vec<std::net::IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.resolver = self.resolver.by(resolve);
        self
    }

    /// Checks the plugin's file at this interval while the worker runs, and [reloads](PluginHandle::reload) the plugin
    /// if the file has changed, on a thread of its own. Only for a plugin [from a file](Self::from_file). Default: the
    /// file is not watched.
    ///
    /// A changed file is read once two checks in a row have found it the same, so that a file which is still being
    /// written is not read. If the file is refused, or gone, the current version stays, and
    /// [`Event::PluginNotReloaded`](crate::Event::PluginNotReloaded) is published. Everybody who can write the file
    /// decides which code runs. The sandbox and the limits stay as they are.
    pub fn watch(mut self, every: Duration) -> Self {
        self.watch = Some(every);
        self
    }

    /// Accepts only this version. Any other version is refused when the worker starts, and also by
    /// [`watch`](Self::watch) and [`PluginHandle::reload`]. Default: every version is accepted.
    ///
    /// ```
    /// use millpond::{Error, Plugin, PluginError};
    ///
    /// # let bytes = b"\0asm\x0d\0\x01\0";
    /// let reviewed = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse()?;
    /// let plugin = Plugin::from_bytes("thumbnail", &bytes[..])?.expect(reviewed);
    /// assert!(matches!(plugin.check(), Err(Error::Plugin { reason: PluginError::UnexpectedVersion { .. }, .. })));
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn expect(mut self, version: PluginHash) -> Self {
        self.expected = Some(version);
        self
    }

    /// Checks and compiles the plugin as a worker's start does, and returns what it contains. Nothing is registered,
    /// and none of the plugin's code runs.
    ///
    /// # Errors
    /// [`Error::Plugin`] with the reason why a worker would refuse the plugin.
    ///
    /// ```no_run
    /// # use millpond::Plugin;
    /// let info = Plugin::from_file("thumbnail.wasm")?.check()?;
    /// println!("{} is {}, starts with {} bytes of memory", info.name, info.hash, info.memory_bytes);
    /// for import in info.imports {
    ///     println!("  {}: {}", import.interface, import.functions.join(", "));
    /// }
    /// # Ok::<(), millpond::Error>(())
    /// ```
    pub fn check(&self) -> Result<PluginInfo, Error> {
        let ready = prepare(self.clone()).map_err(|reason| self.refused(reason))?;
        Ok(PluginInfo::of(&ready.version, ready.setting, &self.bytes))
    }

    fn refused(&self, reason: PluginError) -> Error {
        Error::Plugin { plugin: self.name.clone(), reason }
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Compiles a plugin and makes a handler from it.
pub(crate) fn load(kind: Arc<str>, plugin: Plugin, host: Arc<Host>) -> Result<Handling, Error> {
    let Ready { setting, version, sandbox } = prepare(plugin.clone()).map_err(|reason| plugin.refused(reason))?;
    Ok(handling(kind, Serving::new(Arc::new(Deployed::new(setting, host, sandbox)), version)))
}

/// A plugin that has passed all checks.
struct Ready {
    setting: Setting,
    version: Version,
    sandbox: &'static Sandbox,
}

fn prepare(plugin: Plugin) -> Result<Ready, PluginError> {
    #[cfg(feature = "wasm-http")]
    let resolver = plugin.resolver;
    let Plugin { name, bytes, code, limits, grants, config, cache, reuse, nan, file, watch, expected, .. } = plugin;
    limits.check()?;
    grants.iter().try_for_each(Grant::check)?;
    let watched = watch.map(|every| WatchedFile::new(file, every)).transpose()?;
    let sandbox = Sandbox::shared(nan).map_err(|detail| PluginError::NotCompiled { detail })?;
    let setting = Setting {
        name,
        limits,
        grants,
        config,
        cache,
        reuse,
        expected,
        watched,
        #[cfg(feature = "wasm-http")]
        resolver,
    };
    let version = Version::make(&bytes, &code, &setting, sandbox)?;
    Ok(Ready { setting, version, sandbox })
}

fn handling(kind: Arc<str>, serving: Serving) -> Handling {
    let serving = Arc::new(serving);
    let timeout_max = Some(serving.plugin.limits.time);
    let foreign: Arc<dyn ForeignHandler> = Arc::new(PluginHandle::new(serving.clone()));
    let runnable = Runnable::foreign(move |payload, context| {
        Ok(Box::pin(attempt::run(&serving, payload.bytes.clone(), context.clone())))
    });
    Handling { kind, runnable, timeout_max, slow_polls: Default::default(), retry: None, foreign: Some(foreign) }
}
