//! Connections to the process that serves the API.

use std::io;
use std::time::Duration;

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use millpond::dashboard::api::{Code, Problem};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::address::{Address, Place};
use super::request::Sent;
use super::tls::{self, Tls};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Connects, and is ready for one request.
pub(super) async fn connect(address: &Address, tls: Option<&Tls>) -> Result<SendRequest<Sent>, Problem> {
    let refused = |error: io::Error| {
        let help = tls::help(&error).unwrap_or("is the process running, and does it serve the dashboard there?");
        Problem::new(Code::Unavailable, format!("cannot connect to {address}: {error}; {help}"))
    };
    let connected = tokio::time::timeout(CONNECT_MAX, reach(&address.place, tls)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(refused)?;
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| refused(io::Error::other(error)))?;
    // It ends with the request, or with the answer's body.
    tokio::spawn(connection);
    Ok(sender)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn reach(place: &Place, tls: Option<&Tls>) -> io::Result<Box<dyn Stream>> {
    match place {
        Place::Tcp { name, port, .. } => {
            let stream = TcpStream::connect((&**name, *port)).await?;
            match tls {
                Some(tls) => Ok(Box::new(tls.connect(name, stream).await?)),
                None => Ok(Box::new(stream)),
            }
        }
        #[cfg(unix)]
        Place::Socket(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Place::Socket(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}
