//! Shared queues of several files.

use millpond::{Millpond, NewJob};
use millpond_links::Forward;
use millpond_links_testkit::{Handled, TwoMachines, dies_with, machine, thumbnails, until};

use crate::support::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_missing_while_the_server_is_killed() {
    let Some(mut server) = Server::start() else { return };
    // Each machine has connections of its own.
    let machines = TwoMachines::over(&server.engine(), [&server.engine(), &server.engine()]).await;
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
    for link in &machines.taking {
        until(link, |state| state.held == 0).await;
    }
    assert_eq!(server.number("select count(*) from millpond.job").await, 0, "the server keeps nothing that has ended");
}

#[tokio::test]
async fn a_machine_that_is_gone_is_replaced_when_its_leases_have_ended() {
    let Some(server) = Server::start() else { return };
    let (dir, handled) = (tempfile::tempdir().unwrap(), Handled::default());
    let sender = Millpond::open(dir.path().join("sender.redb")).unwrap();
    let engine = server.engine();
    let link = Forward::to_shared(&sender, "outgoing", &engine, thumbnails()).start().await.unwrap();
    sender.enqueue_many("outgoing", (0..40).map(|n| NewJob::raw("thumbnail", n.to_string()))).await.unwrap();
    until(&link, |state| state.jobs == 40).await;
    let its_engine = server.engine();
    dies_with(dir.path(), async move { its_engine }, 40).await;

    let (_pond, _link) = machine(dir.path(), "other.redb", &engine, &handled).await;
    handled.all(40).await;
    assert_eq!(handled.twice(), 0);
}
