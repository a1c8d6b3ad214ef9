//! How an application tests its jobs: `cargo run --example testing`. In an application, these are `#[tokio::test]`s.

use std::time::Duration;

use millpond::testing::{self, Given, ManualClock};
use millpond::{BoxError, Data, Handled, Job, Kind, Millpond, NewJob, Outcome};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize, Kind)]
#[kind(name = "reminder", queue = "emails")]
struct Reminder {
    customer: u64,
}

struct Mailer {
    is_up: bool,
}

async fn remind(_: Job<Reminder>, mailer: Data<Mailer>) -> Handled<Outcome> {
    Ok(if mailer.is_up { Outcome::done() } else { Outcome::snooze(Duration::from_secs(60)) })
}

/// What is tested: a signup is reminded after a day.
async fn sign_up(pond: &Millpond, customer: u64) -> Result<(), millpond::Error> {
    let day = Duration::from_secs(24 * 3600);
    pond.enqueue("emails", NewJob::new(Reminder { customer }).delay(day)).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The handler alone.
    let down = Given::default().data(Mailer { is_up: false });
    let outcome = testing::perform(remind, Reminder { customer: 7 }, down).await;
    assert!(matches!(outcome, Outcome::Snooze(_)));

    // The payload alone.
    testing::assert_round_trip(Reminder { customer: 7 });

    // The whole: a queue in memory, and a day that passes in a moment.
    let clock = ManualClock::new();
    let pond = testing::in_memory(&clock)?;
    pond.worker("emails").data(Mailer { is_up: true }).handle(remind).start()?;
    sign_up(&pond, 7).await?;
    testing::assert_enqueued::<Reminder>(&pond, "emails", |reminder| reminder.customer == 7);
    testing::refute_enqueued::<Reminder>(&pond, "emails", |reminder| reminder.customer == 8);
    assert_eq!(testing::drain(&pond).await.completed, 0);
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(testing::drain(&pond).await.completed, 1);
    println!("the customer was reminded after a day");
    Ok(())
}
