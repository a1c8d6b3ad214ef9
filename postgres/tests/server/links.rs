//! Queues of two files, linked over a server that is killed, set back or refuses calls.

use std::time::Duration;

use millpond::{JobFilter, Millpond, NewJob};
use millpond_links::{Forward, Link, LinkState, Receive};
use millpond_links_testkit::{DeviceAndHub, SOON, hub, thumbnails, until};
use millpond_postgres::Postgres;

use crate::support::Server;

async fn enqueue(pond: &Millpond, text: &str) {
    pond.enqueue("readings", NewJob::raw("reading", text.to_owned())).await.unwrap();
}

/// The texts of the jobs in a queue, sorted.
fn texts(pond: &Millpond, queue: &str) -> Vec<String> {
    let page = pond.jobs(&JobFilter::new().queue(queue), None, 1_000).unwrap();
    let text = |job: &millpond::JobInfo| String::from_utf8_lossy(&job.payload.bytes).into_owned();
    let mut all: Vec<String> = page.jobs.iter().map(text).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_arrives_once_and_in_order_while_the_server_is_killed() {
    let Some(mut server) = Server::start() else { return };
    let mut linked = DeviceAndHub::over(&server.engine(), 50).await;
    let (count, kills) = (2_000, 10);
    let kill = async |readings, _: &Link| {
        let kill = readings / 20;
        if kill % (count / kills / 20) == 0 {
            match kill % 20 {
                0 => server.kill(),
                _ => server.stop_at_once(),
            }
            server.start_again();
        }
    };
    let [sender, _] = linked.each_once_and_in_order(count, kill).await;
    assert_eq!((sender.engine_went_back, sender.file_went_back), (0, 0));
    assert_eq!(server.number("select count(*) from millpond.entry").await, i64::from(count) + 1, "stored once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_arrives_once_and_in_order_when_a_synchronous_standby_takes_over() {
    let Some(mut primary) = Server::start() else { return };
    primary.stop_at_once();
    let mut standby = primary.standby();
    assert!(primary.restart_with("synchronous_standby_names=*"));
    standby.start_again();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let address = format!("postgres://postgres@{hosts}/postgres?target_session_attrs=read-write");
    let engine = Postgres::connect(&address).start().unwrap();
    engine.check().await.unwrap();

    let mut linked = DeviceAndHub::over(&engine, 10).await;
    let count = 1_000;
    let fail = async |readings, to_hub: &Link| {
        if readings == count / 2 {
            until(to_hub, |state| state.jobs > u64::from(count / 4)).await;
            primary.kill();
            standby.run("select pg_promote()").await;
        }
    };
    let [sender, receiver] = linked.each_once_and_in_order(count, fail).await;
    assert_eq!((sender.engine_went_back, receiver.engine_went_back), (0, 0), "nothing that was acknowledged is lost");
    assert_eq!(standby.number("select count(*) from millpond.entry").await, i64::from(count) + 1, "stored once");
}

#[tokio::test]
async fn what_an_older_data_directory_lacks_is_sent_again_and_a_receiver_that_was_ahead_misses_nothing() {
    let Some(mut server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| Millpond::open(dir.path().join(name)).unwrap();
    let (device, other, hub_pond) = (open("device.redb"), open("other.redb"), open("hub.redb"));
    let engine = server.engine();
    let to_hub = Forward::new(&device, "readings", &engine, hub()).start().await.unwrap();
    enqueue(&device, "1").await;
    until(&to_hub, |state| state.jobs == 1).await;
    server.stop_at_once();
    let older = server.copy_data();
    server.start_again();
    enqueue(&device, "2").await;
    until(&to_hub, |state| state.jobs == 2).await;
    let from_devices = Receive::new(&hub_pond, "readings", &engine, hub()).start().unwrap();
    until(&from_devices, |state| state.jobs == 2).await;
    from_devices.stop().await;
    server.kill();
    server.restore(&older);
    server.start_again();
    // Jobs of another device come first, at the place of those that are lost.
    let to_hub_too = Forward::new(&other, "readings", &engine, hub()).start().await.unwrap();
    enqueue(&other, "3").await;
    until(&to_hub_too, |state| state.jobs == 1).await;
    enqueue(&device, "4").await;
    let state = until(&to_hub, |state| state.jobs == 3).await;
    assert_eq!((state.engine_went_back, state.lost_batches, state.file_went_back), (1, 0, 0));
    let from_devices = Receive::new(&hub_pond, "readings", &engine, hub()).start().unwrap();
    until(&from_devices, |state| state.jobs == 2).await;
    assert_eq!(texts(&hub_pond, "readings"), ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_receiver_of_an_older_data_directory_says_so() {
    let Some(mut server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let hub_pond = Millpond::open(dir.path().join("hub.redb")).unwrap();
    let engine = server.engine();
    engine.check().await.unwrap();
    server.stop_at_once();
    let older = server.copy_data();
    server.start_again();
    let _to_hub = Forward::new(&device, "readings", &engine, hub()).start().await.unwrap();
    enqueue(&device, "1").await;
    let from_device = Receive::new(&hub_pond, "readings", &engine, hub()).start().unwrap();
    until(&from_device, |state| state.jobs == 1).await;
    server.kill();
    server.restore(&older);
    server.start_again();
    until(&from_device, |state| state.engine_went_back == 1).await;
    enqueue(&device, "2").await;
    until(&from_device, |state| state.jobs == 2).await;
    assert_eq!(texts(&hub_pond, "readings"), ["1", "2"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let Some(mut server) = Server::start() else { return };
    server.stop_at_once();
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let to_hub = Forward::new(&device, "readings", &server.engine(), hub()).start().await.unwrap();
    enqueue(&device, "1").await;
    until(&to_hub, |state| state.last_error.as_ref().is_some_and(|error| error.contains("does not answer"))).await;
    server.start_again();
    until(&to_hub, |state| state.jobs == 1).await;
}

#[tokio::test]
async fn rows_that_can_never_be_jobs_are_put_aside_and_the_rest_goes_on() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let hub_pond = Millpond::open(dir.path().join("hub.redb")).unwrap();
    let engine = server.engine();
    let to_hub = Forward::new(&device, "readings", &engine, hub()).start().await.unwrap();
    enqueue(&device, "good").await;
    until(&to_hub, |state| state.jobs == 1).await;
    let hostile = [
        r#""#,
        r#"{"#,
        r#"[1, 2]"#,
        r#"{"mp-v": 1}"#,
        r#"{"mp-v": "1"}"#,
        r#"{"mp-v": "1", "ce-type": "%FF", "ce-source": "a", "mp-batch": "1/0"}"#,
    ];
    for (partition, headers) in (0_i16..).zip(&hostile) {
        let insert = "with last as (update millpond.destination set last = last + 1 where name = 'hub' returning id, last) \
                      insert into millpond.entry select id, last, $1, $2, '\\x00ff' from last";
        server.client().await.execute(insert, &[&partition, headers]).await.unwrap();
    }
    let from_device = Receive::new(&hub_pond, "readings", &engine, hub()).start().unwrap();
    until(&from_device, |state| state.unreadable == hostile.len() as u64).await;
    enqueue(&device, "good too").await;
    until(&from_device, |state| state.jobs == 2).await;
    assert_eq!(texts(&hub_pond, "readings"), ["good", "good too"]);
    let aside = hub_pond.jobs(&JobFilter::new().queue("readings.unreadable"), None, 100).unwrap().jobs;
    assert_eq!(aside.len(), hostile.len());
    assert!(aside.iter().all(|job| job.payload.bytes[..] == [0, 255]), "their bytes are as they were");
}

#[tokio::test]
async fn while_the_server_refuses_to_store_jobs_they_wait_and_the_link_says_why() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    server.run("create role sender login").await;
    server.run(&millpond_postgres::Postgres::schema_sql("millpond", Some("sender")).unwrap()).await;
    let engine = millpond_postgres::Postgres::connect(&server.address_of("sender")).start().unwrap();
    let to_hub = Forward::new(&device, "readings", &engine, hub()).start().await.unwrap();
    enqueue(&device, "1").await;
    until(&to_hub, |state| state.jobs == 1).await;
    server.run("revoke insert on millpond.entry from sender").await;
    enqueue(&device, "2").await;
    let names =
        |state: &LinkState| state.last_error.as_ref().is_some_and(|error| error.contains("lacks the right INSERT"));
    until(&to_hub, names).await;
    server.run("grant insert on millpond.entry to sender").await;
    until(&to_hub, |state| state.jobs == 2).await;
    // A lock that somebody holds for long, and a limit of time: the call is cancelled.
    server.run("alter role sender set statement_timeout = '200ms'").await;
    server.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'sender'").await;
    let holder = server.client().await;
    holder.batch_execute("begin; lock table millpond.entry in exclusive mode").await.unwrap();
    enqueue(&device, "3").await;
    let names =
        |state: &LinkState| state.last_error.as_ref().is_some_and(|error| error.contains("`statement_timeout`"));
    until(&to_hub, names).await;
    holder.batch_execute("commit").await.unwrap();
    until(&to_hub, |state| state.jobs + state.known == 3).await;
    assert_eq!(server.number("select count(*) from millpond.entry").await, 3);
}

#[tokio::test]
async fn a_queue_is_forwarded_to_a_shared_queue() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let (engine, shared) = (server.engine(), thumbnails());
    let link = Forward::to_shared(&device, "readings", &engine, shared.clone()).start().await.unwrap();
    for text in ["1", "2"] {
        enqueue(&device, text).await;
    }
    let taken = crate::jobs::take(&engine, &shared, "one", 2, SOON).await;
    let texts: Vec<_> = taken.iter().map(|leased| &leased.envelope.payload[..]).collect();
    assert_eq!(texts, [b"1", b"2"]);
    link.stop().await;
}

#[tokio::test]
async fn a_job_that_is_larger_than_the_limit_is_a_dead_letter_of_the_sender_and_the_others_go() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let engine = server.connect().envelope_bytes(10_000).start().unwrap();
    device.enqueue("readings", NewJob::raw("reading", vec![0; 10_001])).await.unwrap();
    enqueue(&device, "small").await;
    let to_hub = Forward::new(&device, "readings", &engine, hub()).start().await.unwrap();
    until(&to_hub, |state| state.jobs == 1).await;
    let dead = async {
        while device.queue("readings").unwrap().counts().dead == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, dead).await.unwrap();
    assert_eq!(server.number("select count(*) from millpond.entry").await, 1);
}
