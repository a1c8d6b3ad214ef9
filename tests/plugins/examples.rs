//! The committed example handlers, run by the queue.

use std::io::Write;

use bytes::Bytes;
use millpond::{Grant, JobFilter, JobInfo, Millpond, NewJob, Plugin, PluginLimits, Retry, State, Worker};
use serde_json::{Value, json};

use super::built::file;
use super::state::kept;
use crate::support::*;

fn example(path: &str) -> Plugin {
    Plugin::from_bytes("example", file(&format!("guest-examples/{path}"))).unwrap()
}

fn start(pond: &Millpond, plugin: Plugin) -> Worker {
    pond.worker("q").retry(Retry::none()).handle_wasm("job", plugin).start().unwrap()
}

async fn job(pond: &Millpond, payload: impl Into<Bytes>) -> JobInfo {
    let id = pond.enqueue("q", NewJob::raw("job", payload)).await.unwrap();
    drained(pond).await;
    pond.job(id).unwrap()
}

async fn result(pond: &Millpond, payload: impl Into<Bytes>) -> Bytes {
    let job = job(pond, payload).await;
    assert_eq!(job.state, State::Completed, "{job:?}");
    job.result.unwrap()
}

/// The state that the example keeps: key and value.
fn state(pond: &Millpond) -> Vec<(String, String)> {
    kept(pond).into_iter().map(|(_, key, value)| (key, value)).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[tokio::test]
async fn noop_does_nothing() {
    let (_, pond) = memory();
    start(&pond, example("rust-noop/noop.wasm"));
    pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn thumbnail_scales_a_png_and_a_jpeg_down() {
    let (_, pond) = memory();
    start(&pond, example("rust-thumbnail/thumbnail.wasm").config("side", "64"));
    let large = result(&pond, png(60, 30)).await;
    assert_eq!(jpeg_size(&large), (60, 30), "a small upload stays as large as it is");
    assert_eq!(jpeg_size(&result(&pond, png(400, 200)).await), (64, 32));
    let (_, pond) = memory();
    start(&pond, example("rust-thumbnail/thumbnail.wasm").config("side", "20"));
    assert_eq!(jpeg_size(&result(&pond, large).await), (20, 10), "a JPEG is read as well");
}

#[tokio::test]
async fn thumbnail_rejects_files_that_are_not_images_or_claim_to_be_huge() {
    let (_, pond) = memory();
    start(&pond, example("rust-thumbnail/thumbnail.wasm"));
    let whole = png(100, 100);
    let mut huge = whole.clone();
    huge[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    for hostile in [b"GIF89a".to_vec(), Vec::new(), whole[..200].to_vec(), huge] {
        let job = job(&pond, hostile).await;
        assert_eq!(job.state, State::Dead, "{job:?}");
        assert!(job.reason.is_some(), "by its own word: {job:?}");
    }
    assert_eq!(jpeg_size(&result(&pond, whole).await), (100, 100));
}

#[tokio::test]
async fn webhook_filter_forwards_a_delivery_once() {
    let (_, pond) = memory();
    let filter = example("rust-webhook-filter/webhook-filter.wasm").config("events", "order.*, refund");
    start(&pond, filter.grant(Grant::enqueue("webhook")));
    let delivery = |id: &str, event: &str| json!({ "id": id, "source": "shop", "event": event, "body": 7 }).to_string();
    let answer = result(&pond, delivery("a", "order.paid")).await;
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!("passed"));
    assert_eq!(result(&pond, delivery("a", "order.paid")).await, r#""seen""#);
    assert_eq!(result(&pond, delivery("b", "login")).await, r#""ignored""#);
    let passed = pond.jobs(&JobFilter::new().kind("webhook"), None, 10).unwrap().jobs;
    let [webhook] = &passed[..] else { panic!("{passed:?}") };
    assert_eq!((webhook.group.as_deref(), webhook.unique_key.as_deref()), (Some("shop"), Some("a")));
    let seen = |id| pair(&format!("seen/{id}"), "true");
    let expected = [pair("events/login", "1"), pair("events/order.paid", "1"), seen("a"), seen("b")];
    assert_eq!(state(&pond), expected);
}

#[tokio::test]
async fn transform_appends_clicks_without_their_visitors() {
    let (_, pond) = memory();
    let plugin = example("rust-transform/transform.wasm").config("to", "out");
    let plugin = plugin.grant(Grant::append("anonymous-click").to_stream("out"));
    pond.consumer("clicks", "transform").worker(|worker| worker.handle_wasm("click", plugin)).start().await.unwrap();
    let click = |address: &str, agent: &str| {
        let payload = json!({ "address": address, "page": "kettle", "agent": agent }).to_string();
        NewJob::raw("click", payload).group("shop-1")
    };
    let clicks = [click("203.0.113.9", ""), click("203.0.113.9", "searchbot"), click("nowhere", ""), click("::1", "")];
    pond.stream("clicks").unwrap().append_many(clicks).await.unwrap();
    drained(&pond).await;
    let out = pond.stream("out").unwrap().read(0, 10).unwrap();
    let is = |entry: &millpond::Entry| {
        let click: Value = serde_json::from_slice(&entry.payload.bytes).unwrap();
        (click["network"].as_str().unwrap().to_owned(), entry.headers["source"].clone(), entry.key.clone())
    };
    let expected = |network: &str, source: &str| (network.to_owned(), source.to_owned(), Some("shop-1".to_owned()));
    let clicks: Vec<_> = out.iter().map(is).collect();
    assert_eq!(clicks, [expected("203.0.0.0/16", "clicks/0"), expected("0:0::/32", "clicks/3")]);
    let dead = pond.dead_letters().list(&JobFilter::new(), None, 10).unwrap().jobs;
    assert_eq!((dead.len(), dead[0].entry.as_ref().unwrap().offset), (1, 2));
}

#[tokio::test]
async fn crc32_in_c_returns_the_checksum_and_counts_jobs() {
    let (_, pond) = memory();
    start(&pond, example("c-crc32/crc32.wasm"));
    assert_eq!(result(&pond, "123456789").await, "cbf43926");
    assert_eq!(result(&pond, "a").await, "e8b7be43");
    assert_eq!(state(&pond), [pair("bytes", "10")]);
    assert_eq!(job(&pond, "").await.reason.as_deref(), Some("there is nothing to sum"));
}

#[tokio::test]
async fn render_in_javascript_fills_in_the_template_and_enqueues_the_mail() {
    let (_, pond) = memory();
    start(&pond, example("js-render/render.wasm").grant(Grant::enqueue("mail")));
    let template = json!({ "to": "a@b", "template": "Hi {{ name }}!", "values": { "name": "<Bob>" } });
    let answer: Value = serde_json::from_slice(&result(&pond, template.to_string()).await).unwrap();
    assert_eq!(answer, json!({ "bytes": 15 }));
    let mails = pond.jobs(&JobFilter::new().kind("mail"), None, 10).unwrap().jobs;
    let [mail] = &mails[..] else { panic!("{mails:?}") };
    let mail: Value = serde_json::from_slice(&mail.payload.bytes).unwrap();
    assert_eq!(mail, json!({ "to": "a@b", "html": "Hi &lt;Bob&gt;!" }));
    assert_eq!(state(&pond), [pair("rendered", "1")]);
    let job = job(&pond, "{}").await;
    assert_eq!(job.reason.as_deref(), Some("`to` and `template` are missing"));
}

/// The guest is as large as its interpreter, so it is not committed: this test runs where it was built.
#[tokio::test]
async fn summary_in_python_sums_a_column_where_it_is_built() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-examples/python-summary/summary.wasm");
    let Ok(bytes) = std::fs::read(path) else {
        eprintln!("skipped: {path} is not built");
        return;
    };
    let (_, pond) = memory();
    let limits = PluginLimits::default().memory_bytes(128 << 20);
    start(&pond, Plugin::from_bytes("example", bytes).unwrap().limits(limits));
    let csv = json!({ "csv": "name,price\na,1\nb,2.5\n", "column": "price" }).to_string();
    let answer: Value = serde_json::from_slice(&result(&pond, csv).await).unwrap();
    assert_eq!(answer, json!({ "rows": 2, "sum": 3.5, "mean": 1.75, "median": 1.75 }));
    assert_eq!(state(&pond), [pair("rows", "2")]);
}

/// A picture in colour.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], content: &[u8]| {
        let named = [&name[..], content].concat();
        file.extend((content.len() as u32).to_be_bytes());
        file.extend(&named);
        file.extend(crc32fast::hash(&named).to_be_bytes());
    };
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat());
    let mut pixels = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    for y in 0..height {
        let row = (0..width).flat_map(|x| [x as u8, y as u8, 200]);
        pixels.write_all(&[vec![0], row.collect()].concat()).unwrap();
    }
    chunk(b"IDAT", &pixels.finish().unwrap());
    chunk(b"IEND", &[]);
    file
}

/// The width and height in the frame header.
fn jpeg_size(bytes: &[u8]) -> (u16, u16) {
    assert!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]), "a whole JPEG");
    let at = bytes.windows(2).position(|two| two == [0xff, 0xc0]).expect("a frame header");
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    (number(at + 7), number(at + 5))
}
