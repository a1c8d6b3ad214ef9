//! What all requests share.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future;
use tokio::sync::watch;

use crate::api::{Nodes, Problem};
use crate::options::Options;
use crate::safety::Secrets;
use crate::source::Source;

/// How long a connection is kept that tells what happens: then the browser connects again. An application that shuts its
/// server down gracefully waits for the connections, so none must stay for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(30);

/// Notes that are kept, at most.
const NOTES_MAX: usize = 64;

/// A source with its pages.
pub(crate) struct Site {
    pub source: Arc<dyn Source>,
    pub options: Options,
    pub secrets: Secrets,
    /// One check of the whole file runs at a time.
    pub checking: tokio::sync::Mutex<()>,
    notes: Mutex<Notes>,
    /// The server's own signal. `None` where the application serves the routes.
    stop: Option<watch::Receiver<bool>>,
}

/// What the latest actions have done, each to be shown on the page that follows.
#[derive(Default)]
struct Notes {
    next: u64,
    texts: VecDeque<(u64, Note)>,
}

/// What an action has done, or why it has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub text: String,
    pub is_problem: bool,
}

impl Site {
    pub fn new(source: Arc<dyn Source>, options: Options, stop: Option<watch::Receiver<bool>>) -> Self {
        let secrets = Secrets::new();
        Self { source, options, secrets, checking: tokio::sync::Mutex::default(), notes: Mutex::default(), stop }
    }

    /// Ends when the server stops, as far as that is known.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let (stop, until) = (self.stop.clone(), self.options.until.clone());
        let own = async move {
            match stop {
                // An error says that the server was dropped.
                Some(mut stop) => drop(stop.wait_for(|stop| *stop).await),
                None => std::future::pending().await,
            }
        };
        let of_app = async move {
            match until {
                Some(until) => until.await,
                None => std::future::pending().await,
            }
        };
        async move {
            future::select(pin!(own), pin!(of_app)).await;
        }
    }

    /// How long a connection that tells what happens is kept: for ever, where it is known when the server stops.
    pub fn connection_time(&self) -> Duration {
        if self.stop.is_some() || self.options.until.is_some() { Duration::MAX } else { CONNECTION_TIME }
    }

    /// The nodes of the fleet.
    pub async fn nodes(&self) -> Result<Nodes, Problem> {
        match &self.options.nodes {
            Some(ask) => Ok(ask().await),
            None => Err(Problem::not_found("this dashboard knows no nodes: its options say nothing of a fleet")),
        }
    }

    /// Keeps a note. Returns its number, for the address of the page that shows it.
    pub fn keep(&self, note: Note) -> u64 {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let number = notes.next;
        notes.next += 1;
        notes.texts.push_back((number, note));
        if notes.texts.len() > NOTES_MAX {
            notes.texts.pop_front();
        }
        number
    }

    /// The note of this number, if it is still there.
    pub fn note(&self, number: u64) -> Option<Note> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.texts.iter().find(|(own, _)| *own == number).map(|(_, note)| note.clone())
    }
}
