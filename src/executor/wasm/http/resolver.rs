//! Addresses of names, looked up on threads of our own.
//!
//! A look-up cannot be stopped: whoever asked for it may have gone long before the system gives up. So it holds its
//! place until it has ended, and a plugin that asks for names which nobody answers for has its few places taken, and
//! no others: not the threads of the application's runtime, and not those of other plugins.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::allow::literal;
use super::asked::Origin;
use crate::sync::thread;

/// Look-ups of one plugin at a time, each on a thread: an attempt that finds no place waits for one, for as long as its
/// request may take.
const LOOKUPS_OF_A_PLUGIN_MAX: usize = 4;

/// Look-ups of all plugins of the process at a time: 16 plugins whose look-ups hang are not in each other's way.
const LOOKUPS_MAX: usize = 64;

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LOOKUPS_MAX)));

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Finds the addresses of the names that a plugin asks for. Clones have their places in common.
#[derive(Clone)]
pub(in crate::executor::wasm) struct Resolver {
    places: Arc<Semaphore>,
    /// In place of the system's.
    look_up: Option<Arc<LookUp>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS_OF_A_PLUGIN_MAX)), look_up: None }
    }
}

impl Resolver {
    /// Looks names up by this function, which may block.
    pub fn by(self, look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { look_up: Some(Arc::new(look_up)), ..self }
    }

    /// All that the host is known under; a host that is an address is itself.
    pub(super) async fn addresses(&self, origin: &Origin) -> io::Result<Vec<IpAddr>> {
        if let Some(address) = literal(&origin.host) {
            return Ok(vec![address]);
        }
        // Its own first: those who wait for one take no place of others.
        let places = (place(&self.places).await?, place(&PLACES).await?);
        let (host, port, look_up) = (origin.host.clone(), origin.port, self.look_up.clone());
        let (done, found) = oneshot::channel();
        let started = thread::Builder::new().name("millpond-lookup".into()).spawn(move || {
            let found = match look_up {
                Some(look_up) => look_up(&host),
                None => (host.as_str(), port).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect()),
            };
            drop(places);
            // Whoever asked may have gone.
            let _ = done.send(found);
        });
        started?;
        let mut addresses = found.await.map_err(|_| io::Error::other("the resolver panicked"))??;
        addresses.truncate(ADDRESSES_MAX);
        Ok(addresses)
    }
}

async fn place(places: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    places.clone().acquire_owned().await.map_err(io::Error::other)
}
