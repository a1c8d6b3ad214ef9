//! The nodes of a fleet.

use std::time::Duration;

use millpond::{Millpond, NewJob};
use millpond_links::{Answers, Log, Mailbox, Node, Watch};
use millpond_links_testkit::SOON;
use millpond_nats::JetStream;

use crate::support::Server;

/// Each node that is shown, and whether it answers.
fn shown(answers: &Answers) -> Vec<(&str, bool)> {
    answers.nodes.iter().map(|node| (node.info.name.as_str(), node.is_answering)).collect()
}

async fn until(watch: &Watch<JetStream>, expected: &[(&str, bool)]) -> Answers {
    let poll = async {
        loop {
            let answers = watch.nodes().await;
            if shown(&answers) == expected {
                return answers;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, poll).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_answer_over_the_server_and_nothing_of_it_is_stored() {
    let Some(mut server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let log = JetStream::connect(&server.address()).start().await.unwrap();
    log.check().await.unwrap();
    let watch = Watch::new(&log);
    assert_eq!(watch.nodes().await, Answers::default(), "nobody listens yet");
    let ponds = ["device", "hub"].map(|name| Millpond::open(dir.path().join(name)).unwrap());
    let device = Node::announce(&ponds[0], &log, "device").await.unwrap();
    let _hub = Node::announce(&ponds[1], &log, "hub").await.unwrap();
    ponds[0].enqueue("readings", NewJob::raw("reading", "1")).await.unwrap();
    let answers = until(&watch, &[("device", true), ("hub", true)]).await;
    assert_eq!(answers.nodes[0].info.queues[0].pending, 1);
    drop(device);
    until(&watch, &[("device", false), ("hub", true)]).await;
    server.kill();
    let answers = until(&watch, &[("device", false), ("hub", false)]).await;
    assert!(answers.error.is_some(), "{answers:?}");
    server.start_again();
    until(&watch, &[("device", false), ("hub", true)]).await;
    // The stream has neither the questions nor the answers.
    let read = log.read(&Mailbox::named("hub").unwrap(), 0, 10).await.unwrap();
    assert_eq!((read.envelopes.len(), read.end), (0, 0));
}
