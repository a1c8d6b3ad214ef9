//! A graphics card that four small jobs or one large job can use, over two queues: `cargo run --example limits`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use millpond::testing;
use millpond::{BoxError, Data, Job, Kind, Millpond, NewJob};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "preview", queue = "previews")]
struct Preview {
    film: u64,
}

/// Each needs three of the four units.
#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "training", queue = "trainings", weight = 3)]
struct Training {
    model: u64,
}

/// How much of the card is in use, and the most that ever was.
#[derive(Default)]
struct Card {
    used: AtomicU32,
    most: AtomicU32,
}

impl Card {
    async fn work(&self, units: u32) {
        let used = self.used.fetch_add(units, Ordering::SeqCst) + units;
        self.most.fetch_max(used, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.used.fetch_sub(units, Ordering::SeqCst);
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let dir = tempfile::tempdir()?;
    let pond = Millpond::builder().limit("gpu", 4).open(dir.path().join("app.redb"))?;
    let card = Arc::new(Card::default());
    pond.worker("previews")
        .limit("gpu")
        .data(card.clone())
        .handle(|_: Job<Preview>, card: Data<Arc<Card>>| async move {
            card.work(1).await;
            Ok(())
        })
        .start()?;
    pond.worker("trainings")
        .limit("gpu")
        .data(card.clone())
        .handle(|_: Job<Training>, card: Data<Arc<Card>>| async move {
            card.work(3).await;
            Ok(())
        })
        .start()?;
    pond.send_many((0..50).map(|film| Preview { film })).await?;
    pond.send_many((0..10).map(|model| Training { model })).await?;
    // A large preview says so itself.
    pond.enqueue("previews", NewJob::new(Preview { film: 50 }).weight(2)).await?;
    testing::drain(&pond).await;

    let done = |queue: &str| pond.queue(queue).map(|queue| queue.counts().completed_total);
    assert_eq!((done("trainings")?, done("previews")?), (10, 51));
    assert!(card.most.load(Ordering::SeqCst) <= 4);
    assert_eq!(pond.limits()[0].used, 0);
    println!("at most {} of 4 units were in use", card.most.load(Ordering::SeqCst));
    Ok(())
}
