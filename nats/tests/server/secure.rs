//! TLS and credentials.

use millpond::{Millpond, NewJob};
use millpond_links::{Forward, Mailbox};
use millpond_links_testkit::until;
use millpond_nats::JetStream;
use millpond_nats::async_nats::ConnectOptions;

use crate::support::Server;

#[tokio::test]
async fn a_link_goes_over_tls_with_a_password_and_not_without() {
    let dir = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("server.pem"), dir.path().join("server.key"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let setting = format!(
        "authorization {{ user: device, password: secret }}\ntls {{ cert_file: {:?}, key_file: {:?} }}",
        certificate.display().to_string(),
        key.display().to_string()
    );
    let Some(server) = Server::start_with(&setting) else { return };
    let address = format!("tls://127.0.0.1:{}", server.port());
    let with = |password: &str| {
        let options = ConnectOptions::new().user_and_password("device".into(), password.into());
        options.require_tls(true).add_root_certificates(certificate.clone())
    };
    let pond = Millpond::open(dir.path().join("device.redb")).unwrap();
    let log = JetStream::connect(&address).options(with("secret")).start().await.unwrap();
    let link = Forward::new(&pond, "readings", &log, Mailbox::named("hub").unwrap()).start().await.unwrap();
    pond.enqueue("readings", NewJob::raw("reading", "1")).await.unwrap();
    until(&link, |state| state.jobs == 1).await;

    // Another password, or a certificate that nobody knows, is no connection.
    let unknown = ConnectOptions::new().user_and_password("device".into(), "secret".into()).require_tls(true);
    for (queue, options) in [("first", with("guess")), ("second", unknown)] {
        let log = JetStream::connect(&address).options(options).start().await.unwrap();
        let link = Forward::new(&pond, queue, &log, Mailbox::named("hub").unwrap()).start().await.unwrap();
        pond.enqueue(queue, NewJob::raw("reading", "2")).await.unwrap();
        let told = until(&link, |state| state.last_error.is_some()).await;
        assert_eq!((told.connected, told.jobs), (false, 0), "{told:?}");
    }
}
