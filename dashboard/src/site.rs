//! What all requests share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::options::Options;
use crate::safety::Secrets;
use crate::source::Source;

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

    /// Ends when the server stops.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let stop = self.stop.clone();
        async move {
            match stop {
                // An error says that the server was dropped.
                Some(mut stop) => drop(stop.wait_for(|stop| *stop).await),
                None => std::future::pending().await,
            }
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
