//! A server for the dashboard alone.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::options::{Access, Options};
use crate::router::routes;
use crate::safety::Peer;
use crate::site::Site;
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

/// How long a stopped server waits for the requests that are being answered.
const STOP_TIME: Duration = Duration::from_secs(5);

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    #[cfg(unix)]
    socket: Option<unix::Socket>,
    stop: watch::Sender<bool>,
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
    tracing::info!(target: "millpond", %address, "the dashboard listens");
    let mut server = Server::start(listener, source, options);
    server.address = Some(address);
    Ok(server)
}

impl Server {
    /// Serves at this listener. Live updates end with the server.
    fn start<L>(listener: L, source: Arc<dyn Source>, options: Options) -> Self
    where
        L: Listener<Addr: fmt::Debug>,
        Peer: for<'a> Connected<IncomingStream<'a, L>>,
    {
        let (stop, stopping) = watch::channel(false);
        let site = Arc::new(Site::new(source, options, Some(stopping)));
        let stopping = site.stopping();
        let service = routes(site).into_make_service_with_connect_info::<Peer>();
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopping).await {
                tracing::error!(target: "millpond", %error, "the dashboard's server has ended");
            }
        });
        Self {
            address: None,
            #[cfg(unix)]
            socket: None,
            stop,
            task,
        }
    }

    /// The address, if it listens at one; with the port that was free, if port 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops it: no more requests are accepted, live updates end, and requests that are being answered have five seconds.
    pub async fn stop(mut self) {
        self.end();
        if tokio::time::timeout(STOP_TIME, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        #[cfg(unix)]
        drop(self.socket.take());
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
    use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
    use std::path::Path;

    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    impl Connected<IncomingStream<'_, UnixListener>> for Peer {
        fn connect_info(_: IncomingStream<'_, UnixListener>) -> Self {
            Self::Socket
        }
    }

    pub(super) async fn serve(source: Arc<dyn Source>, options: Options, path: PathBuf) -> Result<Server, ServeError> {
        let failed = |error| ServeError::Io(Listen::Unix(path.clone()), error);
        match UnixStream::connect(&path).await {
            Ok(_) => return Err(ServeError::InUse(path)),
            // Nobody answers at it: it is left over.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket")));
        }
        let listener = bind(&path).map_err(failed)?;
        let socket = Socket::at(path.clone()).map_err(failed)?;
        tracing::info!(target: "millpond", path = %path.display(), "the dashboard listens");
        let mut server = Server::start(listener, source, options);
        server.socket = Some(socket);
        Ok(server)
    }

    /// A socket in the file system, which is removed with this value, unless another one has taken its place.
    #[derive(Debug)]
    pub(super) struct Socket {
        path: PathBuf,
        inode: u64,
    }

    impl Socket {
        fn at(path: PathBuf) -> io::Result<Self> {
            let inode = std::fs::symlink_metadata(&path)?.ino();
            Ok(Self { path, inode })
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }

    /// The socket is made in a folder that only this user can enter, and is moved when it has its permissions.
    fn bind(path: &Path) -> io::Result<UnixListener> {
        let mut folder = path.as_os_str().to_owned();
        folder.push(format!(".{}", std::process::id()));
        let folder = PathBuf::from(folder);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let made = folder.join("socket");
        let bound = UnixListener::bind(&made).and_then(|listener| {
            std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
            std::fs::rename(&made, path)?;
            Ok(listener)
        });
        let _ = std::fs::remove_file(&made);
        let _ = std::fs::remove_dir(&folder);
        bound
    }
}
