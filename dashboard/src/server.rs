//! A server for the dashboard alone.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::options::{Access, Options};
use crate::router::router;
use crate::safety::Peer;
use crate::source::Source;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// At an address. Port 0 is a free one.
    Tcp(SocketAddr),
    /// At a Unix socket, which only the user of this process may use. A socket that is left over from a process that has
    /// ended is replaced.
    Unix(PathBuf),
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// Why a server has not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The address can be reached from other machines, and the dashboard has no token.
    Public(SocketAddr),
    /// Another process answers at this Unix socket.
    InUse(PathBuf),
    /// The operating system has refused it.
    Io(Listen, io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(address) => write!(
                f,
                "{address} can be reached from other machines: give the dashboard a token with `Options::token`, or listen \
                 at 127.0.0.1"
            ),
            Self::InUse(path) => write!(f, "another process answers at {}", path.display()),
            Self::Io(Listen::Tcp(address), error) => write!(f, "cannot listen at {address}: {error}"),
            Self::Io(Listen::Unix(path), error) => write!(f, "cannot listen at {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Serves the dashboard of a source.
///
/// # Errors
/// [`ServeError`]: the address is public and there is no token, or the operating system refuses it.
pub async fn serve(source: Arc<dyn Source>, options: Options, listen: impl Into<Listen>) -> Result<Server, ServeError> {
    match listen.into() {
        Listen::Tcp(address) => serve_tcp(source, options, address).await,
        #[cfg(unix)]
        Listen::Unix(path) => unix::serve(source, options, path).await,
        #[cfg(not(unix))]
        Listen::Unix(path) => Err(ServeError::Io(Listen::Unix(path), io::Error::from(io::ErrorKind::Unsupported))),
    }
}

async fn serve_tcp(source: Arc<dyn Source>, options: Options, address: SocketAddr) -> Result<Server, ServeError> {
    let is_guarded = matches!(options.access, Access::Token(_));
    if !address.ip().to_canonical().is_loopback() && !is_guarded {
        return Err(ServeError::Public(address));
    }
    let failed = |error| ServeError::Io(Listen::Tcp(address), error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let service = router(source, options).into_make_service_with_connect_info::<Peer>();
    let task = tokio::spawn(async move { until_stopped(axum::serve(listener, service), stopped).await });
    tracing::info!(target: "millpond", %address, "the dashboard listens");
    Ok(Server { address: Some(address), socket: None, stop: Some(stop), task })
}

/// Connections of live updates never end by themselves, so what is still open is closed.
async fn until_stopped<F>(serving: F, stopped: oneshot::Receiver<()>)
where
    F: IntoFuture<Output = io::Result<()>>,
{
    tokio::select! {
        ended = serving.into_future() => {
            if let Err(error) = ended {
                tracing::error!(target: "millpond", %error, "the dashboard's server has ended");
            }
        }
        _ = stopped => {}
    }
}

impl Server {
    /// The address, if it listens at one; with the port that was free, if port 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops it. Requests that are being answered are cut off.
    pub async fn stop(mut self) {
        self.end();
        let _ = (&mut self.task).await;
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(socket) = self.socket.take() {
            let _ = std::fs::remove_file(socket);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self::Address(*stream.remote_addr())
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    impl Connected<IncomingStream<'_, UnixListener>> for Peer {
        fn connect_info(_: IncomingStream<'_, UnixListener>) -> Self {
            Self::Socket
        }
    }

    pub(super) async fn serve(source: Arc<dyn Source>, options: Options, path: PathBuf) -> Result<Server, ServeError> {
        if UnixStream::connect(&path).await.is_ok() {
            return Err(ServeError::InUse(path));
        }
        let listener = bind(&path).map_err(|error| ServeError::Io(Listen::Unix(path.clone()), error))?;
        let (stop, stopped) = oneshot::channel();
        let routes: Router = router(source, options);
        let service = routes.into_make_service_with_connect_info::<Peer>();
        let task = tokio::spawn(async move { until_stopped(axum::serve(listener, service), stopped).await });
        tracing::info!(target: "millpond", path = %path.display(), "the dashboard listens");
        Ok(Server { address: None, socket: Some(path), stop: Some(stop), task })
    }

    /// The socket has its permissions before it has its name.
    fn bind(path: &Path) -> io::Result<UnixListener> {
        let mut made = path.as_os_str().to_owned();
        made.push(".new");
        let made = PathBuf::from(made);
        let _ = std::fs::remove_file(&made);
        let listener = UnixListener::bind(&made)?;
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    }
}
