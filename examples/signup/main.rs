//! A web shop: signups and orders are stored in the same file as the durable queue of the jobs that they cause.
//!
//! ```text
//! cargo run --release --features wasm --example signup              # a guided tour: half a minute, exits 0
//! cargo run --release --features wasm --example signup -- --serve   # keeps running, prints what to try
//! ```
//!
//! Without the feature there are no pictures and no plugins. With the feature `dashboard` too, the queues are at `/queues`.
//!
//! `app/` is the application, the part to copy. `loopback/` has stand-ins for the external services. `tour/` puts load
//! on the application, makes services fail, kills the process, and checks every promise.

mod app;
mod loopback;
mod serve;
mod tour;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
usage: signup                                  the tour
       signup --serve [--port N] [--db PATH]   the application";

const PORT_DEFAULT: u16 = 3000;
const DB_DEFAULT: &str = "signup.redb";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let mode = words.next();
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value\n{USAGE}"))?;
        options.set(&word, value)?;
    }
    match mode.as_deref() {
        None => tour::run().await,
        Some("--serve") => serve::run(&options.db, options.port).await,
        Some(tour::CRASH_CHILD) => tour::crash_child(&options.db, options.signups).await,
        Some("--help" | "-h") => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => bail!("{other} is not known\n{USAGE}"),
    }
}

struct Options {
    db: PathBuf,
    port: u16,
    /// How many signups a child of the tour survives.
    signups: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { db: DB_DEFAULT.into(), port: PORT_DEFAULT, signups: 0 }
    }
}

impl Options {
    fn set(&mut self, word: &str, value: String) -> Result<()> {
        match word {
            "--db" => self.db = value.into(),
            "--port" => self.port = value.parse()?,
            "--signups" => self.signups = value.parse()?,
            _ => bail!("{word} is not known\n{USAGE}"),
        }
        Ok(())
    }
}
