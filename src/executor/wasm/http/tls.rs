//! TLS that trusts the certificates of the operating system.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::address::literal;

/// The configuration that trusts the root certificates of the operating system. They are read once per process.
pub(super) fn system() -> Result<Arc<ClientConfig>, String> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        match roots.is_empty() {
            true => Err("this system has no root certificates: install the package ca-certificates".to_owned()),
            false => trusting(roots),
        }
    };
    SYSTEM.get_or_init(read).clone()
}

/// A configuration that trusts these root certificates.
pub(super) fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

pub(super) async fn connect(
    config: Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let name = match literal(host) {
        Some(address) => ServerName::from(address),
        None => ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?,
    };
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::super::asked::Asked;
    use super::super::exchange::{Answered, Sizes, exchange};
    use super::*;
    use crate::executor::wasm::contract::outbound_http::{Error, Request};

    const AUTHORITY: &[u8] = include_bytes!("../../../../tests/tls/authority.der");
    const SERVER: &[u8] = include_bytes!("../../../../tests/tls/server.der");
    const KEY: &[u8] = include_bytes!("../../../../tests/tls/server.key.der");

    fn authority() -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        roots.add(AUTHORITY.into()).unwrap();
        trusting(roots)
    }

    /// Runs a server for one request, sends the request to it, and returns the result.
    async fn asked(host: &str, trusted: fn() -> Result<Arc<ClientConfig>, String>) -> Result<Answered, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(KEY.into());
        let config = config.with_no_client_auth().with_single_cert(vec![SERVER.into()], key).unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
            let mut head = [0; 1024];
            if stream.read(&mut head).await.is_ok_and(|len| len > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsafe").await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let request = Request {
            method: "GET".into(),
            url: format!("https://{host}:{port}/"),
            headers: vec![],
            body: vec![],
            timeout: None,
        };
        let request = Asked::read(request, 1_000).unwrap();
        let sizes = Sizes { head_bytes: 8_192, body_bytes: 1_000 };
        let answered = exchange(&request, &[IpAddr::V4(Ipv4Addr::LOCALHOST)], sizes, trusted).await;
        serving.await.unwrap();
        answered
    }

    #[tokio::test]
    async fn a_request_is_sent_only_to_a_server_that_proves_to_be_the_host() {
        let answered = asked("api.test", authority).await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((answered.status.as_u16(), &answered.body[..]), (200, &b"safe"[..]));
        for (host, trusted) in [("other.test", authority as fn() -> _), ("127.0.0.1", authority), ("api.test", nobody)]
        {
            let refused = asked(host, trusted).await;
            assert!(matches!(refused, Err(Error::Connection(_))), "{host}");
        }
    }

    /// Trusts other certificates than the server's authority.
    fn nobody() -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        roots.add(SERVER.into()).unwrap();
        trusting(roots)
    }
}
