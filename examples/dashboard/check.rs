//! Asks for every page and for the API, as a browser and a program do.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use millpond::{JobFilter, Millpond};

const PAGES: [&str; 22] = [
    "/",
    "/queues/mail",
    "/queues/mail?state=completed",
    "/queues/orders/groups",
    "/queues/mail/limits",
    "/jobs?tag=tenant:1",
    "/dead",
    "/schedules",
    "/schedules/report-north",
    "/flows",
    "/flows/order-1042",
    "/api/v1/flows/import-products/dot",
    "/streams",
    "/streams/payments",
    "/streams/payments?from=100",
    "/api/v1/consumers",
    "/links",
    "/api/v1/links",
    "/plugins",
    "/quarantine",
    "/events",
    "/metrics",
];

/// Every page answers, and so does the page of a job.
pub async fn pages(pond: &Millpond, address: SocketAddr) -> Result<()> {
    let job = loop {
        let found = pond.jobs(&JobFilter::new().queue("mail"), None, 1)?;
        match found.jobs.first() {
            Some(job) => break job.id,
            None => tokio::task::yield_now().await,
        }
    };
    for page in PAGES.map(str::to_owned).into_iter().chain([format!("/jobs/{job}")]) {
        let answer = reqwest::get(format!("http://{address}{page}")).await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{page}: {status}: {text}");
        println!("{page}: {} bytes", text.len());
    }
    let pause = r#"{"action":"pause_queue","queue":"reports"}"#;
    let request = reqwest::Client::new().post(format!("http://{address}/api/v1/actions"));
    let answer = request.header("content-type", "application/json").body(pause).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    ensure!(pond.queue("reports")?.is_paused(), "the queue is paused");
    println!("every page answers, and an action has paused a queue");
    Ok(())
}
