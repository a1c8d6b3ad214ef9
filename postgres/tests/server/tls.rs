//! TLS, with a certificate that is made here.

use std::process::{Command, Stdio};
use std::sync::Arc;

use millpond_postgres::rustls_crate::pki_types::CertificateDer;
use millpond_postgres::rustls_crate::pki_types::pem::PemObject;
use millpond_postgres::rustls_crate::{ClientConfig, RootCertStore};
use millpond_postgres::{Error, Postgres};

use crate::support::Server;

#[tokio::test]
async fn a_server_with_a_certificate_is_verified() {
    let Some(mut server) = Server::start() else { return };
    let (key, certificate) = (server.data().join("server.key"), server.data().join("server.crt"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost"]);
    make.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
    make.arg("-keyout").arg(&key).arg("-out").arg(&certificate).stdout(Stdio::null()).stderr(Stdio::null());
    if !make.status().is_ok_and(|status| status.success()) {
        println!("skipped: there is no openssl here");
        return;
    }
    server.own(&key);
    if !server.restart_with("ssl=on") {
        println!("skipped: this server was built without TLS");
        return;
    }
    let address = server.address().replace("127.0.0.1", "localhost") + "?sslmode=require";

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let provider = Arc::new(millpond_postgres::rustls_crate::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let engine = Postgres::connect(&address).rustls_with(config.clone()).start().unwrap();
    engine.check().await.unwrap();
    let encrypted = "select count(*) from pg_stat_ssl s join pg_stat_activity a using (pid) where s.ssl and a.application_name = 'millpond'";
    assert!(server.number(encrypted).await > 0);

    // The system does not know this certificate, and it has no other name than `localhost`.
    match Postgres::connect(&address).rustls().start() {
        Ok(engine) => assert!(matches!(engine.check().await, Err(Error::Unavailable(_)))),
        Err(error) => assert!(matches!(error, Error::Certificates(_)), "{error}"),
    }
    let elsewhere = address.replace("localhost", "127.0.0.1");
    let refused = Postgres::connect(&elsewhere).rustls_with(config).start().unwrap().check().await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
}
