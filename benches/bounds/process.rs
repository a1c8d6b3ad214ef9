//! Runs a measurement in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};

pub struct Child {
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    pub fn start(args: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this very program");
        let mut command = Command::new(program);
        let mut process = command.arg("child").args(args).stdout(Stdio::piped()).spawn().expect("a process");
        let lines = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// Kills it with kill -9 once it reports that it is ready.
    pub fn kill_when_ready(mut self) {
        assert_eq!(self.line(), "ready");
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has ended");
    }
}

/// Runs a measurement to its end and returns its figure.
pub fn run(args: &[&str]) -> u64 {
    let mut child = Child::start(args);
    let line = child.line();
    assert!(child.process.wait().expect("it has ended").success(), "{args:?}");
    line.parse().unwrap_or_else(|_| panic!("{args:?} said {line:?}"))
}
