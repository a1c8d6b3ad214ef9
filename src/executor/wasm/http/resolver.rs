use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::allow::literal;
use super::asked::Origin;

/// Finds the addresses of a name.
pub(in crate::executor::wasm) type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// All that the host is known under; a host that is an address is itself.
pub(super) async fn addresses(origin: &Origin, resolver: Option<&Resolver>) -> io::Result<Vec<IpAddr>> {
    if let Some(address) = literal(&origin.host) {
        return Ok(vec![address]);
    }
    let mut addresses = match resolver.cloned() {
        Some(resolver) => {
            let host = origin.host.clone();
            tokio::task::spawn_blocking(move || resolver(&host)).await.map_err(io::Error::other)??
        }
        None => {
            let found = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await?;
            found.map(|address| address.ip()).collect()
        }
    };
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}
