//! Sends one request over a connection of its own, and reads the response within its limits.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::Uri;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;

use super::asked::{Asked, HEADERS_MAX, Scheme};
use super::tls;
use crate::executor::wasm::contract::outbound_http::Error;
use crate::sync::timeout;

/// The longest wait for a connection to one address. After it the next address is tried.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// The limits of a response in bytes.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub head_bytes: usize,
    pub body_bytes: usize,
}

/// A response that was read completely.
pub(super) struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Sends a request to the first of `addresses` that accepts a connection. `tls` is called only for `https`.
pub(super) async fn exchange(
    asked: &Asked,
    addresses: &[IpAddr],
    sizes: Sizes,
    tls: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
) -> Result<Answered, Error> {
    let stream = connect(addresses, asked.origin.port).await?;
    match asked.origin.scheme {
        Scheme::Http => ask(asked, stream, sizes).await,
        Scheme::Https => {
            let config = tls().map_err(Error::Connection)?;
            let stream = tls::connect(config, &asked.origin.host, stream).await.map_err(Error::Connection)?;
            ask(asked, stream, sizes).await
        }
    }
}

async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Error> {
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match timeout(CONNECT_TIME, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "the host does not accept the connection in time".to_owned(),
        }
    }
    Err(Error::Connection(why))
}

async fn ask<S>(asked: &Asked, stream: S, sizes: Sizes) -> Result<Answered, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut client = http1::Builder::new();
    client.max_headers(HEADERS_MAX).max_buf_size(sizes.head_bytes);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asking = async {
        let response = sender.send_request(request(asked)?).await.map_err(broken)?;
        read(response, sizes).await
    };
    beside(connection, asking).await
}

fn request(asked: &Asked) -> Result<Request<Full<Bytes>>, Error> {
    let invalid = |error: hyper::http::Error| Error::InvalidRequest(error.to_string());
    let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().path_and_query(path).build().map_err(invalid)?;
    let host = asked.uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host).map_err(|error| Error::InvalidRequest(error.to_string()))?;
    let body = Full::new(asked.body.clone());
    let mut request = Request::builder().method(asked.method.clone()).uri(uri).body(body).map_err(invalid)?;
    *request.headers_mut() = asked.headers.clone();
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

async fn read(response: Response<Incoming>, sizes: Sizes) -> Result<Answered, Error> {
    let (head, mut body) = response.into_parts();
    // The limit of hyper's buffer does not stop headers that arrive in one piece.
    let head_bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head_bytes > sizes.head_bytes || body.size_hint().lower() > sizes.body_bytes as u64 {
        return Err(Error::ResponseTooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.len() > sizes.body_bytes {
            return Err(Error::ResponseTooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Answered { status: head.status, headers: head.headers, body: bytes.into() })
}

fn broken(error: hyper::Error) -> Error {
    match error.is_parse_too_large() {
        true => Error::ResponseTooLarge,
        false => Error::Connection(error.to_string()),
    }
}

/// Drives a connection while a request uses it. Both are dropped with the attempt.
async fn beside<T>(connection: impl Future, asking: impl Future<Output = T>) -> T {
    let (mut connection, mut asking) = (pin!(connection), pin!(asking));
    let mut is_over = false;
    poll_fn(|context| {
        is_over = is_over || connection.as_mut().poll(context).is_ready();
        asking.as_mut().poll(context)
    })
    .await
}
