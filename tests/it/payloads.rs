//! A handler gets the payload that was enqueued: a payload that its codec cannot read back unchanged is refused by
//! name, and an accepted one is read back bit for bit.

use std::collections::{BTreeMap, HashMap, HashSet};

use millpond::{
    Codec, Error, FailureKind, Job, JobPatch, Kind, Millpond, NewJob, Outcome, Payload, PayloadError, Retry, State,
    testing,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::support::*;

/// A payload of any shape, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Json<T>(T);

impl<T: Serialize + DeserializeOwned + Send + 'static> Kind for Json<T> {
    const KIND: &'static str = "json";
}

/// A payload of any shape, as postcard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Post<T>(T);

impl<T: Serialize + DeserializeOwned + Send + 'static> Kind for Post<T> {
    const KIND: &'static str = "post";
    const CODEC: Codec = Codec::Postcard;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat<T> {
    own: u8,
    #[serde(flatten)]
    inner: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Amount<T> {
    amount: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged<T> {
    Amount { amount: T },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Float(f64),
    Big(u128),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "is")]
enum Adjacent {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u8>,
    second: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Sparser {
    One {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        items: Vec<u8>,
        second: u8,
    },
}

/// Each level of this type takes two levels of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node { child: Box<Tree> },
}

fn tree(nodes: usize) -> Tree {
    (0..nodes).fold(Tree::Leaf, |child, _| Tree::Node { child: Box::new(child) })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Chain>>,
}

fn chain(links: usize) -> Chain {
    (1..links).fold(Chain { next: None }, |next, _| Chain { next: Some(Box::new(next)) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Unit;

/// Asserts a refusal whose message has all of these words.
#[track_caller]
fn is_refused(refused: Result<impl std::fmt::Debug, Error>, words: &[&str]) {
    let Err(Error::Unencodable { kind, source, .. }) = refused else { panic!("{refused:?}") };
    assert!(["json", "post"].contains(&&*kind), "{kind}");
    let text = source.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text:?} does not say {words:?}");
}

#[track_caller]
fn refused<K: Kind>(payload: K, words: &[&str]) {
    let (_, pond) = memory();
    is_refused(pond.enqueue("q", payload).wait(), words);
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 0);
}

#[track_caller]
fn is_read_back<K: Kind + Clone + PartialEq + std::fmt::Debug>(payload: K) {
    let (_, pond) = memory();
    let id = pond.enqueue("q", payload.clone()).wait().unwrap();
    assert_eq!(pond.job(id).unwrap().payload.decode::<K>().unwrap(), payload);
}

#[tokio::test]
async fn every_f64_is_read_back_bit_for_bit() {
    let (_, pond) = memory();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut floats = vec![233.24645296478246, 0.1, f64::MIN_POSITIVE, f64::MAX, -0.0, 5e-324, 1.7976931348623157e308];
    while floats.len() < 20_000 {
        let float = f64::from_bits(rng.u64(..));
        floats.extend(float.is_finite().then_some(float));
        floats.push(rng.f64() * 1_000.0);
    }
    let id = pond.enqueue("q", Json(floats.clone())).await.unwrap();
    let Json(back) = pond.job(id).unwrap().payload.decode::<Json<Vec<f64>>>().unwrap();
    let changed = floats.iter().zip(&back).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!((changed, back.len()), (0, floats.len()));
}

#[tokio::test]
async fn every_f32_is_read_back_bit_for_bit() {
    let (_, pond) = memory();
    let mut rng = fastrand::Rng::with_seed(2);
    let floats: Vec<f32> = (0..20_000).map(|_| f32::from_bits(rng.u32(..))).filter(|float| float.is_finite()).collect();
    let flat = Json(Flat { own: 1, inner: Amount { amount: floats.clone() } });
    let ids = [pond.enqueue("q", Json(floats.clone())).await.unwrap(), pond.enqueue("q", flat).await.unwrap()];
    let Json(plain) = pond.job(ids[0]).unwrap().payload.decode::<Json<Vec<f32>>>().unwrap();
    let Json(flat) = pond.job(ids[1]).unwrap().payload.decode::<Json<Flat<Amount<Vec<f32>>>>>().unwrap();
    for back in [plain, flat.inner.amount] {
        assert!(floats.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()) && back.len() == floats.len());
    }
}

#[tokio::test]
async fn a_job_serialized_as_json_has_its_payload_as_it_was_written() {
    let (_, pond) = memory();
    let text = r#"{"b":184467440737095516161844674407370955,"a":1,"a":2,"c":1.10,"deep":[{"z":0,"y":0}]}"#;
    let id = pond.enqueue("q", NewJob::json("json", &RawValue::from_string(text.into()).unwrap())).await.unwrap();
    let shown = serde_json::to_string(&pond.job(id).unwrap()).unwrap();
    assert!(shown.contains(&format!(r#""payload":{{"codec":"Json","value":{text}}}"#)), "{shown}");
}

#[test]
fn a_payload_that_is_not_json_is_shown_as_bytes() {
    for bytes in [&b"{"[..], b"", b"1 2", b"\"\xff\"", b"nul"] {
        let payload = Payload { codec: Codec::Json, bytes: bytes.to_vec().into() };
        let shown = serde_json::to_value(&payload).unwrap();
        assert_eq!((shown.get("value"), shown["bytes"].as_array().unwrap().len()), (None, bytes.len()), "{shown}");
    }
}

#[test]
fn a_float_that_json_cannot_write_is_refused_anywhere_in_a_payload() {
    let words = ["NaN or infinite"];
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused(Json(float), &words);
        refused(Json(float as f32), &words);
        refused(Json(Some(float)), &words);
        refused(Json(vec![0.0, float]), &["[1]", words[0]]);
        refused(Json((1, float)), &words);
        refused(Json(Amount { amount: BTreeMap::from([("x", float).to_owned_key()]) }), &["amount.x", words[0]]);
        refused(Json(Tagged::Amount { amount: float }), &["amount", words[0]]);
        refused(Json(Flat { own: 1, inner: Amount { amount: float } }), &words);
        refused(Json(Untagged::Float(float)), &words);
    }
    let (_, pond) = memory();
    is_refused(pond.enqueue("q", NewJob::json("json", &[f32::NAN])).wait(), &["[0]", "NaN or infinite"]);
    is_read_back(Post(f64::INFINITY));
}

trait ToOwnedKey {
    type Owned;
    fn to_owned_key(self) -> Self::Owned;
}

impl<T> ToOwnedKey for (&str, T) {
    type Owned = (String, T);
    fn to_owned_key(self) -> (String, T) {
        (self.0.to_owned(), self.1)
    }
}

#[test]
fn a_some_that_json_would_read_as_none_is_refused() {
    refused(Json(Some(None::<u8>)), &["null"]);
    refused(Json(Some(Some(None::<u8>))), &["null"]);
    refused(Json(Some(())), &["null"]);
    refused(Json(Some(Unit)), &["null"]);
    refused(Json(vec![Some(Json(None::<u8>))]), &["[0]", "null"]);
    refused(Json(Amount { amount: Some(serde_json::Value::Null) }), &["amount", "null"]);
    refused(Json(Tagged::Amount { amount: Some(None::<u8>) }), &["amount", "null"]);
    is_read_back(Json(Some(Some(1))));
    is_read_back(Json(None::<Option<u8>>));
    is_read_back(Json(Some(vec![None::<u8>])));
    is_read_back(Json(((), Unit, None::<u8>)));
    is_read_back(Post(Some(None::<u8>)));
    is_read_back(Post(Some(())));
}

#[test]
fn nesting_is_refused_only_where_it_could_not_be_read() {
    for nodes in [1, 50, 63] {
        is_read_back(Json(tree(nodes)));
    }
    for nodes in [64, 65, 100, 1_000] {
        refused(Json(tree(nodes)), &["127"]);
    }
    is_read_back(Json(chain(127)));
    refused(Json(chain(128)), &["127"]);
    is_read_back(Post(chain(127)));
    refused(Post(chain(128)), &["127"]);
    let (_, pond) = memory();
    let mut list = serde_json::json!(0);
    for depth in 1..=128 {
        list = serde_json::json!([list]);
        let enqueued = pond.enqueue("q", NewJob::json("json", &list)).wait();
        if depth < 128 {
            let back = pond.job(enqueued.unwrap()).unwrap().payload.decode::<serde_json::Value>();
            assert_eq!(back.unwrap(), list, "{depth}");
        } else {
            is_refused(enqueued, &["127"]);
        }
    }
}

#[test]
fn json_that_reads_back_as_an_error_is_refused() {
    let words = ["cannot be read back"];
    refused(Json(Flat { own: 1, inner: Amount { amount: 1_u128 } }), &words);
    refused(Json(Flat { own: 1, inner: Amount { amount: u128::MAX } }), &words);
    refused(Json(Flat { own: 1, inner: Amount { amount: -1_i128 } }), &words);
    refused(Json(Tagged::Amount { amount: 1_u128 }), &words);
    refused(Json(Tagged::Amount { amount: i128::MIN }), &words);
    refused(Json(Tagged::Amount { amount: BTreeMap::from([(1_u32, 2)]) }), &words);
    refused(Json(Tagged::Amount { amount: BTreeMap::from([(true, 2)]) }), &words);
    refused(Json(Flat { own: 1, inner: Amount { amount: HashMap::from([(-7_i64, 2)]) } }), &words);
    refused(Json(Tagged::Amount { amount: RawValue::from_string("1".into()).unwrap() }.boxed()), &words);
    let twice = BTreeMap::from([("own".to_owned(), 1)]);
    refused(Json(Flat { own: 1, inner: twice }), &words);
}

/// `RawValue` has no equality.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Opaque<T>(T);

trait Boxed: Sized {
    fn boxed(self) -> Opaque<Self> {
        Opaque(self)
    }
}

impl<T> Boxed for Tagged<T> {}

#[test]
fn json_that_reads_back_as_something_else_is_refused() {
    refused(Json(Untagged::Big(u128::MAX)), &["comes back changed"]);
}

/// Each of its maps is read with the entries of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TwoMaps {
    #[serde(flatten)]
    one: BTreeMap<String, u8>,
    #[serde(flatten)]
    other: BTreeMap<String, u8>,
}

#[test]
fn flattened_maps_that_would_be_mixed_are_refused() {
    let map = |names: &[&str]| names.iter().map(|name| (name.to_string(), 1)).collect::<BTreeMap<_, _>>();
    refused(Json(TwoMaps { one: map(&["a"]), other: map(&["b"]) }), &["changed"]);
    refused(Json(TwoMaps { one: map(&["a"]), other: map(&[]) }), &["changed"]);
    refused(Json(vec![Flat { own: 1, inner: TwoMaps { one: map(&["a"]), other: map(&["b"]) } }]), &["changed"]);
    is_read_back(Json(TwoMaps { one: map(&[]), other: map(&[]) }));
}

#[test]
fn what_json_reads_back_unchanged_is_accepted() {
    is_read_back(Json(u128::MAX));
    is_read_back(Json(i128::MIN));
    is_read_back(Json(Amount { amount: u128::MAX }));
    is_read_back(Json(HashMap::from([(1_u32, 'a'), (2, 'b'), (3, 'c')])));
    is_read_back(Json(BTreeMap::from([(u128::MAX, 1)])));
    is_read_back(Json(HashMap::from([(true, 1), (false, 2)])));
    is_read_back(Json(BTreeMap::from([('c', 1)])));
    is_read_back(Json((0..100).collect::<HashSet<u32>>()));
    is_read_back(Json(Flat { own: 1, inner: HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]) }));
    is_read_back(Json(Tagged::Amount { amount: 1.5 }));
    is_read_back(Json(Adjacent::Text("x".into())));
    is_read_back(Json(Sparse::default()));
    is_read_back(Json(tree(0)));
    is_read_back(Json(u64::MAX));
    is_read_back(Json("\u{0}\u{7f}\u{9b}\u{202e}\u{2028}😀".to_owned()));
}

#[test]
fn what_postcard_cannot_read_back_is_refused() {
    refused(Post(Sparse::default()), &["first", "skip_serializing_if"]);
    refused(Post(vec![Sparse { first: Some(1), second: 2 }, Sparse::default()]), &["[1]", "first"]);
    refused(Post(Sparser::One { items: Vec::new(), second: 1 }), &["items", "skip_serializing_if"]);
    refused(Post(Flat { own: 1, inner: Amount { amount: 1 } }), &["flatten"]);
    refused(Post(Tagged::Amount { amount: 1_u8 }), &["cannot be read back"]);
    refused(Post(Untagged::Float(1.0)), &["cannot be read back"]);
    refused(Post(vec![Untagged::Big(7)]), &["cannot be read back"]);
    refused(Post(serde_json::json!({"a": 1})), &["cannot be read back"]);
}

#[test]
fn what_postcard_reads_back_unchanged_is_accepted() {
    is_read_back(Post(Sparse { first: Some(1), second: 2 }));
    is_read_back(Post(Sparser::One { items: vec![1], second: 1 }));
    is_read_back(Post(Vec::<Untagged>::new()));
    is_read_back(Post((u128::MAX, i128::MIN, 'x', (), Unit, "text".to_owned())));
    is_read_back(Post((0..100).map(|n| (n, n)).collect::<HashMap<u32, u32>>()));
    is_read_back(Post((0..100).collect::<HashSet<u32>>()));
    is_read_back(Post(tree(63)));
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    from: u64,
    to: u64,
    cents: u64,
}

impl Kind for Transfer {
    const KIND: &'static str = "transfer";
    const CODEC: Codec = Codec::Postcard;
}

/// The same kind as a handler of another version declares it.
#[derive(Debug, Serialize, Deserialize)]
struct Shorter {
    from: u64,
    cents: u64,
}

impl Kind for Shorter {
    const KIND: &'static str = "transfer";
    const CODEC: Codec = Codec::Postcard;
}

#[tokio::test]
async fn trailing_bytes_after_a_payload_are_an_error() {
    let payload = Payload::encode(Codec::Postcard, &Transfer { from: 1, to: 2, cents: 500 }).unwrap();
    let error = payload.decode::<Shorter>().unwrap_err().to_string();
    assert!(error.contains("2 bytes are left"), "{error}");
    let trailing = Payload { codec: Codec::Json, bytes: b"1 2"[..].into() };
    assert!(trailing.decode::<u64>().is_err());

    let (_, pond) = memory();
    let started = Log::new();
    let log = started.clone();
    let handler = move |job: Job<Shorter>| {
        log.push(job.cents);
        async { Ok(()) }
    };
    pond.worker("q").handle(handler).start().unwrap();
    let id = pond.enqueue("q", Transfer { from: 1, to: 2, cents: 500 }).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Undecodable));
    assert_eq!(started.len(), 0);
}

/// Makes every call that stores a payload, with a payload that JSON cannot write.
#[tokio::test]
async fn an_unencodable_payload_is_refused_by_every_call_that_stores_one() {
    let (_, pond) = memory();
    let bad = || Json(f64::NAN);
    let words = ["NaN or infinite"];
    is_refused(pond.enqueue("q", bad()).await, &words);
    is_refused(pond.enqueue_many("q", [Json(1.0), bad()]).await, &words);
    is_refused(pond.enqueue_all([("q", NewJob::new(bad()))]).await, &words);
    is_refused(pond.queue("q").unwrap().enqueue(bad()).await, &words);
    let in_closure = pond.transaction(move |tx| {
        is_refused(tx.enqueue("q", bad()), &words);
        Ok(tx.enqueue("q", NewJob::new(Json(1.0)).delay(HOUR))?)
    });
    let waiting = in_closure.await.unwrap();
    let guarded = pond.clone();
    let guard = move || is_refused(guarded.begin_write().unwrap().enqueue("q", bad()), &words);
    tokio::task::spawn_blocking(guard).await.unwrap();
    is_refused(pond.update(waiting, JobPatch::new().payload(bad())).await, &words);
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 1);

    let dead = dead_letter(&pond).await;
    is_refused(pond.dead_letters().edit(dead, bad()).await, &words);
    is_refused(pond.dead_letters().edit(dead, NewJob::new(bad())).await, &words);
    assert_eq!(pond.job(dead).unwrap().payload.decode::<f64>().unwrap(), 2.0);
}

async fn dead_letter(pond: &Millpond) -> millpond::JobId {
    let die = |_: Job<Json<f64>>| async { Ok(Outcome::dead_letter("enough")) };
    pond.worker("dying").retry(Retry::none()).handle(die).start().unwrap();
    let id = pond.enqueue("dying", Json(2.0)).await.unwrap();
    drained(pond).await;
    id.id
}

/// A type whose `Serialize` and `Deserialize` do not agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Asymmetric {
    #[serde(rename(serialize = "order_id"))]
    order: u64,
}

impl Kind for Asymmetric {
    const KIND: &'static str = "asymmetric";
}

/// A type that changes when it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trimmed {
    #[serde(deserialize_with = "trimmed")]
    text: String,
}

impl Kind for Trimmed {
    const KIND: &'static str = "trimmed";
}

fn trimmed<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(String::deserialize(from)?.trim().to_owned())
}

#[test]
fn with_verification_types_that_change_in_a_round_trip_are_refused() {
    let (_, plain) = memory();
    plain.enqueue("q", Asymmetric { order: 7 }).wait().unwrap();
    plain.enqueue("q", Trimmed { text: " x ".into() }).wait().unwrap();

    let (_, pond) = memory_with(|builder| builder.verify_payloads(true));
    let reason = |payload: NewJob| match pond.enqueue("q", payload).wait() {
        Err(Error::Unencodable { source, .. }) => source.downcast::<PayloadError>().unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(*reason(Asymmetric { order: 7 }.into()), PayloadError::NotReadBack { .. }));
    match *reason(Trimmed { text: " x ".into() }.into()) {
        PayloadError::Changed { written, read } => {
            assert_eq!((written.as_str(), read.as_str()), (r#"{"text":" x "}"#, r#"{"text":"x"}"#));
        }
        other => panic!("{other}"),
    }
    pond.enqueue("q", Trimmed { text: "x".into() }).wait().unwrap();
    pond.enqueue("q", NewJob::json("any", &1.5)).wait().unwrap();
    pond.enqueue("q", NewJob::raw("any", "x")).wait().unwrap();
    for _ in 0..10 {
        let (map, set) = ((0..50).map(|n| (n, n)).collect::<HashMap<u32, u32>>(), (0..50).collect::<HashSet<u32>>());
        pond.enqueue("q", Json((map.clone(), set.clone()))).wait().unwrap();
        pond.enqueue("q", Post((map, set))).wait().unwrap();
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Ambiguous {
    Name(String),
    Code(String),
}

#[test]
fn a_round_trip_is_asserted_by_equality() {
    testing::assert_round_trip(Json(Ambiguous::Name("x".into())));
    testing::assert_round_trip(Post(vec![1.5, f64::INFINITY]));
    let fails = |check: fn()| {
        let panic = std::panic::catch_unwind(check).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    for (text, words) in [
        (fails(|| testing::assert_round_trip(Json(Ambiguous::Code("x".into())))), "another value"),
        (fails(|| testing::assert_round_trip(Json(f64::INFINITY))), "NaN or infinite"),
        (fails(|| testing::assert_round_trip(Asymmetric { order: 7 })), "missing field `order`"),
        (fails(|| testing::assert_round_trip(Post(Untagged::Float(1.0)))), "cannot be read back"),
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_queue_in_memory_for_tests_verifies_its_payloads() {
    let pond = testing::in_memory(&testing::ManualClock::new()).unwrap();
    assert!(matches!(pond.enqueue("q", Asymmetric { order: 7 }).wait(), Err(Error::Unencodable { .. })));
}
