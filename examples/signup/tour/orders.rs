//! Orders with several steps each: every order's steps arrive one after another, in order.

use anyhow::{Result, ensure};
use reqwest::Client;
use tokio::task::JoinSet;

use super::claims::Claims;
use super::gauges::Gauges;
use super::screen::Screen;
use crate::app::Site;
use crate::app::jobs::queue;
use crate::loopback::Loopback;
use crate::loopback::Warehouse;

const ORDERS: u64 = 40;
const STEPS: [&str; 6] = ["create", "update", "update", "update", "update", "cancel"];

pub async fn run(site: &Site, loopback: &Loopback, screen: &mut Screen, claims: &mut Claims) -> Result<()> {
    screen.chapter(&format!("{ORDERS} orders of {} steps each, a group per order", STEPS.len()));
    let gauges = Gauges::new(&site.pond, &[queue::ORDERS])?;
    place_all(&site.url).await?;
    gauges.drain(screen).await?;
    if let Some(warehouse) = &loopback.warehouse {
        check_sequences(warehouse, claims);
    }
    Ok(())
}

/// Requests the steps of each order one after another, and those of all orders at the same time.
async fn place_all(url: &str) -> Result<()> {
    let client = Client::new();
    let mut orders = JoinSet::new();
    for order in 1..=ORDERS {
        let (client, url) = (client.clone(), url.to_owned());
        orders.spawn(async move {
            for step in STEPS {
                let answer = client.post(format!("{url}/orders/{order}/{step}")).send().await?;
                ensure!(answer.status().is_success(), "{step} of order {order} was answered with {}", answer.status());
            }
            Ok(())
        });
    }
    orders.join_all().await.into_iter().collect()
}

fn check_sequences(warehouse: &Warehouse, claims: &mut Claims) {
    let histories = warehouse.histories();
    let expected: Vec<u64> = (1..=STEPS.len() as u64).collect();
    let in_order = histories.iter().filter(|history| history.accepted == expected).count();
    claims.check(
        in_order as u64 == ORDERS,
        "the warehouse heard of every order's steps in order",
        format!("{in_order} of {ORDERS} sequences"),
    );
    let failed: u64 = histories.iter().map(|history| history.failed).sum();
    claims.check(
        failed == ORDERS && !histories.iter().any(|history| history.overlapped),
        "a step that failed held back those behind it, and never two of an order ran at once",
        format!("{failed} steps failed at first"),
    );
}
