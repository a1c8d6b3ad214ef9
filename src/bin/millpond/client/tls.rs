//! TLS: which certificates are trusted, and what can be done if one is not.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use millpond::dashboard::api::{Code, Problem};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};

/// The authorities whose certificates are trusted. They are read once, and not for each request.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Trusts the authorities of this file only, or without one those that the system trusts.
    pub fn trusting(ca_file: Option<&Path>) -> Result<Self, Problem> {
        let roots = match ca_file {
            Some(file) => of_file(file)?,
            None => of_system()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// Nothing is sent before the server has proved that it has this name.
    pub async fn connect(&self, name: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn of_file(file: &Path) -> Result<RootCertStore, Problem> {
    let refused = |why: &dyn fmt::Display| {
        let help = "give a file with the certificate of an authority in PEM";
        Problem::invalid(format!("cannot use the certificates of {}: {why}; {help}", file.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refused(&error))? {
        let added = roots.add(certificate.map_err(|error| refused(&error))?);
        added.map_err(|error| refused(&error))?;
    }
    if roots.is_empty() { Err(refused(&"it has none")) } else { Ok(roots) }
}

fn of_system() -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(Problem::new(
            Code::Unavailable,
            "this system has no certificates of authorities: install the package ca-certificates, or give `--ca-file`",
        )),
    }
}

/// What can be done about an error of TLS. `None` if it is none.
pub(super) fn help(error: &io::Error) -> Option<&'static str> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("if it is one of your own, give the certificate of its authority with `--ca-file`")
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("use a name in the address that the certificate has"),
        // webpki's own error, whose type is hidden.
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            Some("a server's certificate must not be an authority's: make it with `basicConstraints=critical,CA:FALSE`")
        }
        Error::InvalidCertificate(_) => Some("the server there needs another certificate"),
        Error::InvalidMessage(_) => {
            Some("does the server there speak TLS? Without TLS, the address begins with http://")
        }
        _ => Some("the server there has ended the handshake of TLS"),
    }
}
