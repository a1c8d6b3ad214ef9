//! Shared queues.

use std::time::Duration;

use millpond::{Millpond, NewJob};
use millpond_links::{Forward, Take};
use millpond_links_testkit::{Handled, TwoMachines, dies_with, machine, thumbnails, until};
use millpond_nats::JetStream;

use crate::support::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_missing_while_the_server_is_killed() {
    let Some(mut server) = Server::start() else { return };
    let engine = JetStream::connect(&server.address()).start().await.unwrap();
    let machines = TwoMachines::over(&engine, [&engine; 2]).await;
    let before = machines.both_work().await;
    let (count, kills) = (before + 1_000, 5);
    let kill = async |jobs| {
        if jobs % (1_000 / kills) == 0 {
            server.kill();
            server.start_again();
        }
    };
    let twice = machines.none_is_missing(before..count, kill).await;
    // A job whose end was not told yet when the server was killed can be given to the other machine.
    assert!(u64::from(count) + twice as u64 <= machines.taken(), "a job that ran twice was taken twice");
}

#[tokio::test]
async fn a_machine_that_is_gone_is_replaced_when_its_leases_have_ended() {
    let Some(server) = Server::start() else { return };
    let (dir, handled) = (tempfile::tempdir().unwrap(), Handled::default());
    let sender = Millpond::open(dir.path().join("sender.redb")).unwrap();
    let engine = JetStream::connect(&server.address()).start().await.unwrap();
    let link = Forward::to_shared(&sender, "outgoing", &engine, thumbnails()).start().await.unwrap();
    sender.enqueue_many("outgoing", (0..40).map(|n| NewJob::raw("thumbnail", n.to_string()))).await.unwrap();
    until(&link, |state| state.jobs == 40).await;
    let address = server.address();
    dies_with(dir.path(), async move { JetStream::connect(&address).start().await.unwrap() }, 40).await;

    let (_pond, _link) = machine(dir.path(), "other.redb", &engine, &handled).await;
    handled.all(40).await;
    assert_eq!(handled.twice(), 0);
}

#[tokio::test]
async fn leases_of_another_length_are_refused_by_name() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let engine = JetStream::connect(&server.address()).start().await.unwrap();
    let pond = Millpond::open(dir.path().join("one.redb")).unwrap();
    let take = |seconds| Take::new(&pond, "incoming", &engine, thumbnails()).lease(Duration::from_secs(seconds));
    let first = take(30).start().await.unwrap();
    until(&first, |state| state.connected).await;
    let second = take(60).start().await.unwrap();
    let told = until(&second, |state| state.last_error.is_some()).await.last_error.unwrap();
    assert!(told.contains("30s") && told.contains("60s") && told.contains("thumbnails"), "{told}");
}

#[tokio::test]
async fn an_end_that_is_told_twice_is_answered_twice() {
    use millpond_links::{Ended, Lease};
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let engine = JetStream::connect(&server.address()).start().await.unwrap();
    let sender = Millpond::open(dir.path().join("sender.redb")).unwrap();
    let link = Forward::to_shared(&sender, "outgoing", &engine, thumbnails()).start().await.unwrap();
    sender.enqueue("outgoing", NewJob::raw("thumbnail", "0")).await.unwrap();
    until(&link, |state| state.jobs == 1).await;
    let lease = Duration::from_secs(30);
    let taken = engine.take(&thumbnails(), "test", 10, lease).await.unwrap();
    for _ in 0..2 {
        assert_eq!(engine.end(&thumbnails(), &[taken[0].id.clone()]).await.unwrap(), [Ended::Ended]);
    }
}

/// A server that was killed can forget that it has handed a job out. Then it answers nothing about the lease.
#[tokio::test]
async fn a_job_whose_lease_the_server_does_not_know_can_still_be_ended() {
    use millpond_links::{Ended, Lease, LeaseId};
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let engine = JetStream::connect(&server.address()).start().await.unwrap();
    let sender = Millpond::open(dir.path().join("sender.redb")).unwrap();
    let link = Forward::to_shared(&sender, "outgoing", &engine, thumbnails()).start().await.unwrap();
    sender.enqueue_many("outgoing", (0..2).map(|n| NewJob::raw("thumbnail", n.to_string()))).await.unwrap();
    until(&link, |state| state.jobs == 2).await;
    let lease = Duration::from_secs(30);
    let first = engine.take(&thumbnails(), "test", 1, lease).await.unwrap().remove(0).id;

    // The second job was not handed out. Its lease is made up, with the time at which it was stored.
    let client = millpond_nats::async_nats::connect(server.address()).await.unwrap();
    let stream = millpond_nats::async_nats::jetstream::new(client).get_stream("MP-SHARED").await.unwrap();
    let job = first.job + 1;
    let stored = stream.get_raw_message(job).await.unwrap().time.unix_timestamp_nanos();
    let second = |time: i128| LeaseId { job, token: format!("$JS.ACK.MP-SHARED.thumbnails.1.{job}.2.{time}.0") };
    // With another time it would be another job, of a store that is older: that one stays.
    assert_eq!(engine.end(&thumbnails(), &[second(stored - 1)]).await.unwrap(), [Ended::Lost]);
    assert!(stream.get_raw_message(job).await.is_ok());
    assert_eq!(engine.end(&thumbnails(), &[first, second(stored)]).await.unwrap(), [Ended::Ended; 2]);
    assert!(stream.get_raw_message(job).await.is_err());
    assert_eq!(engine.end(&thumbnails(), &[second(stored)]).await.unwrap(), [Ended::Lost]);
}
