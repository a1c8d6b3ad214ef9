use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::attempt::{self, Serving};
use super::deployed::{Deployed, Setting};
use super::grant::Grant;
use super::handle::PluginHandle;
use super::host::Host;
use super::info::PluginInfo;
use super::limits::PluginLimits;
use super::sandbox::{Nan, Sandbox};
use super::version::{Code, Version};
use super::watched::WatchedFile;
use super::{file, scan};
use crate::error::{Error, PluginError};
use crate::executor::Handling;
use crate::handler::Runnable;
use crate::job::{PluginHash, check_name};

/// A handler in the making that is a WebAssembly component: it runs in a sandbox of its own, afresh for each
/// attempt, and can hurt neither the process nor another job.
///
/// It is compiled when the first worker starts with it. Clones share what was compiled, whatever they may: so one that
/// handles several kinds, or whose worker is started again, is best made once and cloned.
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
    /// Where its bytes were read.
    file: Option<PathBuf>,
    watch: Option<Duration>,
    expected: Option<PluginHash>,
}

impl Plugin {
    /// The plugin in a `.wasm` file, a component or a core module that says its interfaces. It is known by
    /// the file's name without its ending.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, and as [`from_bytes`](Self::from_bytes).
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

    /// The plugin in `bytes`, to be known as `name`: what it keeps is found under this name again, whatever
    /// version of it runs then.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::Plugin`] if the bytes cannot be one. They are compiled when the worker
    /// starts, and refused then for everything else.
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

    /// What each attempt may use. Default: [`PluginLimits::default`].
    pub fn limits(mut self, limits: PluginLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets it do more than compute. Default: nothing.
    pub fn grant(mut self, grant: impl Into<Grant>) -> Self {
        self.grants.push(grant.into());
        self
    }

    /// A setting that it can ask for.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Keeps its compiled code in this directory, so that the next start loads it instead of compiling it again.
    /// Default: nowhere.
    ///
    /// The files hold native code, so the directory is created for its owner alone (mode 0700). It is not used if it belongs to another user
    /// than the one that the process runs as, if anybody else has permissions there, or if it is a symbolic link. A file in it is not used if
    /// it belongs to another user, if others can write it, or if it is not a regular file. In these cases a warning is logged and the plugin
    /// is compiled. On systems other than Unix nothing is kept, because permissions cannot be checked there. Files of old versions stay:
    /// remove them as you like.
    pub fn cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache = Some(directory.into());
        self
    }

    /// Uses an instance for up to `calls` attempts instead of a fresh one for each: some 20 times cheaper, and
    /// what a job leaves in the guest's memory is there for the next. So not for payloads of different
    /// tenants. Only an instance that has completed its job is used again. Default: 1, a fresh one for each.
    pub fn reuse(mut self, calls: u32) -> Self {
        self.reuse = if calls > 1 { calls } else { 0 };
        self
    }

    /// Gives what is no number (NaN) the same bits everywhere, so that its results do not depend on the processor: for results that
    /// are compared between machines. Computing with floating-point numbers is slower then. Default: bits as the processor has
    /// them, which are the same each time on one machine.
    ///
    /// ```no_run
    /// let price = millpond::Plugin::from_file("price.wasm")?.canonical_nan();
    /// # let _ = price;
    /// # Ok::<(), millpond::Error>(())
    /// ```
    pub fn canonical_nan(mut self) -> Self {
        self.nan = Nan::Canonical;
        // It is compiled otherwise.
        self.code = Arc::default();
        self
    }

    /// Finds the addresses of the hosts that it asks, in place of the system's resolver: for tests, or for one of your own. What it
    /// finds is held against the grants all the same. It may block: each call runs on a thread of its own, and at most 4 run at a time for
    /// this plugin and its clones, and 64 for all plugins of the process. Further requests wait within their own timeouts. Feature `wasm-http`.
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

    /// Looks at its file `every` so often while the worker runs, and takes the version that is there then: as
    /// [`PluginHandle::reload`], on a thread of its own. Default: never; only for one that is
    /// [from a file](Self::from_file).
    ///
    /// A file that has changed is read once it is found unchanged at the next look, so that half of one is not. One that is
    /// refused, or gone, leaves the version before in place and is told as
    /// [`Event::PluginNotReloaded`](crate::Event::PluginNotReloaded). Whoever can write the file decides what runs: the
    /// sandbox and the limits stay as they are.
    pub fn watch(mut self, every: Duration) -> Self {
        self.watch = Some(every);
        self
    }

    /// Accepts this version only: whatever else the file holds is refused when the worker starts, and also by
    /// [`watch`](Self::watch) and [`PluginHandle::reload`]. Default: any version.
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

    /// Checks and compiles it as a worker's start does, and says what it is; nothing is registered, and none of its code
    /// runs.
    ///
    /// # Errors
    /// [`Error::Plugin`] with the reason for which it would be refused.
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

/// Compiles a plugin and makes a handler of it.
pub(crate) fn load(kind: Arc<str>, plugin: Plugin, host: Arc<Host>) -> Result<Handling, Error> {
    let Ready { setting, version, sandbox } = prepare(plugin.clone()).map_err(|reason| plugin.refused(reason))?;
    Ok(handling(kind, Arc::new(Deployed::new(setting, version, host, sandbox))))
}

/// A plugin that nothing speaks against.
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

fn handling(kind: Arc<str>, deployed: Arc<Deployed>) -> Handling {
    let timeout_max = Some(deployed.limits.time);
    let plugin = Some(PluginHandle::new(deployed.clone()));
    let serving = Arc::new(Serving::new(deployed));
    let runnable = Runnable::foreign(move |payload, context| {
        Ok(Box::pin(attempt::run(&serving, payload.bytes.clone(), context.clone())))
    });
    Handling { kind, runnable, timeout_max, slow_polls: Default::default(), plugin }
}
