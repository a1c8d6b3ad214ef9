//! A fleet in memory, for tests.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

use super::{ANSWERS_MAX, Fleet};
use crate::Unavailable;

/// A [`Fleet`] in memory. Clones are the same fleet.
#[derive(Clone, Debug)]
pub struct MemoryFleet {
    questions: broadcast::Sender<mpsc::Sender<Bytes>>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    is_down: bool,
    injected: Vec<Bytes>,
}

impl Default for MemoryFleet {
    fn default() -> Self {
        Self { questions: broadcast::Sender::new(16), inner: Arc::default() }
    }
}

impl MemoryFleet {
    /// A fleet without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// While it is down, nobody can ask.
    pub fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// Answers each question with this too, whoever would write such a thing.
    pub fn inject(&self, answer: impl Into<Bytes>) {
        self.lock().injected.push(answer.into());
    }

    /// How many nodes hear questions.
    pub fn nodes(&self) -> usize {
        self.questions.receiver_count()
    }
}

impl Fleet for MemoryFleet {
    async fn serve<A>(&self, answer: impl Fn() -> A + Send + Sync) -> Unavailable
    where
        A: Future<Output = Bytes> + Send,
    {
        let mut questions = self.questions.subscribe();
        loop {
            match questions.recv().await {
                Ok(asker) => drop(asker.send(answer().await).await),
                Err(error) => return Unavailable(error.to_string()),
            }
        }
    }

    async fn ask(&self, within: Duration) -> Result<Vec<Bytes>, Unavailable> {
        let (asker, mut heard) = mpsc::channel(16);
        let mut answers = {
            let inner = self.lock();
            if inner.is_down {
                return Err(Unavailable("a fault of the test".into()));
            }
            inner.injected.clone()
        };
        // That nobody listens is not an error.
        let _ = self.questions.send(asker);
        let all = async {
            while answers.len() < ANSWERS_MAX
                && let Some(answer) = heard.recv().await
            {
                answers.push(answer);
            }
        };
        // All nodes have answered, or the time is over.
        let _ = tokio::time::timeout(within, all).await;
        Ok(answers)
    }
}
