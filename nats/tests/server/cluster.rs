//! Three servers, of which the leader is killed again and again.

use std::time::Duration;

use millpond::{Millpond, NewJob};
use millpond_links::{Forward, Mailbox, Receive};
use millpond_links_testkit::{Arrivals, Handled, SOON, machine, readings, thumbnails};
use millpond_nats::JetStream;
use millpond_nats::async_nats;

use crate::support::Server;

/// How often a leader is killed.
const KILLS: u32 = 3;

const JOBS: u32 = 1_200;

fn addresses(servers: &[Server; 3]) -> String {
    servers.each_ref().map(Server::address).join(",")
}

/// Kills the leader of a stream, and starts it again when there is another one.
async fn kill_leader(servers: &mut [Server; 3], stream: &str) {
    let leader = leader(servers, stream, None).await;
    servers[leader].kill();
    self::leader(servers, stream, Some(leader)).await;
    servers[leader].start_again();
}

/// Which server is the leader of the stream, and is not this one.
async fn leader(servers: &[Server; 3], stream: &str, not: Option<usize>) -> usize {
    let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    let client = client.connect(addresses).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let find = async {
        loop {
            if let Ok(stream) = context.get_stream(stream).await {
                let leader = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone());
                let number = leader.and_then(|name| name.strip_prefix('n')?.parse::<usize>().ok());
                if let Some(number) = number.filter(|number| Some(*number) != not) {
                    return number;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, find).await.expect("the cluster has a leader")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_on_three_servers_delivers_once_and_in_order_while_leaders_are_killed() {
    let Some(mut servers) = Server::cluster() else { return };
    let dir = tempfile::tempdir().unwrap();
    let log = JetStream::connect(&addresses(&servers)).replicas(3).start().await.unwrap();
    let device = Millpond::open(dir.path().join("device.redb")).unwrap();
    let hub = Millpond::open(dir.path().join("hub.redb")).unwrap();
    let mut arrived = Arrivals::at(&hub);
    let mailbox = Mailbox::named("hub").unwrap();
    let to_hub = Forward::new(&device, "readings", &log, mailbox.clone()).batch(50).start().await.unwrap();
    let from_device = Receive::new(&hub, "readings", &log, mailbox).start().unwrap();
    for first in (0..JOBS).step_by(20) {
        device.enqueue_many("readings", readings(first..first + 20)).await.unwrap();
        if first % (JOBS / KILLS) == JOBS / KILLS / 2 {
            kill_leader(&mut servers, "MP").await;
        }
    }
    arrived.each_once_and_in_order(JOBS, &device, [&to_hub, &from_device]).await;
    assert_eq!(hub.queue("readings").unwrap().counts().enqueued_total, u64::from(JOBS) + 1);
    println!("{JOBS} jobs, {KILLS} kills of leaders: {:?}, {:?}", to_hub.state(), from_device.state());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_queue_on_three_servers_misses_nothing_while_leaders_are_killed() {
    let Some(mut servers) = Server::cluster() else { return };
    let (dir, handled) = (tempfile::tempdir().unwrap(), Handled::default());
    let engine = JetStream::connect(&addresses(&servers)).replicas(3).start().await.unwrap();
    let sender = Millpond::open(dir.path().join("sender.redb")).unwrap();
    let link = Forward::to_shared(&sender, "outgoing", &engine, thumbnails()).batch(50).start().await.unwrap();
    let machines = [
        machine(dir.path(), "one.redb", &engine, &handled).await,
        machine(dir.path(), "two.redb", &engine, &handled).await,
    ];
    for first in (0..JOBS).step_by(20) {
        let jobs = (first..first + 20).map(|n| NewJob::raw("thumbnail", n.to_string()));
        sender.enqueue_many("outgoing", jobs).await.unwrap();
        if first % (JOBS / KILLS) == JOBS / KILLS / 2 {
            kill_leader(&mut servers, "MP-SHARED").await;
        }
    }
    handled.all(JOBS).await;
    let twice = handled.twice();
    let states = machines.each_ref().map(|(_, link)| link.state());
    println!("{JOBS} jobs, {KILLS} kills of leaders: 0 missing, {twice} twice; {states:?}, {:?}", link.state());
}
