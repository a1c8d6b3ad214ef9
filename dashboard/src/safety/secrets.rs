//! Random values that only pages of this dashboard know, and how secrets are compared.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use subtle::ConstantTimeEq;

/// Sessions that are known, at most. Another one ends the oldest.
const SESSIONS_MAX: usize = 1_000;

/// Values that are made by the process, so they end with it.
pub(crate) struct Secrets {
    /// Every form contains it. A foreign page cannot read it.
    pub form: String,
    /// The values of the cookies of those who have entered the token, the oldest first.
    sessions: Mutex<VecDeque<String>>,
}

impl Secrets {
    pub fn new() -> Self {
        Self { form: random(), sessions: Mutex::default() }
    }

    /// Begins a session, and returns the value of its cookie.
    pub fn begin_session(&self) -> String {
        let (session, mut sessions) = (random(), self.sessions());
        if sessions.len() == SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back(session.clone());
        session
    }

    pub fn is_session(&self, given: &str) -> bool {
        self.sessions().iter().any(|session| equal(given, session))
    }

    /// Ends a session: its cookie is worth nothing any more, whoever has it.
    pub fn end_session(&self, given: &str) {
        self.sessions().retain(|session| !equal(given, session));
    }

    fn sessions(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 32 random bytes, in hexadecimal.
fn random() -> String {
    let mut bytes = [0; 32];
    // Without random numbers nothing here is safe, and no platform that the crate runs on is without them.
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in a time that depends only on the lengths.
pub(crate) fn equal(given: &str, secret: &str) -> bool {
    given.as_bytes().ct_eq(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_alone_or_when_there_are_too_many() {
        let secrets = Secrets::new();
        let [first, second] = [secrets.begin_session(), secrets.begin_session()];
        assert!(secrets.is_session(&first) && secrets.is_session(&second) && !secrets.is_session(""));
        secrets.end_session(&first);
        assert!(!secrets.is_session(&first) && secrets.is_session(&second));
        (0..SESSIONS_MAX).for_each(|_| drop(secrets.begin_session()));
        assert!(!secrets.is_session(&second));
    }
}
