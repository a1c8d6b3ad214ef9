//! The queues of a shop: some work well, some do not.

use std::time::Duration;

use anyhow::Result;
use millpond::{
    CircuitBreaker, Context, Every, GroupPolicy, Handled, Job, Keep, Kind, Millpond, NewJob, QueueSettings, Rate,
    Retention, Retry, Schedule,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "welcome", queue = "mail")]
struct Welcome {
    email: String,
    language: String,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "step", queue = "orders")]
struct Step {
    order: u64,
    step: String,
    amount_cents: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "import", queue = "imports")]
struct Import {
    file: String,
    rows: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "deliver", queue = "webhooks")]
struct Deliver {
    url: String,
    event: String,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "nightly", queue = "reports")]
struct Nightly {
    tenant: String,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "thumbnail", queue = "archive")]
struct Thumbnail {
    picture: u64,
}

/// How many jobs `leave_waiting` stores in one commit.
const CHUNK: u64 = 10_000;

/// Starts the workers and stores the schedules.
pub async fn open(pond: &Millpond) -> Result<()> {
    let kept = |settings: QueueSettings| {
        settings.retention(Retention::default().completed(Keep::new(Duration::from_secs(3_600), 1_000)))
    };
    pond.queue("mail")?.configure(kept(QueueSettings::default())).await?;
    pond.queue("imports")?.configure(kept(QueueSettings::default())).await?;
    pond.queue("orders")?.configure(kept(QueueSettings::default().groups(GroupPolicy::Hold))).await?;
    workers(pond)?;
    let report = |tenant: &str| Nightly { tenant: tenant.into() };
    let hourly = Schedule::new(Every::new(Duration::from_secs(3_600)), "reports", report("north"));
    pond.schedule("report-north", hourly).await?;
    let often = Schedule::new(Every::new(Duration::from_secs(20)), "reports", report("south"));
    pond.schedule("report-south", often).await?;
    Ok(())
}

fn workers(pond: &Millpond) -> Result<()> {
    let quickly = Retry::exponential(Duration::from_secs(2)).max_attempts(3);
    pond.worker("mail")
        .concurrency(8)
        .rate_limit(Rate::per_second(40).burst(80))
        .retry(quickly.clone())
        .handle(welcome)
        .start()?;
    pond.worker("orders").concurrency(4).retry(quickly.clone()).handle(step).start()?;
    pond.worker("imports").concurrency(2).handle(import).start()?;
    let breaker = CircuitBreaker::failures(0.8).of(10).open_for(Duration::from_secs(15));
    pond.worker("webhooks").concurrency(4).retry(quickly).circuit_breaker(breaker).handle(deliver).start()?;
    pond.worker("reports").handle(|_: Job<Nightly>| async { Ok(()) }).start()?;
    Ok(())
}

async fn welcome(job: Job<Welcome>) -> Handled {
    tokio::time::sleep(Duration::from_millis(30)).await;
    if job.id().get().is_multiple_of(97) {
        return Err(format!("550 5.1.1 <{}>: user unknown (id {:08x})", job.email, job.id().get()).into());
    }
    Ok(())
}

async fn step(job: Job<Step>) -> Handled {
    tokio::time::sleep(Duration::from_millis(120)).await;
    if job.order.is_multiple_of(13) && job.step == "charge" {
        return Err(format!("the bank refused order {}: insufficient funds", job.order).into());
    }
    Ok(())
}

async fn import(job: Job<Import>, ctx: Context) -> Handled {
    ctx.log(format!("reading {}", job.file));
    for row in 0..job.rows {
        if row % 50 == 0 {
            ctx.progress(row, Some(job.rows), format!("row {row}"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    ctx.log("every row is stored");
    Ok(())
}

async fn deliver(job: Job<Deliver>) -> Handled {
    tokio::time::sleep(Duration::from_millis(50)).await;
    if job.url.contains("broken") {
        return Err("connection refused (os error 111)".into());
    }
    Ok(())
}

/// Stores jobs that no worker takes.
pub async fn leave_waiting(pond: &Millpond, jobs: u64) -> Result<()> {
    for from in (0..jobs).step_by(CHUNK as usize) {
        let chunk = from..jobs.min(from + CHUNK);
        let jobs = chunk.map(|picture| NewJob::new(Thumbnail { picture }).tags([format!("tenant:{}", picture % 100)]));
        pond.enqueue_many("archive", jobs).await?;
    }
    Ok(())
}

/// People sign up, order, import and are told, for ever.
pub async fn load(pond: Millpond) -> Result<()> {
    let people = ["ada", "grace", "edsger", "barbara", "donald", "margaret"];
    for n in 0_u64.. {
        let name = people[n as usize % people.len()];
        let welcome = Welcome { email: format!("{name}{n}@mill.example"), language: "en".into() };
        pond.enqueue("mail", NewJob::new(welcome).tags([format!("tenant:{}", n % 5)]).header("trace", n.to_string()))
            .await?;
        if n.is_multiple_of(6) {
            let order = n / 6;
            let steps = ["charge", "pack", "ship"].map(|step| {
                let job = Step { order, step: step.into(), amount_cents: 1_000 + n };
                NewJob::new(job).group(format!("customer-{}", order % 40))
            });
            pond.enqueue_many("orders", steps).await?;
        }
        if n.is_multiple_of(200) {
            let file = format!("/import/{name}-{n}.csv");
            pond.enqueue("imports", NewJob::new(Import { file, rows: 4_000 }).unique_key(name)).await?;
        }
        if n.is_multiple_of(10) {
            let host = if n / 600 % 2 == 0 { "partner" } else { "broken" };
            let hook = Deliver { url: format!("https://{host}.example/hooks/{n}"), event: "order.paid".into() };
            pond.enqueue("webhooks", hook).await?;
        }
        if n.is_multiple_of(50) {
            let later = NewJob::new(Welcome { email: format!("{name}@later.example"), language: "de".into() });
            pond.enqueue("mail", later.delay(Duration::from_secs(300))).await?;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}
