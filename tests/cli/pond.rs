//! A queue in a file, which the program opens, or which a process has open that serves the dashboard.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use millpond::Millpond;
use millpond::dashboard::{Listen, Options, Server, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::stock::stock;
use crate::tool::{Said, millpond, say};

/// How long an end is waited for before a test fails.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub struct Pond {
    folder: TempDir,
    runtime: Runtime,
    served: Option<(Millpond, Server)>,
}

/// A file with the jobs of [`stock`]. No process has it open.
pub fn stocked() -> Pond {
    let pond = empty();
    pond.with(|pond| async move {
        stock(&pond).await;
    });
    pond
}

/// A file without jobs.
pub fn empty() -> Pond {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pond = Pond { folder: TempDir::new().unwrap(), runtime, served: None };
    pond.with(|_| async {});
    pond
}

impl Pond {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self) -> String {
        self.path("jobs.redb").to_str().unwrap().to_owned()
    }

    /// Opens the file for a moment.
    pub fn with<T, F: Future<Output = T>>(&self, work: impl FnOnce(Millpond) -> F) -> T {
        self.runtime.block_on(async {
            let pond = Millpond::open(self.path("jobs.redb")).unwrap();
            let done = work(pond.clone()).await;
            pond.shutdown(WAIT_MAX).await.unwrap();
            done
        })
    }

    /// From now on this process has the file open, and serves the dashboard there.
    pub fn serve(&mut self, options: Options, listen: Listen) -> &Server {
        let path = self.path("jobs.redb");
        let served = self.runtime.block_on(async {
            let pond = Millpond::open(path).unwrap();
            let server = serve(&pond, options, listen).await.unwrap();
            (pond, server)
        });
        &self.served.insert(served).1
    }

    /// From now on this process has the file open.
    pub fn open(&mut self) -> Millpond {
        let path = self.path("jobs.redb");
        self.runtime.block_on(async { Millpond::open(path).unwrap() })
    }

    /// The file that this process has open and serves.
    #[cfg(unix)]
    pub fn served(&self) -> Millpond {
        self.served.as_ref().expect("it is served").0.clone()
    }

    /// The program with these words, at the file or at the socket.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = millpond(words);
        match &self.served {
            None => command.args(["--file", &self.file()]),
            Some(_) => command.arg("--socket").arg(self.path("at.sock")),
        };
        command
    }

    /// The program succeeds.
    #[track_caller]
    pub fn does(&self, words: &[&str]) -> Said {
        let said = say(&mut self.command(words));
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        said
    }

    /// The program succeeds, and prints this JSON.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let said = self.does(&[words, &["--json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{words:?}: {error}: {}", said.out))
    }

    /// The program fails with this exit code, and prints the reason as one error.
    #[track_caller]
    pub fn fails(&self, words: &[&str], code: i32, says: &str) {
        let said = say(&mut self.command(words));
        assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
        assert!(said.err.contains("error: ") && said.err.contains(says), "{words:?}: {said:?}");
        assert!(!said.err.contains("panicked"), "{words:?}: {said:?}");
    }
}

/// Runs the test with the file, and with a process that has it open.
pub fn at_both(test: impl Fn(&Pond)) {
    test(&stocked());
    #[cfg(unix)]
    {
        let mut pond = stocked();
        let socket = pond.path("at.sock");
        pond.serve(Options::new(), Listen::Unix(socket));
        test(&pond);
    }
}

impl Drop for Pond {
    fn drop(&mut self) {
        if let Some((pond, server)) = self.served.take() {
            self.runtime.block_on(async {
                server.stop().await;
                pond.shutdown(WAIT_MAX).await.unwrap();
            });
        }
    }
}
