//! The program asks a process over TLS: a server of this test, in front of a dashboard.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millpond::dashboard::{Listen, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::pond::{Pond, stocked};
use crate::tool::{Said, millpond, say, write};

const AUTHORITY: &[u8] = include_bytes!("../tls/authority.der");
const SERVER: &[u8] = include_bytes!("../tls/server.der");
const KEY: &[u8] = include_bytes!("../tls/server.key.der");
const SELF_SIGNED: &[u8] = include_bytes!("../tls/self_signed.der");
const SELF_SIGNED_KEY: &[u8] = include_bytes!("../tls/self_signed.key.der");

const ANY_PORT: &str = "127.0.0.1:0";
const TOKEN: &str = "a token that is long enough to be one";

/// A server with TLS for `localhost`.
struct Front {
    port: u16,
    /// How many handshakes have succeeded.
    trusted: Arc<AtomicUsize>,
    folder: TempDir,
    _runtime: Runtime,
}

impl Front {
    /// Gives each connection to `answer`.
    fn of<F: Future<Output = ()> + Send + 'static>(
        answer: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
    ) -> Self {
        Self::with(SERVER, KEY, answer)
    }

    fn with<F: Future<Output = ()> + Send + 'static>(
        certificate: &'static [u8],
        key: &'static [u8],
        answer: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
    ) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.into()], PrivateKeyDer::Pkcs8(key.into())).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let trusted = Arc::new(AtomicUsize::new(0));
        let succeeded = trusted.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    succeeded.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(answer(stream));
                }
            }
        });
        Self { port, trusted, folder: TempDir::new().unwrap(), _runtime: runtime }
    }

    /// Passes everything on to this address.
    fn before(address: SocketAddr) -> Self {
        Self::of(move |mut stream| async move {
            let mut behind = TcpStream::connect(address).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut behind).await;
        })
    }

    /// A file that has this certificate.
    fn pem(&self, name: &str, certificate: &[u8]) -> PathBuf {
        let text = STANDARD.encode(certificate);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        write(self.folder.path(), name, pem.as_bytes())
    }

    /// The program asks the server under this name. The system trusts another certificate than that of the authority.
    fn asked_as(&self, host: &str) -> Command {
        let url = format!("https://{host}:{}", self.port);
        let mut command = millpond(&["jobs", "--count", "--token", TOKEN, "--url", &url]);
        command.env("SSL_CERT_FILE", self.pem("other.pem", SERVER)).env_remove("SSL_CERT_DIR");
        command
    }

    fn asked(&self) -> Command {
        self.asked_as("localhost")
    }

    fn authority(&self) -> PathBuf {
        self.pem("authority.pem", AUTHORITY)
    }
}

/// A queue with eight jobs, whose dashboard wants a token, and a server with TLS in front of it.
fn served() -> (Pond, Front) {
    let mut pond = stocked();
    let listen = Listen::Tcp(ANY_PORT.parse().unwrap());
    let address = pond.serve(Options::new().token(TOKEN), listen).address().unwrap();
    (pond, Front::before(address))
}

#[track_caller]
fn is_refused(said: &Said, code: i32, says: &str) {
    assert!(said.code == Some(code) && said.err.contains(says), "{said:?}");
}

#[test]
fn an_authority_is_trusted_if_the_system_or_the_argument_names_it() {
    let (_pond, front) = served();
    for command in
        [front.asked().arg("--ca-file").arg(front.authority()), front.asked().env("SSL_CERT_FILE", front.authority())]
    {
        let said = say(command);
        assert_eq!((said.code, said.out.as_str()), (Some(0), "8\n"), "{said:?}");
    }
    assert_eq!(front.trusted.load(Ordering::Relaxed), 2);
}

#[test]
fn a_server_that_is_not_trusted_gets_no_request() {
    let (_pond, front) = served();
    is_refused(&say(&mut front.asked()), 5, "give the certificate of its authority with `--ca-file`");
    let command = &mut front.asked_as("127.0.0.1");
    is_refused(
        &say(command.arg("--ca-file").arg(front.authority())),
        5,
        "a name in the address that the certificate has",
    );
    // The authorities of the file are trusted in place of those of the system.
    let command = &mut front.asked();
    command.env("SSL_CERT_FILE", front.authority());
    is_refused(&say(command.arg("--ca-file").arg(front.pem("other.pem", SERVER))), 5, "`--ca-file`");
    assert_eq!(front.trusted.load(Ordering::Relaxed), 0);
}

#[test]
fn a_certificate_that_is_its_own_authority_is_refused_with_a_way_to_make_another() {
    let front = Front::with(SELF_SIGNED, SELF_SIGNED_KEY, |_| async {});
    let said = say(front.asked().arg("--ca-file").arg(front.pem("self.pem", SELF_SIGNED)));
    is_refused(&said, 5, "`basicConstraints=critical,CA:FALSE`");
}

#[test]
fn a_file_without_certificates_is_told() {
    let (_pond, front) = served();
    let text = write(front.folder.path(), "text.pem", b"no certificate");
    let damaged = front.pem("damaged.pem", &[0x30, 0]);
    for file in [Path::new("/no/such.pem"), &text, &damaged] {
        let said = say(front.asked().arg("--ca-file").arg(file));
        is_refused(&said, 2, "the certificate of an authority in PEM");
        assert!(said.err.contains(file.to_str().unwrap()), "{said:?}");
    }
}

#[test]
fn tls_and_its_absence_are_not_confused() {
    let mut pond = stocked();
    let plain = pond.serve(Options::new(), Listen::Tcp(ANY_PORT.parse().unwrap())).address().unwrap();
    let front = Front::before(plain);
    let said = say(&mut millpond(&["stats", "--url", &format!("http://localhost:{}", front.port)]));
    is_refused(&said, 5, "https://");
    let url = format!("https://localhost:{}", plain.port());
    is_refused(&say(millpond(&["stats", "--url", &url, "--ca-file"]).arg(front.authority())), 5, "begins with http://");
    let url = format!("http://{plain}");
    is_refused(
        &say(millpond(&["stats", "--url", &url, "--ca-file"]).arg(front.authority())),
        2,
        "must begin with https://",
    );
    let file = pond.file();
    is_refused(&say(millpond(&["stats", "--file", &file, "--ca-file"]).arg(front.authority())), 2, "--ca-file");
}

#[test]
fn a_token_is_not_sent_to_where_a_server_redirects() {
    let elsewhere = TcpListener::bind(ANY_PORT).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let address = elsewhere.local_addr().unwrap();
    let front = Front::of(move |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(String::from_utf8(head).unwrap().contains(TOKEN));
        let answer =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{address}/\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let said = say(front.asked().arg("--ca-file").arg(front.authority()));
    is_refused(&said, 1, "307");
    assert_eq!(front.trusted.load(Ordering::Relaxed), 1);
    let nobody = elsewhere.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}
