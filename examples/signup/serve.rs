//! `--serve`: runs the application until Ctrl-C, and prints commands to try.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use millpond::Retry;

use crate::app::Site;
use crate::loopback::{Loopback, NEVER};

pub async fn run(db: &Path, port: u16) -> Result<ExitCode> {
    let loopback = Loopback::start().await?;
    let site = Site::open(db, port, &loopback.outside, &Retry::default()).await?;
    print_what_to_try(&site.url, &loopback, db);
    tokio::signal::ctrl_c().await?;
    println!("\nstopping: what is not done yet is done after the next start");
    site.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn print_what_to_try(url: &str, loopback: &Loopback, db: &Path) {
    let outside = &loopback.outside;
    let json = "-H 'content-type: application/json'";
    println!(
        "\
Serving {url} on {}. Ctrl-C stops it; users and jobs stay in the file.

  mail       {}
  slack      {}
  crm        {}
  analytics  {}
  warehouse  {}

Try:

  curl -i {url}/signup {json} -d '{{\"email\":\"ada@mill.example\",\"name\":\"Ada\"}}'
  curl -i {url}/signup {json} -d '{{\"email\":\"{NEVER}\",\"name\":\"Nobody\"}}'   # its mail is refused for good
  curl -X POST {url}/orders/7/create
  curl -X POST {url}/orders/7/update
  curl -X POST {url}/orders/7/cancel
  curl {url}/status
  curl {url}/dead
  curl -X POST {url}/dead/redrive",
        db.display(),
        outside.smtp,
        outside.slack,
        outside.crm,
        outside.analytics,
        outside.warehouse,
    );
    if cfg!(feature = "wasm") {
        println!("  curl -T photo.png {url}/avatars/ada@mill.example       # up to 1 MiB; a plugin makes it small");
        println!("  curl {url}/avatars/ada@mill.example -o small.jpg");
    }
    if loopback.crm.is_some() {
        let crm = outside.crm.trim_end_matches("/contacts");
        println!("  curl -X POST {crm}/break      # signups retry and, after half a minute, end as dead letters");
        println!("  curl -X POST {crm}/mend");
    }
    if cfg!(feature = "dashboard") {
        println!("\nThe queues are at {url}/queues.");
    }
}
