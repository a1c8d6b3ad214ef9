//! A transform: a stream in, a plugin, a stream out, exactly once. The plugin `guest-examples/rust-transform` takes the clicks of two shops
//! out of a stream, and appends them to another one without the addresses of the visitors.
//!
//! ```text
//! cargo run --features wasm --example transform
//! ```
//!
//! It starts itself a second time, and that process dies in the middle of the work.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use millpond::{BoxError, Grant, JobFilter, Kind, Millpond, NewJob, Plugin, Start, Worker};
use serde::{Deserialize, Serialize};

const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-examples/rust-transform/transform.wasm");

/// How many clicks there are.
const CLICKS: u64 = 2_000;

/// How many the other stream has when the process dies, at least.
const BEFORE_IT_DIES: u64 = 500;

#[derive(Serialize, Deserialize, Kind)]
struct Click {
    address: String,
    page: String,
    agent: String,
}

/// What the plugin makes of it.
#[derive(Deserialize)]
struct Anonymous {
    network: String,
    page: String,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if let Some(file) = std::env::args().nth(1) {
        return die_in_the_middle(Path::new(&file)).await;
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("shop.redb");
    let died = Command::new(std::env::current_exe()?).arg(&file).status()?;
    assert!(!died.success());

    let pond = Millpond::open(&file)?;
    let clicks = pond.stream("clicks")?.info()?;
    let there = pond.stream("clicks-anonymous")?.info()?.entries;
    println!("the process has died: of {} clicks, {there} are in the other stream", clicks.entries);
    assert!(there >= BEFORE_IT_DIES);
    let worker = transform(&pond).await?;
    let mut behind = pond.stream("clicks")?.consumer("transform")?.info()?;
    while behind.behind + behind.jobs > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        behind = pond.stream("clicks")?.consumer("transform")?.info()?;
    }
    worker.stop().await?;
    check(&pond)?;
    pond.shutdown(std::time::Duration::from_secs(10)).await?;
    Ok(())
}

/// Starts the transform: a consumer whose handler is the plugin.
async fn transform(pond: &Millpond) -> Result<Worker, BoxError> {
    let plugin = Plugin::from_file(PLUGIN)?.grant(Grant::append("anonymous-click").to_stream("clicks-anonymous"));
    let worker = pond
        .consumer("clicks", "transform")
        .from(Start::Earliest)
        .worker(|worker| worker.handle_wasm(Click::KIND, plugin))
        .start()
        .await?;
    Ok(worker)
}

/// The first process: it appends the clicks, and dies when a part of them is in the other stream.
async fn die_in_the_middle(file: &Path) -> Result<(), BoxError> {
    let pond = Millpond::open(file)?;
    pond.stream("clicks")?.append_many((0..CLICKS).map(click)).await?;
    let mut tail = pond.stream("clicks-anonymous")?.tail(Start::Earliest);
    let _worker = transform(&pond).await?;
    for _ in 0..BEFORE_IT_DIES {
        tail.next().await.expect("it is open")?;
    }
    std::process::abort();
}

/// Of ten clicks one is that of a robot. One click of all has no address.
fn click(n: u64) -> NewJob {
    let address = if n == 7 { "unknown".into() } else { format!("203.0.{}.{}", n % 3, n % 200) };
    let agent = if n % 10 == 3 { "searchbot/2".into() } else { "a browser".into() };
    NewJob::new(Click { address, page: format!("page {n}"), agent }).group(format!("shop-{}", n % 2))
}

/// Each click that is not left out is in the other stream once, those of each shop in their order.
fn check(pond: &Millpond) -> Result<(), BoxError> {
    let out = pond.stream("clicks-anonymous")?;
    let mut of_shops: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut from = 0;
    loop {
        let page = out.read(from, 1_000)?;
        let Some(last) = page.last() else { break };
        for entry in &page {
            let click: Anonymous = entry.payload.decode()?;
            if entry.offset < 3 {
                println!("{}: {} from {} (was {})", entry.offset, click.page, click.network, entry.headers["source"]);
            }
            let shop = entry.key.clone().expect("it has the key of the click");
            of_shops.entry(shop).or_default().push(entry.headers["source"].trim_start_matches("clicks/").parse()?);
        }
        from = last.offset + 1;
    }
    for (shop, clicks) in &of_shops {
        assert!(clicks.is_sorted(), "the clicks of {shop} are in their order");
    }
    let mut sources: Vec<u64> = of_shops.into_values().flatten().collect();
    sources.sort_unstable();
    let expected: Vec<u64> = (0..CLICKS).filter(|n| n % 10 != 3 && *n != 7).collect();
    assert_eq!(sources, expected);
    println!("the other stream has {} clicks, each once, those of each shop in their order", sources.len());
    let dead = pond.dead_letters().list(&JobFilter::new(), None, 10)?;
    for job in dead.jobs {
        let entry = job.entry.expect("it came from the stream");
        println!("entry {} of {} is a dead letter: {}", entry.offset, entry.stream, job.reason.unwrap_or_default());
    }
    Ok(())
}
