//! Looks up the addresses of names on threads of its own.
//!
//! A lookup cannot be stopped, and can take much longer than the request that asked for it. So each lookup holds a
//! permit until it has ended. A plugin whose lookups hang uses up its own permits, but neither the blocking threads of
//! the application's runtime nor the permits of other plugins.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::address::literal;
use super::asked::Origin;
use crate::sync::thread;

/// Concurrent lookups of one plugin, each on a thread of its own. A request that gets no permit waits for one within
/// its own timeout.
const LOOKUPS_OF_A_PLUGIN_MAX: usize = 4;

/// Concurrent lookups of all plugins in the process. 15 plugins whose lookups hang leave permits for others.
const LOOKUPS_MAX: usize = 64;

/// How many addresses of one name are used.
const ADDRESSES_MAX: usize = 16;

static PERMITS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LOOKUPS_MAX)));

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Finds the addresses of the names that a plugin asks for. Clones share their permits.
#[derive(Clone)]
pub(in crate::executor::wasm) struct Resolver {
    permits: Arc<Semaphore>,
    /// Used instead of the system's resolver.
    look_up: Option<Arc<LookUp>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(LOOKUPS_OF_A_PLUGIN_MAX)), look_up: None }
    }
}

impl Resolver {
    /// Uses this function, which is allowed to block, instead of the system's resolver.
    pub fn by(self, look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { look_up: Some(Arc::new(look_up)), ..self }
    }

    /// The addresses of a host, at most [`ADDRESSES_MAX`]. If the host is an address, it is the only one.
    pub(super) async fn addresses(&self, origin: &Origin) -> io::Result<Vec<IpAddr>> {
        if let Some(address) = literal(&origin.host) {
            return Ok(vec![address]);
        }
        // The plugin's own permit first: a request that waits for it must not hold one of the process.
        let permits = (permit(&self.permits).await?, permit(&PERMITS).await?);
        let (host, port, look_up) = (origin.host.clone(), origin.port, self.look_up.clone());
        let (done, found) = oneshot::channel();
        let started = thread::Builder::new().name("millpond-lookup".into()).spawn(move || {
            let found = match look_up {
                Some(look_up) => look_up(&host),
                None => (host.as_str(), port).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect()),
            };
            drop(permits);
            // Fails if the request has given up.
            let _ = done.send(found);
        });
        started?;
        let mut addresses = found.await.map_err(|_| io::Error::other("the resolver panicked"))??;
        addresses.truncate(ADDRESSES_MAX);
        Ok(addresses)
    }
}

async fn permit(permits: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    permits.clone().acquire_owned().await.map_err(io::Error::other)
}
