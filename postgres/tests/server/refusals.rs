//! What is refused by name, and what is made good.

use std::path::Path;

use millpond_postgres::{Error, Postgres};

use crate::jobs::{envelope, origin, send};
use crate::support::Server;

#[test]
fn an_address_and_options_that_are_not_valid_are_refused_before_anything_is_connected() {
    let start = |address: &str| Postgres::connect(address).start().map(drop);
    assert!(matches!(start("postgres://host:port/x"), Err(Error::InvalidAddress(_))));
    assert!(matches!(start("postgres://host/x?sslmode=require"), Err(Error::NoTls)));
    assert!(start("host=a,b user=me").is_ok());
    for name in ["", "A", "a.b", "a b", "a\"", "1a", "pg_mp", "é", &"a".repeat(64)] {
        let refused = Postgres::connect("host=a").schema(name).start().map(drop);
        assert!(matches!(refused, Err(Error::InvalidName { .. })), "{name}");
        assert!(Postgres::schema_sql(name, None).is_err(), "{name}");
    }
    for connect in [Postgres::connect("host=a").batch(0), Postgres::connect("host=a").batch(10_001)] {
        assert!(matches!(connect.start().map(drop), Err(Error::InvalidLimit { limit: "batch", .. })));
    }
    let refused = Postgres::connect("host=a").envelope_bytes(1_023).start().map(drop).unwrap_err();
    assert_eq!(refused.to_string(), "the limit `envelope_bytes` is 1023, and it can be 1024 to 134217728");
}

#[tokio::test]
async fn a_server_on_which_jobs_are_not_safe_is_refused() {
    let Some(server) = Server::start_with(&["fsync=off"]) else { return };
    let refused = server.engine().check().await.unwrap_err();
    assert!(matches!(&refused, Error::Misconfigured { setting, .. } if setting.contains("fsync")), "{refused}");
}

#[tokio::test]
async fn a_commit_is_synced_whatever_the_server_says() {
    let Some(server) = Server::start_with(&["synchronous_commit=off"]) else { return };
    let engine = server.engine();
    // A trigger tells with which setting a job was stored.
    engine.check().await.unwrap();
    server
        .run(
            "create table setting (value text); grant all on setting to public; \
             create function note() returns trigger language plpgsql as \
             'begin insert into public.setting select current_setting(''synchronous_commit''); return new; end'; \
             create trigger note before insert on millpond.entry for each row execute function note()",
        )
        .await;
    send(&engine, millpond_links::Mailbox::named("hub").unwrap(), &origin(1), &[envelope(0, "a")]).await;
    assert_eq!(server.number("select count(*) from setting where value = 'on'").await, 1);
}

#[tokio::test]
async fn a_standby_and_a_database_that_takes_no_writes_are_refused() {
    let Some(server) = Server::start_standby() else { return };
    let refused = server.engine().check().await.unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { why } if why.contains("standby")), "{refused}");
    let Some(server) = Server::start_with(&["default_transaction_read_only=on"]) else { return };
    let refused = server.engine().check().await.unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { why } if why.contains("default_transaction_read_only")), "{refused}");
}

#[tokio::test]
async fn a_database_with_another_encoding_is_refused() {
    let Some(server) = Server::start() else { return };
    server.run("create database postgres_latin encoding 'LATIN1' template template0").await;
    let engine = Postgres::connect(&format!("{}_latin", server.address())).start().unwrap();
    let refused = engine.check().await.unwrap_err();
    assert!(matches!(&refused, Error::Misconfigured { setting, .. } if setting.contains("LATIN1")), "{refused}");
}

#[tokio::test]
async fn a_schema_that_a_newer_build_has_made_is_refused() {
    let Some(server) = Server::start() else { return };
    let engine = server.connect().schema("mp_2").start().unwrap();
    engine.check().await.unwrap();
    server.run("insert into mp_2.version (version) values (2)").await;
    let refused = server.connect().schema("mp_2").start().unwrap().check().await.unwrap_err();
    assert!(matches!(&refused, Error::NewerSchema { schema, version: 2, known: 1 } if schema == "mp_2"), "{refused}");
    server.engine().check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_that_start_at_the_same_time_make_the_schema_once() {
    let Some(server) = Server::start() else { return };
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let engine = server.engine();
            tokio::spawn(async move { engine.check().await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    assert_eq!(server.number("select count(*) from millpond.version").await, 1);
}

#[tokio::test]
async fn a_role_needs_no_right_to_make_anything_if_an_administrator_has_made_the_schema() {
    let Some(server) = Server::start() else { return };
    server.run("create role \"the links\" login").await;
    let address = server.address_of("the%20links");
    let engine = Postgres::connect(&address).start().unwrap();
    let refused = engine.check().await.unwrap_err();
    assert!(matches!(&refused, Error::NoSchema { role, .. } if role == "the links"), "{refused}");
    server.run(&Postgres::schema_sql("millpond", Some("the links")).unwrap()).await;
    engine.check().await.unwrap();
    millpond_links::conformance::check(&engine).await;
    millpond_links::conformance::check_leases(&engine).await;
    engine.trim(&millpond_links::Mailbox::named("hub").unwrap(), 1).await.unwrap();
    engine.readers(&millpond_links::Mailbox::named("hub").unwrap()).await.unwrap();

    for (right, on, revoke) in [
        ("DELETE", "table millpond.job", "delete on millpond.job"),
        ("SELECT", "table millpond.version", "select on millpond.version"),
        ("USAGE", "schema millpond", "usage on schema millpond"),
    ] {
        server.run(&format!("revoke {revoke} from \"the links\"")).await;
        let refused = Postgres::connect(&address).start().unwrap().check().await.unwrap_err();
        let is_named = |error: &Error| matches!(error, Error::MissingRight { right: lacks, on: what, .. } if (*lacks, &**what) == (right, on));
        assert!(is_named(&refused), "{refused}");
        server.run(&format!("grant {revoke} to \"the links\"")).await;
    }
}

#[tokio::test]
async fn a_pooler_that_does_not_keep_sessions_is_refused() {
    let Some(server) = Server::start() else { return };
    if !Path::new("/usr/sbin/pgbouncer").exists() {
        println!("skipped: there is no PgBouncer here (apt install pgbouncer)");
        return;
    }
    let refused = {
        let pooler = server.pooler("transaction");
        Postgres::connect(&pooler.address).start().unwrap().check().await.unwrap_err()
    };
    assert!(matches!(refused, Error::Pooler), "{refused}");
    let pooler = server.pooler("session");
    Postgres::connect(&pooler.address).start().unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_connection_of_the_role_says_why() {
    let Some(server) = Server::start() else { return };
    let refused = Postgres::connect(&server.address_of("nobody")).start().unwrap().check().await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { code, .. } if code == "28000"), "{refused}");
    assert!(refused.to_string().contains("pg_hba.conf"), "{refused}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("postgres://postgres@127.0.0.1:{silent}/postgres");
    let refused = Postgres::connect(&address).start().unwrap().check().await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("refused")), "{refused}");
}
