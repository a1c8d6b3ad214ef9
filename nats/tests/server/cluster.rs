//! Three servers, of which the leader is killed again and again.

use std::time::Duration;

use millpond_links::Link;
use millpond_links_testkit::{DeviceAndHub, SOON, TwoMachines};
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
    let log = JetStream::connect(&addresses(&servers)).replicas(3).start().await.unwrap();
    let mut linked = DeviceAndHub::over(&log, 50).await;
    let kill = async |readings, _: &Link| {
        if readings % (JOBS / KILLS) == JOBS / KILLS / 2 {
            kill_leader(&mut servers, "MP").await;
        }
    };
    linked.each_once_and_in_order(JOBS, kill).await;
    assert_eq!(linked.hub.queue("readings").unwrap().counts().enqueued_total, u64::from(JOBS) + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_queue_on_three_servers_misses_nothing_while_leaders_are_killed() {
    let Some(mut servers) = Server::cluster() else { return };
    let engine = JetStream::connect(&addresses(&servers)).replicas(3).start().await.unwrap();
    let machines = TwoMachines::over(&engine, [&engine; 2]).await;
    let kill = async |jobs| {
        if jobs % (JOBS / KILLS) == JOBS / KILLS / 2 {
            kill_leader(&mut servers, "MP-SHARED").await;
        }
    };
    machines.none_is_missing(0..JOBS, kill).await;
}
