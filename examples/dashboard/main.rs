//! A shop's queues under a load that does not end, and the dashboard that shows them.
//!
//! ```text
//! cargo run --release --features dashboard --example dashboard                      # http://127.0.0.1:3001
//! cargo run --release --features dashboard --example dashboard -- --jobs 1000000    # and a million waiting jobs
//! cargo run --features dashboard --example dashboard -- --check                     # asks for every page, and exits
//! ```
//!
//! An application mounts it beside its own routes: `app.nest("/admin/queues", millpond::dashboard::router(&pond, options))`.

mod check;
mod flows;
mod links;
mod shop;
mod streams;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use millpond::Millpond;
use millpond::dashboard::{self, Options};

const USAGE: &str = "usage: dashboard [--check] [--port N] [--db PATH] [--jobs N]";

#[tokio::main]
async fn main() -> Result<()> {
    let asked = Asked::read(std::env::args().skip(1))?;
    let folder = tempfile::tempdir()?;
    let path = asked.db.unwrap_or_else(|| folder.path().join("shop.redb"));
    let pond = Millpond::builder().limit("bank", 4).open(&path)?;

    shop::open(&pond).await?;
    flows::make(&pond).await?;
    streams::make(&pond).await?;
    let links = links::make(&pond)?;
    shop::leave_waiting(&pond, asked.jobs).await?;
    let address = SocketAddr::from(([127, 0, 0, 1], asked.port));
    let server = dashboard::serve(&pond, Options::new().title("Shop"), address).await?;
    let address = server.address().context("it listens at an address")?;
    println!("the dashboard is at http://{address}, the file is {}", path.display());
    #[cfg(unix)]
    let _beside = {
        // Here the program `millpond` finds it: `millpond top --file shop.redb`.
        let socket = path.with_extension("redb.sock");
        dashboard::serve(&pond, Options::new(), dashboard::Listen::Unix(socket)).await?
    };

    let load = tokio::spawn(shop::load(pond.clone()));
    if asked.check {
        check::pages(&pond, address).await?;
    } else {
        tokio::signal::ctrl_c().await?;
    }
    load.abort();
    drop(links);
    server.stop().await;
    pond.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

struct Asked {
    check: bool,
    port: u16,
    db: Option<PathBuf>,
    jobs: u64,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut asked = Self { check: false, port: 3001, db: None, jobs: 0 };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--check" => (asked.check, asked.port) = (true, 0),
                "--port" => asked.port = value()?.parse()?,
                "--db" => asked.db = Some(value()?.into()),
                "--jobs" => asked.jobs = value()?.parse()?,
                _ => bail!("{word} is not known\n{USAGE}"),
            }
        }
        Ok(asked)
    }
}
