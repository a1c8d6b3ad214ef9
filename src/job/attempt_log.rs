//! What the handler of an attempt reports while it runs, log lines and progress, and what is kept of it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::progress::Progress;
use crate::text::cut;
use crate::time::Timestamp;

/// The most bytes of the lines that are kept of one attempt: the latest ones. A line counts as its text and
/// [`LINE_COST`].
pub(crate) const LOG_BYTES_MAX: usize = 16 << 10;

/// What each line counts as beside its text, in bytes, so that empty lines are limited as well.
pub(crate) const LINE_COST: usize = 16;

/// Longest log line or progress message, in bytes. What is longer is cut and ends in an ellipsis.
pub(crate) const LINE_BYTES_MAX: usize = 1_024;

/// Of how many attempts a job keeps what they reported: the latest ones.
pub(crate) const ATTEMPT_LOGS_MAX: usize = 5;

/// A line that a handler has logged with [`Context::log`](crate::Context::log).
///
/// The text can come from anywhere: [`printable`](crate::printable) makes it safe to print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// When it was logged.
    pub at: Timestamp,
    /// The line; at most 1 KiB.
    pub text: String,
}

/// What the handler of one attempt has reported: its log lines and its progress.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
///     ctx.log(format!("charge order {}", job.order));
///     ctx.progress(1, Some(2), "asking the bank");
///     Err("declined".into())
/// }
///
/// pond.worker("billing").handle(charge).start()?;
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// let AttemptLog { attempt, lines, dropped, progress, .. } = &pond.job(id)?.logs[0];
/// assert_eq!((*attempt, lines[0].text.as_str(), *dropped), (1, "charge order 7", 0));
/// assert_eq!(progress.as_ref().map(|progress| progress.done), Some(1));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttemptLog {
    /// Which attempt, counted from 1. An attempt that used up no attempt of the job, because it ended in a snooze for example, has
    /// the same number as the one after it.
    pub attempt: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// Its latest lines, oldest first: at most 16 KiB, for which each line counts as its text and 16 bytes more.
    pub lines: Vec<LogLine>,
    /// How many lines it logged before these, which are not kept.
    pub dropped: u64,
    /// The last progress that it reported, if it reported any.
    pub progress: Option<Progress>,
}

/// What an attempt has reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reported {
    pub progress: Option<Progress>,
    /// How many lines were dropped, because there were too many.
    pub dropped: u64,
    /// The latest lines, oldest first.
    pub lines: VecDeque<LogLine>,
}

impl Reported {
    /// As if the attempt had logged only this line.
    pub fn of_line(at: Timestamp, text: String) -> Self {
        Self { lines: [LogLine { at, text }].into(), ..Self::default() }
    }

    #[cfg(test)]
    pub fn of_lines(dropped: u64, lines: [(Timestamp, &str); 2]) -> Self {
        let lines = lines.map(|(at, text)| LogLine { at, text: text.to_owned() });
        Self { progress: None, dropped, lines: lines.into() }
    }

    #[cfg(test)]
    pub fn with_progress(self, progress: Option<Progress>) -> Self {
        Self { progress, ..self }
    }

    /// What the lines count as, in bytes.
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(|line| cost(&line.text)).sum()
    }

    /// As it is shown.
    pub fn shown(self, attempt: u32, started_at: Timestamp, ended_at: Option<Timestamp>) -> AttemptLog {
        let Self { progress, dropped, lines } = self;
        AttemptLog { attempt, started_at, ended_at, lines: lines.into(), dropped, progress }
    }
}

/// What a running attempt has reported so far. Its memory is limited, however much the handler reports.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    reported: Reported,
    /// What the lines count as, in bytes.
    bytes: usize,
}

impl Reports {
    /// What was reported so far.
    pub fn so_far(&self) -> &Reported {
        &self.reported
    }

    pub fn into_reported(self) -> Reported {
        self.reported
    }

    /// Adds a line, and drops the oldest lines for which there is no more room.
    pub fn add_line(&mut self, at: Timestamp, text: String) {
        let mut text = cut(text, LINE_BYTES_MAX);
        text.shrink_to_fit();
        self.bytes += cost(&text);
        let Reported { lines, dropped, .. } = &mut self.reported;
        lines.push_back(LogLine { at, text });
        while self.bytes > LOG_BYTES_MAX {
            let Some(oldest) = lines.pop_front() else { break };
            self.bytes -= cost(&oldest.text);
            *dropped += 1;
        }
    }

    pub fn set_progress(&mut self, mut progress: Progress) {
        progress.message = cut(progress.message, LINE_BYTES_MAX);
        self.reported.progress = Some(progress);
    }
}

fn cost(text: &str) -> usize {
    text.len() + LINE_COST
}

/// What is kept of one attempt, as it is in the job's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredLog {
    pub attempt: u32,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub reported: StoredReport,
}

/// What an attempt has reported, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoredReport {
    Plain(Reported),
    /// As the payload codec has made it of the postcard of a [`Reported`].
    Coded(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(texts: impl IntoIterator<Item = String>) -> Reports {
        let mut reports = Reports::default();
        texts.into_iter().for_each(|text| reports.add_line(Timestamp::from_millis(7), text));
        reports
    }

    #[test]
    fn the_latest_lines_are_kept_and_the_others_are_counted() {
        let line = |n: u64| format!("{n:0>100}");
        let reported = reports((0..1_000).map(line)).into_reported();
        let kept = (LOG_BYTES_MAX / (100 + LINE_COST)) as u64;
        assert_eq!((reported.lines.len() as u64, reported.dropped), (kept, 1_000 - kept));
        assert_eq!(
            (&reported.lines[0].text, &reported.lines[kept as usize - 1].text),
            (&line(1_000 - kept), &line(999))
        );
    }

    #[test]
    fn many_empty_lines_take_no_more_room_than_long_ones() {
        let reported = reports((0..100_000).map(|_| String::with_capacity(500))).into_reported();
        assert_eq!(reported.lines.len(), LOG_BYTES_MAX / LINE_COST);
        assert!(
            reported.lines.iter().all(|line| line.text.capacity() == 0),
            "a line holds no memory that it does not use"
        );
        assert!(postcard::to_stdvec(&reported).unwrap().len() <= LOG_BYTES_MAX);
    }

    #[test]
    fn long_lines_are_cut_and_what_is_stored_stays_within_the_limit() {
        let reported = reports((0..100).map(|_| "é".repeat(LINE_BYTES_MAX))).into_reported();
        assert!(reported.lines.iter().all(|line| line.text.len() <= LINE_BYTES_MAX && line.text.ends_with('…')));
        assert!(postcard::to_stdvec(&reported).unwrap().len() <= LOG_BYTES_MAX);
    }
}
