//! A queue on a real file with jobs in every state, and its source.

use millpond::dashboard::api::{Action, Done, Problem};
use millpond::dashboard::{PondSource, Source};
use millpond::{JobId, Millpond};

use crate::stock::{Stock, stock};
use crate::support::*;

pub struct Stocked {
    pub source: PondSource,
    pub pond: Millpond,
    /// It is deleted with this value.
    _file: OnDisk,
    pub waiting: JobId,
    pub later: JobId,
    pub grouped: [JobId; 2],
    pub done: JobId,
    pub dead: Vec<JobId>,
}

/// The pond of [`stock`].
pub async fn stocked() -> Stocked {
    let file = OnDisk::new();
    let pond = file.open();
    let Stock { waiting, later, grouped, done, dead } = stock(&pond).await;
    let source = PondSource::new(&pond);
    Stocked { source, pond, _file: file, waiting, later, grouped, done, dead }
}

impl Stocked {
    pub async fn act(&self, action: Action) -> Result<Done, Problem> {
        self.source.act(action).await
    }

    /// The action changes so many things.
    #[track_caller]
    pub fn changes(&self, action: Action, changed: u64) -> impl Future<Output = Done> {
        let (name, call) = (action.name(), self.source.act(action));
        async move {
            let done = call.await.unwrap_or_else(|problem| panic!("{name}: {problem}"));
            assert_eq!(done.changed, changed, "{name}: {}", done.message);
            assert!(!done.message.is_empty(), "{name}");
            done
        }
    }

    /// Closes the queue after it was found to be in order.
    pub async fn close(self) {
        assert_sound(&self.pond).await;
        let Self { source, pond, .. } = self;
        drop(source);
        close(pond).await;
    }
}
