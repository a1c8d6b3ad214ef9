//! The whole pond: its queues, its file, its process.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Done, History, Queue, Time};
use crate::amounts::number;

/// Everything at a glance. All of it is read in a time that does not depend on the number of jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// The time of the pond's clock.
    pub now: Time,
    /// Why the pond is degraded, if it is.
    pub degraded: Option<String>,
    /// Whether all queues are paused.
    pub is_paused: bool,
    /// The queues, by name.
    pub queues: Vec<Queue>,
    /// What has happened since the file was opened.
    pub totals: Totals,
    /// The file.
    pub storage: Storage,
    /// The process.
    pub process: Process,
    /// The limits that jobs share.
    pub limits: Vec<Limit>,
    /// Rows that could not be read and are kept aside.
    pub quarantined: u64,
    /// How many schedules there are.
    pub schedules: u64,
    /// The last hour of all queues.
    pub history: History,
}

/// What has happened since the file was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Attempts that have started.
    pub started: u64,
    /// Attempts that have completed their jobs.
    pub completed: u64,
    /// Attempts that have failed.
    pub failed: u64,
    /// How many of them panicked.
    pub panics: u64,
    /// How many of them exceeded their timeouts.
    pub timeouts: u64,
    /// Jobs that were not stored because of their unique keys.
    pub deduplicated: u64,
    /// Ended jobs that were removed after their retention.
    pub pruned: u64,
}

/// The file, and what writing it takes. What is `null` is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Storage {
    /// Where the file is.
    pub path: Option<String>,
    /// The size of the file.
    pub file_bytes: Option<u64>,
    /// How many bytes of it held data when the queue last looked, which it does when it is idle.
    pub live_bytes: Option<u64>,
    /// Commits since the file was opened.
    pub commits: u64,
    /// How long the latest commit took.
    pub latest_commit_seconds: Option<f64>,
    /// How long the longest commit took.
    pub longest_commit_seconds: Option<f64>,
    /// How long all commits together took.
    pub commit_seconds_total: Option<f64>,
    /// Operations that the commits have written. Several share a commit.
    pub operations: u64,
    /// Bytes that were written since the file was opened.
    pub written_bytes: Option<u64>,
    /// How often the file was compacted since it was opened.
    pub compactions: u64,
}

/// The process that has the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Jobs that run.
    pub running: u64,
    /// How many jobs may run at a time, if there is such a limit.
    pub max_running: Option<u64>,
    /// How many of them have a blocking handler, each of which occupies a thread.
    pub blocking: u64,
    /// How many such threads there can be.
    pub blocking_max: u64,
    /// Blocking handlers that have exceeded their timeouts and still keep their slots.
    pub stuck: u64,
    /// When the file was opened.
    pub opened_at: Option<Time>,
}

/// A limit that jobs of several queues share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// How many units it has.
    pub units: u64,
    /// How many of them are in use.
    pub used: u64,
}

/// What a check of the whole file has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// How many jobs were checked.
    pub jobs: u64,
    /// What is wrong, a sentence each. Empty if nothing is.
    pub problems: Vec<String>,
}

impl Check {
    /// What was found, as a sentence: `8 jobs were checked, and nothing is wrong`.
    pub fn sentence(&self) -> String {
        let jobs = if self.jobs == 1 { "1 job was".to_owned() } else { format!("{} jobs were", number(self.jobs)) };
        match &self.problems[..] {
            [] => format!("{jobs} checked, and nothing is wrong"),
            [only] => format!("{jobs} checked, and there is a problem: {only}"),
            [first, ..] => {
                format!("{jobs} checked, and there are {} problems. The first: {first}", self.problems.len())
            }
        }
    }

    /// The same as what an action has done.
    pub fn into_done(self) -> Done {
        Done { message: self.sentence(), problems: self.problems, ..Done::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_what_it_has_found() {
        let said = |jobs, problems: &[&str]| {
            Check { jobs, problems: problems.iter().map(|&problem| problem.to_owned()).collect() }.sentence()
        };
        assert_eq!(said(1, &[]), "1 job was checked, and nothing is wrong");
        assert_eq!(
            said(1_234, &["a count is wrong"]),
            "1,234 jobs were checked, and there is a problem: a count is wrong"
        );
        assert!(said(2, &["one", "two"]).ends_with("there are 2 problems. The first: one"));
    }
}
