//! Connections to the process that serves the API.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use millpond::dashboard::api::{Code, Problem};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::{Address, Place};
use super::request::Sent;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Connects, and is ready for one request.
pub(super) async fn connect(address: &Address) -> Result<SendRequest<Sent>, Problem> {
    let refused = |error: io::Error| {
        let help = "is the process running, and does it serve the dashboard there?";
        Problem::new(Code::Unavailable, format!("cannot connect to {address}: {error}; {help}"))
    };
    let connected = tokio::time::timeout(CONNECT_MAX, reach(&address.place)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(refused)?;
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| refused(io::Error::other(error)))?;
    // It ends with the request, or with the answer's body.
    tokio::spawn(connection);
    Ok(sender)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn reach(place: &Place) -> io::Result<Box<dyn Stream>> {
    match place {
        Place::Tcp { name, port, is_tls: false } => Ok(Box::new(TcpStream::connect((&**name, *port)).await?)),
        Place::Tcp { name, port, is_tls: true } => {
            let stream = TcpStream::connect((&**name, *port)).await?;
            let name = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
            Ok(Box::new(TlsConnector::from(tls()?).connect(name, stream).await?))
        }
        #[cfg(unix)]
        Place::Socket(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Place::Socket(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// TLS with the certificates that the system trusts.
fn tls() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth()))
}
