//! Exit codes, and errors that have one.

use std::io;
use std::process::ExitCode;

use millpond::BoxError;
use millpond::dashboard::api::{Code, Problem};

/// How the program ends if a command has not done all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The reader of the output has left, as `head` does. This is no error.
    ReaderLeft = 0,
    /// Something else has failed.
    Failed = 1,
    /// The arguments cannot be understood. clap uses the same code.
    Usage = 2,
    /// The job, queue, schedule, flow or file does not exist.
    NotFound = 3,
    /// The state of the job, queue or file does not allow it.
    Conflict = 4,
    /// The queue cannot be reached now: another process has the file, or no process answers.
    Unreachable = 5,
    /// It was not confirmed, or it is not permitted.
    Refused = 6,
    /// A check has found problems.
    Unsound = 7,
}

/// What `millpond --help` says of the codes.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  the arguments cannot be understood
  3  the job, queue, schedule, flow or file does not exist
  4  the state of the job, queue or file does not allow it
  5  the queue cannot be reached: another process has the file, or none answers
  6  not confirmed, or not permitted
  7  a check has found problems";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with its exit code. Its text says what can be done.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    text: String,
}

impl Failed {
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failed {}

/// The exit code of an error.
pub fn of(error: &BoxError) -> Exit {
    if let Some(failed) = error.downcast_ref::<Failed>() {
        return failed.exit;
    }
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return Exit::ReaderLeft;
    }
    match error.downcast_ref::<Problem>().map(|problem| problem.code) {
        Some(Code::NotFound) => Exit::NotFound,
        Some(Code::Conflict) => Exit::Conflict,
        Some(Code::Unavailable) => Exit::Unreachable,
        Some(Code::Unauthorized | Code::Forbidden) => Exit::Refused,
        Some(Code::Invalid | Code::TooLarge) => Exit::Usage,
        _ => Exit::Failed,
    }
}
