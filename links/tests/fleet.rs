//! Nodes of a fleet that answer, that do not, and answers that no node has written.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{LinkDirection, LinkInfo, Millpond, NewJob};
use millpond_links::{Answers, Error, Fleet, MemoryFleet, Node, Watch};

const SECOND: Duration = Duration::from_secs(1);

fn open(dir: &tempfile::TempDir, name: &str) -> Millpond {
    Millpond::open(dir.path().join(name)).unwrap()
}

/// A node that hears questions.
async fn announce(pond: &Millpond, fleet: &MemoryFleet, name: &str) -> Node {
    let before = fleet.nodes();
    let node = Node::announce(pond, fleet, name).await.unwrap();
    while fleet.nodes() == before {
        tokio::task::yield_now().await;
    }
    node
}

/// Asks anew, a second after the last time.
async fn ask(watch: &Watch<MemoryFleet>, clock: &ManualClock) -> Answers {
    clock.advance(SECOND);
    watch.nodes().await
}

fn names(answers: &Answers) -> Vec<(&str, bool)> {
    answers.nodes.iter().map(|node| (node.info.name.as_str(), node.is_answering)).collect()
}

fn watching(fleet: &MemoryFleet) -> (Watch<MemoryFleet>, ManualClock) {
    let clock = ManualClock::new();
    (Watch::new(fleet).within(Duration::from_secs(30)).clock(clock.clone()), clock)
}

#[tokio::test]
async fn a_node_says_what_its_queues_and_links_are_like() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), MemoryFleet::new());
    let pond = open(&dir, "device.redb");
    pond.enqueue_many("readings", (0..3).map(|n| NewJob::raw("reading", n.to_string()))).await.unwrap();
    pond.queue("alerts").unwrap().pause().await.unwrap();
    pond.enqueue("alerts", NewJob::raw("alert", "x").delay(SECOND * 600)).await.unwrap();
    let guard = pond.register_link(LinkInfo::new("readings", LinkDirection::Forward, "hub", "e").unwrap()).unwrap();
    guard.handle().update(|state| (state.engine_went_back, state.file_went_back) = (1, 1));
    guard.handle().failed("refused");
    let _node = announce(&pond, &fleet, "device-7").await;
    let (watch, clock) = watching(&fleet);
    let answers = ask(&watch, &clock).await;
    assert_eq!(names(&answers), [("device-7", true)]);
    let info = &answers.nodes[0].info;
    let queues: Vec<_> =
        info.queues.iter().map(|queue| (queue.name.as_str(), queue.pending, queue.scheduled)).collect();
    assert_eq!(queues, [("alerts", 0, 1), ("readings", 3, 0)]);
    assert!(info.queues[0].paused && !info.queues[1].paused);
    let link = &info.links[0];
    assert_eq!((link.name.as_str(), link.connected, link.lag, link.went_back), ("readings -> hub", false, Some(3), 2));
    assert_eq!((link.last_error.as_deref(), info.degraded.as_deref()), (Some("refused"), None));
    assert_eq!((answers.ignored, answers.error), (0, None));
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_shown_as_it_was_and_is_forgotten_after_a_day() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), MemoryFleet::new());
    let [first, second] = ["first", "second"].map(|name| open(&dir, name));
    let one = announce(&first, &fleet, "a").await;
    let _two = announce(&second, &fleet, "b").await;
    let (watch, clock) = watching(&fleet);
    let answers = ask(&watch, &clock).await;
    assert_eq!(names(&answers), [("a", true), ("b", true)]);
    let seen_at = answers.nodes[0].seen_at;
    drop(one);
    while fleet.nodes() > 1 {
        tokio::task::yield_now().await;
    }
    let answers = ask(&watch, &clock).await;
    assert_eq!(names(&answers), [("a", false), ("b", true)]);
    assert_eq!(answers.nodes[0].seen_at, seen_at);
    assert!(answers.nodes[1].seen_at > seen_at);

    // Who looks again at once does not ask again, and if nobody can ask, all are shown.
    fleet.inject("this would be counted");
    assert_eq!(watch.nodes().await, answers);
    fleet.set_down(true);
    let down = ask(&watch, &clock).await;
    assert_eq!(names(&down), [("a", false), ("b", false)]);
    assert!(down.error.is_some_and(|error| error.contains("not available")));
    fleet.set_down(false);
    clock.advance(SECOND * 24 * 3_600);
    let answers = ask(&watch, &clock).await;
    assert_eq!((names(&answers), answers.error.as_deref()), (vec![("b", true)], None));
}

#[tokio::test]
async fn answers_that_no_node_has_written_are_ignored_and_counted() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), MemoryFleet::new());
    let pond = open(&dir, "device.redb");
    let _node = announce(&pond, &fleet, "device").await;
    for answer in ["", "null", "{\"v\":1}", "\u{1b}[2J"] {
        fleet.inject(answer);
    }
    let (watch, clock) = watching(&fleet);
    let answers = ask(&watch, &clock).await;
    assert_eq!((names(&answers), answers.ignored), (vec![("device", true)], 4));

    // Somebody answers in the name of the node: only one of the two is heard, and the other one is counted.
    let real = fleet.ask(Duration::from_secs(30)).await.unwrap().pop().unwrap();
    fleet.inject(real);
    let answers = ask(&watch, &clock).await;
    assert_eq!((names(&answers), answers.ignored), (vec![("device", true)], 4 + 4 + 1));
}

#[tokio::test]
async fn more_nodes_than_are_remembered_are_counted() {
    let fleet = MemoryFleet::new();
    let node = |n: u32| {
        let mut info = serde_json::json!({ "v": 1, "name": format!("n{n:04}"), "file": format!("{n:032x}") });
        info["version"] = "0".into();
        for (field, value) in [("queues", serde_json::json!([])), ("links", serde_json::json!([]))] {
            info[field] = value;
        }
        (info["more_queues"], info["more_links"]) = (0.into(), 0.into());
        info.to_string()
    };
    (0..1_005).for_each(|n| fleet.inject(node(n)));
    let (watch, clock) = watching(&fleet);
    let answers = ask(&watch, &clock).await;
    assert_eq!((answers.nodes.len(), answers.ignored), (1_000, 5));
}

#[tokio::test]
async fn a_name_that_is_not_valid_is_refused() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), MemoryFleet::new());
    let pond = open(&dir, "device.redb");
    for name in ["", "a b", "ü", &"n".repeat(129)] {
        let refused = Node::announce(&pond, &fleet, name).await;
        assert!(matches!(&refused, Err(Error::InvalidNodeName { .. })), "{name}: {refused:?}");
    }
}

#[cfg(feature = "dashboard")]
#[tokio::test]
async fn the_dashboard_is_given_what_the_nodes_have_answered() {
    let (dir, fleet) = (tempfile::tempdir().unwrap(), MemoryFleet::new());
    let pond = open(&dir, "device.redb");
    pond.enqueue("readings", NewJob::raw("reading", "1")).await.unwrap();
    let _node = announce(&pond, &fleet, "device").await;
    fleet.inject("?");
    let (watch, _clock) = watching(&fleet);
    let nodes = watch.for_dashboard()().await;
    assert_eq!((nodes.ignored, nodes.problem.as_deref()), (1, None));
    let node = &nodes.nodes[0];
    assert_eq!((node.name.as_str(), node.is_answering, node.queues[0].pending), ("device", true, 1));
    assert!(node.seen_at.0 > 0);
}
