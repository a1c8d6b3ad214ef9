//! The routing of topics beside that of RabbitMQ itself: the same bindings and the same random messages must reach the same queues.
//!
//! The test starts a server of its own, on private ports and in a temporary directory. Where RabbitMQ is not installed it says so and
//! does nothing: `apt-get install rabbitmq-server`.
//!
//! 10,000 messages unless `RABBITMQ_MESSAGES` says otherwise. `RABBITMQ_SEED=<number>` begins at another seed.

mod amqp;
mod server;

use std::collections::BTreeMap;

use fastrand::Rng;
use millpond::testing::{self, ManualClock};
use millpond::{Binding, Topic, TopicSettings};

use crate::amqp::Channel;
use crate::server::Server;

/// How many messages have the same bindings.
const MESSAGES_OF_A_ROUND: u64 = 500;
const QUEUES: usize = 6;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Few words, so that most patterns match something. Words can be empty, or contain what is special elsewhere.
fn text(rng: &mut Rng, words: &[&str]) -> String {
    let count = rng.usize(..6);
    (0..count).map(|_| words[rng.usize(..words.len())]).collect::<Vec<_>>().join(".")
}

fn queue(n: usize) -> String {
    format!("q{n}")
}

/// The messages that each queue has got, as the numbers of the messages.
type Deliveries = BTreeMap<String, Vec<u64>>;

/// What the topic says of the same messages.
fn expected(topic: &Topic, messages: &[(String, Vec<(String, String)>)]) -> Deliveries {
    let mut deliveries = Deliveries::new();
    for (n, (key, headers)) in (0..).zip(messages) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for queue in topic.matches(key, &headers).unwrap().queues {
            deliveries.entry(queue).or_default().push(n);
        }
    }
    deliveries
}

/// Publishes to an exchange that is bound already, and reads what has reached the queues.
fn delivered(channel: &mut Channel, exchange: &str, messages: &[(String, Vec<(String, String)>)]) -> Deliveries {
    for (n, (key, headers)) in messages.iter().enumerate() {
        channel.publish(exchange, key, headers, n.to_string().as_bytes());
    }
    channel.wait_for_confirms();
    let mut deliveries = Deliveries::new();
    for queue in (0..QUEUES).map(queue) {
        while let Some(body) = channel.get(&queue) {
            let n = String::from_utf8(body).unwrap().parse().unwrap();
            deliveries.entry(queue.clone()).or_default().push(n);
        }
    }
    deliveries
}

#[test]
fn random_messages_reach_the_same_queues_as_in_rabbitmq() {
    let Some(server) = Server::start() else {
        println!("left out: RabbitMQ is not installed (apt-get install rabbitmq-server)");
        return;
    };
    keys(&mut Channel::connect(server.port()));
    headers(&mut Channel::connect(server.port()));
}

fn keys(channel: &mut Channel) {
    let (messages, first_seed) = (number("RABBITMQ_MESSAGES", 10_000), number("RABBITMQ_SEED", 1));
    let (mut sent, mut reached) = (0, 0);
    for seed in first_seed..first_seed + messages.div_ceil(MESSAGES_OF_A_ROUND) {
        let mut rng = Rng::with_seed(seed);
        let pond = testing::in_memory(&ManualClock::new()).unwrap();
        let topic = pond.topic("topic").unwrap();
        topic.configure(TopicSettings::default()).wait().unwrap();
        channel.declare_exchange("topic", "topic");
        (0..QUEUES).for_each(|n| channel.declare_queue(&queue(n)));
        let mut patterns = Vec::new();
        for _ in 0..rng.usize(1..20) {
            let (queue, pattern) =
                (queue(rng.usize(..QUEUES)), text(&mut rng, &["a", "b", "", "*", "*", "#", "#", "a*"]));
            channel.bind(&queue, "topic", &pattern, &[]);
            topic.bind(Binding::to(&queue).key(&pattern)).wait().unwrap();
            patterns.push((queue, pattern));
        }
        // Some are removed again.
        for _ in 0..rng.usize(..4) {
            let (queue, pattern) = patterns[rng.usize(..patterns.len())].clone();
            channel.unbind(&queue, "topic", &pattern);
            topic.unbind(Binding::to(&queue).key(&pattern)).wait().unwrap();
        }
        let keys = (0..MESSAGES_OF_A_ROUND).map(|_| (text(&mut rng, &["a", "b", "c", "", "a*", "*", "#"]), Vec::new()));
        let messages: Vec<_> = keys.collect();
        let (rabbitmq, millpond) = (delivered(channel, "topic", &messages), expected(&topic, &messages));
        compare(seed, &messages, &rabbitmq, &millpond, &patterns);
        sent += messages.len();
        reached += rabbitmq.values().map(Vec::len).sum::<usize>();
        channel.delete_exchange("topic");
        (0..QUEUES).for_each(|n| channel.delete_queue(&queue(n)));
    }
    println!("{sent} messages, {reached} deliveries, the same in both");
    assert!(reached > sent, "most messages reach no queue: this test compares little");
}

fn headers(channel: &mut Channel) {
    let mut reached = 0;
    for seed in 0..4 {
        let mut rng = Rng::with_seed(seed);
        let pond = testing::in_memory(&ManualClock::new()).unwrap();
        let topic = pond.topic("topic").unwrap();
        channel.declare_exchange("headers", "headers");
        (0..QUEUES).for_each(|n| channel.declare_queue(&queue(n)));
        let headers = |rng: &mut Rng, most: usize| {
            let header = |rng: &mut Rng| (["x", "y", "z"][rng.usize(..3)].to_owned(), rng.u8(..3).to_string());
            let chosen: BTreeMap<_, _> = (0..rng.usize(1..=most)).map(|_| header(rng)).collect();
            chosen.into_iter().collect::<Vec<_>>()
        };
        let mut bindings = Vec::new();
        for _ in 0..8 {
            let (queue, all, wanted) = (queue(rng.usize(..QUEUES)), rng.bool(), headers(&mut rng, 2));
            let mut arguments = vec![("x-match".to_owned(), if all { "all" } else { "any" }.to_owned())];
            arguments.extend(wanted.clone());
            channel.bind(&queue, "headers", "", &arguments);
            let binding = Binding::to(&queue);
            let binding = if all { binding.headers_all(wanted) } else { binding.headers_any(wanted) };
            topic.bind(binding.clone()).wait().unwrap();
            bindings.push((queue, format!("{binding:?}")));
        }
        let messages: Vec<_> = (0..250).map(|_| (String::new(), headers(&mut rng, 3))).collect();
        let (rabbitmq, millpond) = (delivered(channel, "headers", &messages), expected(&topic, &messages));
        compare(seed, &messages, &rabbitmq, &millpond, &bindings);
        reached += rabbitmq.values().map(Vec::len).sum::<usize>();
        channel.delete_exchange("headers");
        (0..QUEUES).for_each(|n| channel.delete_queue(&queue(n)));
    }
    assert!(reached > 1_000, "{reached} deliveries");
}

fn compare(
    seed: u64,
    messages: &[(String, Vec<(String, String)>)],
    rabbitmq: &Deliveries,
    millpond: &Deliveries,
    bindings: &[(String, String)],
) {
    for queue in (0..QUEUES).map(queue) {
        let of = |deliveries: &Deliveries| deliveries.get(&queue).cloned().unwrap_or_default();
        let (theirs, ours) = (of(rabbitmq), of(millpond));
        let other = (0..messages.len() as u64).find(|n| theirs.contains(n) != ours.contains(n));
        assert!(
            theirs == ours,
            "RABBITMQ_SEED={seed}: queue {queue} gets other messages, the first is {:?}: RabbitMQ {}, by {bindings:?}",
            other.map(|n| &messages[n as usize]),
            if other.is_some_and(|n| theirs.contains(&n)) { "delivers it" } else { "does not" }
        );
    }
}
