//! Mailboxes.

use millpond::{Millpond, NewJob};
use millpond_links::{Forward, Link, Receive, conformance};
use millpond_links_testkit::{Arrivals, DeviceAndHub, hub, readings, until};
use millpond_nats::async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use millpond_nats::{Error, JetStream, async_nats};

use crate::support::Server;

/// A stream on which links can rely.
fn good(name: &str) -> Config {
    Config {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        discard: DiscardPolicy::New,
        allow_atomic_publish: true,
        allow_rollup: true,
        ..Config::default()
    }
}

#[tokio::test]
async fn jetstream_is_a_log_on_which_links_can_rely() {
    let Some(server) = Server::start() else { return };
    let log = JetStream::connect(&server.address()).stream("MP").start().await.unwrap();
    log.check().await.unwrap();
    conformance::check(&log).await;
    conformance::check_leases(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_arrives_once_and_in_order_while_the_server_is_killed() {
    let Some(mut server) = Server::start() else { return };
    let log = JetStream::connect(&server.address()).start().await.unwrap();
    let mut linked = DeviceAndHub::over(&log, 50).await;
    let (count, kills) = (2_000, 6);
    let kill = async |readings, _: &Link| {
        if readings % (count / kills / 20 * 20) == 0 {
            server.kill();
            server.start_again();
        }
    };
    let [sender, _] = linked.each_once_and_in_order(count, kill).await;
    assert_eq!((sender.engine_went_back, sender.file_went_back), (0, 0));
}

#[tokio::test]
async fn an_older_store_directory_is_noticed_and_what_it_lacks_is_sent_again() {
    let Some(mut server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let hub_pond = Millpond::open(dir.path().join("hub.redb")).unwrap();
    let log = JetStream::connect(&server.address()).start().await.unwrap();
    let to_hub = Forward::new(&device, "readings", &log, hub()).start().await.unwrap();
    device.enqueue("readings", NewJob::raw("reading", "1")).await.unwrap();
    until(&to_hub, |state| state.jobs == 1).await;
    server.kill();
    let older = server.copy_store();
    server.start_again();
    device.enqueue("readings", NewJob::raw("reading", "2")).await.unwrap();
    until(&to_hub, |state| state.jobs == 2).await;
    server.kill();
    server.restore(&older);
    server.start_again();
    device.enqueue("readings", NewJob::raw("reading", "3")).await.unwrap();
    let state = until(&to_hub, |state| state.jobs == 3).await;
    assert_eq!((state.engine_went_back, state.lost_batches), (1, 0));
    let from_device = Receive::new(&hub_pond, "readings", &log, hub()).start().unwrap();
    until(&from_device, |state| state.jobs == 3).await;
    assert_eq!(hub_pond.queue("readings").unwrap().counts().enqueued_total, 3);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let log = JetStream::connect(&server.address()).start().await.unwrap();
    let to_hub = Forward::new(&device, "readings", &log, hub()).start().await.unwrap();
    device.enqueue("readings", NewJob::raw("reading", "1")).await.unwrap();
    server.start_again();
    until(&to_hub, |state| state.jobs == 1).await;
}

#[tokio::test]
async fn a_stream_that_would_lose_jobs_is_refused_by_the_name_of_its_setting() {
    let Some(server) = Server::start() else { return };
    let client = async_nats::connect(server.address()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let bad = [
        ("retention", Config { retention: RetentionPolicy::WorkQueue, ..good("work") }),
        ("discard", Config { discard: DiscardPolicy::Old, max_messages: 10, ..good("old") }),
        ("memory", Config { storage: StorageType::Memory, ..good("ram") }),
        ("atomic", Config { allow_atomic_publish: false, ..good("single") }),
        ("roll-ups", Config { allow_rollup: false, ..good("flat") }),
        ("subjects", Config { subjects: vec!["elsewhere.>".into()], ..good("far") }),
    ];
    for (word, config) in bad {
        let name = config.name.clone();
        context.create_stream(config).await.unwrap();
        let log = JetStream::connect(&server.address()).stream(&name).start().await.unwrap();
        match log.check().await {
            Err(Error::Misconfigured { stream, setting, .. }) => {
                assert_eq!(stream, name);
                assert!(setting.contains(word), "{name}: {setting}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let log = JetStream::connect(&server.address()).stream("good").start().await.unwrap();
    log.check().await.unwrap();
    for name in ["", "a.b", "a b", &"a".repeat(33)] {
        assert!(matches!(
            JetStream::connect(&server.address()).stream(name).start().await,
            Err(Error::InvalidName { .. })
        ));
    }
}

#[tokio::test]
async fn while_the_stream_is_full_jobs_wait_and_then_go_once() {
    let Some(server) = Server::start() else { return };
    let client = async_nats::connect(server.address()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let config = |max_bytes| Config { max_bytes, ..good("MP") };
    context.create_stream(config(32 << 10)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let hub_pond = Millpond::open(dir.path().join("hub.redb")).unwrap();
    let log = JetStream::connect(&server.address()).stream("MP").start().await.unwrap();
    let to_hub = Forward::new(&device, "readings", &log, hub()).batch(20).start().await.unwrap();
    let count = 500;
    device.enqueue_many("readings", readings(0..count)).await.unwrap();
    let state = until(&to_hub, |state| state.last_error.is_some()).await;
    assert!(state.jobs < u64::from(count), "{state:?}");
    let error = state.last_error.unwrap();
    assert!(error.contains("maximum bytes exceeded"), "{error}");

    context.update_stream(config(-1)).await.unwrap();
    let mut arrived = Arrivals::at(&hub_pond);
    let from_device = Receive::new(&hub_pond, "readings", &log, hub()).start().unwrap();
    arrived.each_once_and_in_order(count, &device, [&to_hub, &from_device]).await;
}

#[tokio::test]
async fn a_server_that_takes_only_small_messages_is_refused() {
    let Some(server) = Server::start_with("max_payload: 8192") else { return };
    let log = JetStream::connect(&server.address()).start().await.unwrap();
    let refused = log.check().await.unwrap_err();
    assert!(matches!(refused, Error::MessagesTooSmall { max: 8_192, .. }), "{refused}");
}

#[tokio::test]
async fn a_stream_that_was_removed_is_made_again() {
    let Some(mut server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let log = JetStream::connect(&server.address()).start().await.unwrap();
    let to_hub = Forward::new(&device, "readings", &log, hub()).start().await.unwrap();
    device.enqueue("readings", NewJob::raw("reading", "1")).await.unwrap();
    until(&to_hub, |state| state.jobs == 1).await;
    server.kill();
    server.lose_store();
    server.start_again();
    device.enqueue("readings", NewJob::raw("reading", "2")).await.unwrap();
    let state = until(&to_hub, |state| state.jobs == 2).await;
    assert_eq!((state.engine_went_back, state.lost_batches), (1, 0));
    let hub_pond = Millpond::open(dir.path().join("hub.redb")).unwrap();
    let from_device = Receive::new(&hub_pond, "readings", &log, hub()).start().unwrap();
    until(&from_device, |state| state.jobs == 2).await;
}
