//! Versions of the schema, over a real server.

use super::*;

#[path = "../../tests/server/support.rs"]
mod support;

const NEXT: &str = "alter table SCHEMA.entry add column note text;";

#[tokio::test]
async fn each_version_is_made_once_of_the_one_before() {
    let Some(server) = support::Server::start() else { return };
    let mut client = server.client().await;
    migrate(&mut client, "mp", "postgres", STEPS).await.unwrap();
    let next = [STEPS, &[NEXT]].concat();
    for _ in 0..2 {
        migrate(&mut client, "mp", "postgres", &next).await.unwrap();
    }
    assert_eq!(server.number("select count(note) + (select max(version) from mp.version) from mp.entry").await, 2);
    let refused = migrate(&mut client, "mp", "postgres", STEPS).await.unwrap_err();
    assert!(matches!(refused, Error::NewerSchema { version: 2, known: 1, .. }), "{refused}");
}

#[tokio::test]
async fn a_version_that_cannot_be_made_leaves_the_one_before() {
    let Some(server) = support::Server::start() else { return };
    let mut client = server.client().await;
    let bad = [STEPS, &["create table SCHEMA.more (id int); select nothing"]].concat();
    let refused = migrate(&mut client, "mp", "postgres", &bad).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { code, .. } if code == "42703"), "{refused}");
    assert_eq!(server.number("select count(*) from pg_namespace where nspname = 'mp'").await, 0, "all or nothing");
    migrate(&mut client, "mp", "postgres", STEPS).await.unwrap();
    assert!(migrate(&mut client, "mp", "postgres", &bad).await.is_err());
    assert_eq!(server.number("select max(version)::bigint from mp.version").await, 1);
    migrate(&mut client, "mp", "postgres", STEPS).await.unwrap();
}
