//! Starts and ends a child process, and reads what it prints.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A child that prints nothing for this long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(30);

pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

pub fn start(role: &str, settings: &[(&str, String)]) -> Running {
    start_as(Command::new(std::env::current_exe().unwrap()), role, settings)
}

/// `command` gets the child and its arguments to run.
pub fn start_by(mut command: Command, role: &str, settings: &[(&str, String)]) -> Running {
    command.arg(std::env::current_exe().unwrap());
    start_as(command, role, settings)
}

/// `command` runs the child with the arguments that it gets.
pub fn start_as(mut command: Command, role: &str, settings: &[(&str, String)]) -> Running {
    let mut child = command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("MILLPOND_CHILD", role)
        .env("RUST_BACKTRACE", "0")
        .envs(settings.iter().map(|(name, value)| (*name, value)))
        .stdout(Stdio::piped())
        .stderr(if std::env::var_os("CHILD_STDERR").is_some() { Stdio::inherit() } else { Stdio::null() })
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (say, lines) = channel();
    // Ends with the pipe. The last line can be incomplete: only whole lines count.
    thread::spawn(move || {
        let mut out = out;
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.ends_with('\n') {
                let _ = say.send(line.trim().to_owned());
            }
            line.clear();
        }
    });
    Running { child, lines }
}

impl Running {
    /// The next line, or `None` once the child has ended.
    pub fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                panic!("the child hangs");
            }
        }
    }

    /// Asks the child to stop.
    pub fn terminate(&self) {
        // Fails if the child has ended.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// The remaining lines, and how the child ended.
    pub fn end(mut self) -> (Vec<String>, ExitStatus) {
        let mut rest = Vec::new();
        while let Some(line) = self.next() {
            rest.push(line);
        }
        (rest, self.child.wait().unwrap())
    }
}

/// Runs `stop` when the child is asked to stop.
pub fn on_term(stop: impl Future<Output = ()> + Send + 'static) {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    tokio::spawn(async move {
        term.recv().await;
        stop.await;
    });
}

pub fn setting<T: std::str::FromStr>(name: &str) -> T {
    let value = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}"))
}

pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}
